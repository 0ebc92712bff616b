# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a script says, under the name that its user knows."""

from __future__ import annotations

import sys
from typing import NoReturn

# Set by program.py.
script = "scripts"


def say(text: str) -> None:
    """One line of progress."""
    print(f"[{script}] {text}", flush=True)


def warn(text: str) -> None:
    """A line that the user should read."""
    print(f"[{script}] warning: {text}", file=sys.stderr, flush=True)


def die(text: str) -> NoReturn:
    """Says why, and ends with status 1."""
    sys.exit(f"[{script}] error: {text}")
