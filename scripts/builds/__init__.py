# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the builds in Python share, as scripts/lib.sh is what scripts in bash share. Python's own
library is all that it needs: a bare machine begins with it."""
