# SPDX-License-Identifier: Apache-2.0
"""A module of cocotb that has no test."""
