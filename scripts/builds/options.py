# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of a script, as take_options of scripts/lib.sh reads them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from builds.messages import die


def take(words: Sequence[str], usage: Callable[[], str],
         valued: Mapping[str, Callable[[str], object]],
         flags: Mapping[str, Callable[[], object]]) -> None:
    """Calls what is there for each option, in order, with its value if it has one. --help and -h
    print the usage; what nothing is there for is refused."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            print(usage(), end="")
            sys.exit()
        if word in flags:
            flags[word]()
        elif word in valued:
            if not rest:
                die(f"{word} needs a value; see --help")
            valued[word](rest.pop(0))
        else:
            die(f"unknown option {word}; see --help")
