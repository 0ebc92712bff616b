# SPDX-License-Identifier: MIT OR Apache-2.0
"""How the guest is made: scripts/build_guest.py has the steps."""
