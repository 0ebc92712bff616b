# SPDX-License-Identifier: MIT OR Apache-2.0
pytest_plugins = ["pytester"]
