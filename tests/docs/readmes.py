#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""READMEs name all that is in their folders, and nothing else; nor does the table of decisions."""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Folders with a README, and where in each of them every file and folder has to be named.
FOLDERS = {
    "docs/": [""],
    "hdl/tests/": [""],
    "qemu-rust-device/": ["", "src/", "src/device/", "src/link/"],
    "scripts/": [""],
    "tests/": ["", "vm/"],
}
ARCHITECTURE = "docs/architecture.md"
DECISIONS = "## What is decided where\n"
# A word alone is no file: what has a dot or a slash in it is.
NAME = re.compile(r"`([\w-]*[./*][\w./*-]*)`")


def column(text: str, which: int) -> Iterator[str]:
    """What the cells of a column name, in every table of a document."""
    for line in text.splitlines():
        cells = line.split("|")[1:-1]
        if line.startswith("|") and which < len(cells):
            yield from NAME.findall(cells[which])


def is_there(name: str) -> bool:
    """Whether there is such a file or folder, or any that a pattern is for."""
    return any(ROOT.glob(name.rstrip("/")))


def readme(folder: str, places: Iterable[str], files: Iterable[str]) -> Iterator[str]:
    """What is wrong with the README of a folder."""
    file = f"{folder}README.md"
    text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).is_file() else ""
    named = {name.rstrip("/") for name in NAME.findall(text)}
    for place in places:
        start = folder + place
        inside = {each[len(start):].partition("/")[0] for each in files if each.startswith(start)}
        for name in sorted(inside - {"README.md"}):
            if place + name not in named:
                yield f"{file}: {place}{name} is not named"
    for name in column(text, 0):
        if not is_there(folder + name):
            yield f"{file}: {name} is not there"


def decisions() -> Iterator[str]:
    """What is wrong with the table of decisions."""
    text = (ROOT / ARCHITECTURE).read_text(encoding="utf-8")
    names = list(column(text.partition(DECISIONS)[2].partition("\n## ")[0], 1))
    if not names:
        yield f"{ARCHITECTURE}: there is no table of decisions"
    for name in names:
        if not is_there(name):
            yield f"{ARCHITECTURE}: {name}, of the table of decisions, is not there"


def main() -> bool:
    """Says what is wrong, and whether anything is."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    files = [file for file in listed.split("\0") if (ROOT / file).is_file()]
    found = [each for folder, places in FOLDERS.items() for each in readme(folder, places, files)]
    found += decisions()
    for each in found:
        print(each)
    print(f"{len(FOLDERS)} folders and the table of decisions: {len(found)} wrong")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
