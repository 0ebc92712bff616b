# SPDX-License-Identifier: MIT OR Apache-2.0
"""How QEMU is built: scripts/build_qemus.py has the steps."""
