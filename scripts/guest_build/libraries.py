# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs of the distribution with the libraries that they need."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from builds.commands import Word, lines, output
from builds.debian import owners_of
from builds.messages import die
from guest_build.architecture import Architecture
from guest_build.compilers import install
from guest_build.distribution import SOURCE_FORMAT, Distribution


def needed(said: Iterable[str]) -> list[str]:
    """The libraries and the loader that a program names, of what readelf says."""
    found = (re.search(r"\(NEEDED\).*\[(.*)\]|program interpreter: (.*)\]", line) for line in said)
    return [(each[1] or each[2]).rpartition("/")[2] for each in found if each]


class Programs:
    """Puts programs into a guest."""

    def __init__(self, made: Distribution, arch: Architecture, root: Path) -> None:
        self.made, self.arch, self.root = made, arch, root
        # Libraries of this machine that are in the guest.
        self.taken: list[str] = []

    def add(self, program: Path, to: str) -> None:
        """Copies a program, and what it needs."""
        install(program, self.root / to)
        if self.arch.is_foreign:
            self._add_foreign(program)
        else:
            self._add_native(program)

    def _add_native(self, program: Path) -> None:
        folders = [str(folder) for where in ("usr/lib", "lib")
                   for folder in (self.made.folder / where).glob("*-linux-gnu")
                   if folder.is_dir() and not folder.is_symlink()]
        env = {"LD_LIBRARY_PATH": ":".join(folders), "LC_ALL": "C"}
        for line in lines("ldd", program, env=env):
            name, arrow, rest = line.strip().partition(" => ")
            library = (rest if arrow else name).partition(" (")[0].strip()
            if rest.startswith("not found"):
                die(f"{program.name} needs a library that is not installed: {name}")
            if arrow and library.startswith("/"):
                to = f"lib/{library.rpartition('/')[2]}"
            elif not arrow and "/ld-" in library:
                # The program names its loader by the full path.
                to = library.lstrip("/")
            else:
                continue
            install(Path(os.path.realpath(library)), self.root / to)
            self.taken.append(library)

    def _add_foreign(self, program: Path) -> None:
        """What the program or library needs of another architecture's libraries, from its
        packages."""
        read: list[Word] = ["readelf", "--wide", "--program-headers", "--dynamic", program]
        for name in needed(lines(*read, env={"LC_ALL": "C"})):
            to = self.root / "lib" / name
            if to.exists():
                continue
            folders = [self.made.folder / "lib", self.made.folder / "usr/lib"]
            found = lines("find", "-L", *folders, "-name", name, "-print", "-quit", quiet=True)
            if not found:
                die(f"{program.name} needs {name}, which none of the packages for "
                    f"{self.arch.name} holds")
            library = Path(found[0])
            install(Path(os.path.realpath(library)), to)
            self._add_foreign(library)

    def sources(self) -> list[str]:
        """The source packages of the libraries that are this machine's."""
        if not self.taken:
            return []
        packages = owners_of(library.rpartition("/")[2] for library in self.taken)
        return output("dpkg-query", "--show", "--showformat", SOURCE_FORMAT,
                      *packages).splitlines()


def check_program(program: Path, arch: Architecture) -> None:
    """A program of the user's runs where there are no shared libraries."""
    with program.open("rb") as file:
        head = file.read(20)
    if head.startswith(b"#!"):
        return
    if not head.startswith(b"\x7fELF"):
        die(f"the program {program} is neither an ELF file nor a script")
    if head[4:5] != b"\x02" or head[18:20] != arch.machine:
        die(f"the program {program} is not for {arch.name}, which the guest is")
    if any(" INTERP " in line for line in lines("readelf", "--wide", "--program-headers",
                                                program)):
        die(f"the program {program} is linked dynamically, and the guest has no shared libraries: "
            "link it with -static")
