# SPDX-License-Identifier: MIT OR Apache-2.0
"""Packages of Debian. What installs them is scripts/lib.sh."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from builds import messages
from builds.commands import Word, lines, piped, said, status_of
from builds.messages import die

LIB = Path(__file__).resolve().parents[1] / "lib.sh"
CALL = 'set -euo pipefail; SCRIPT_NAME=$1; . "$2"; shift 2; "$@"'
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def in_bash(*words: Word) -> list[Word]:
    """The command that calls a function of scripts/lib.sh."""
    return ["bash", "-c", CALL, "bash", messages.script, LIB, *words]


def need_packages(*names: str) -> None:
    """Installs what is missing where it may; otherwise says which are missing, and what to type."""
    if not is_installable(*names):
        sys.exit(1)


def is_installable(*names: str) -> bool:
    """The same, and whether they are there then."""
    return status_of(*in_bash("need_packages", *names)) == 0


def can_be_root() -> bool:
    """Whether commands can be run as root without a question."""
    return status_of(*in_bash("can_be_root")) == 0


def mirror() -> str:
    """The mirror of Debian that apt has here; nothing if it has none."""
    return said(*in_bash("debian_mirror"))[1].strip()


def as_root(*command: str) -> list[str]:
    """A command as root, for who can be."""
    return list(command) if os.geteuid() == 0 else ["sudo", "-n", *command]


def index_targets(fields: str) -> list[str]:
    """These fields of all package lists that apt has here."""
    return lines("apt-get", "indextargets", "--format", fields, "Created-By: Packages",
                 quiet=True)


def owners_of(names: Iterable[str]) -> list[str]:
    """The packages that have installed files of these names."""
    patterns = sorted({f"*/{name}" for name in names})
    packages = set[str]()
    # A file that one package has moved out of another's way is told in lines that name no owner:
    # on Debian 13 libc6 has moved the dynamic linker. Their words are of the language.
    for line in lines("dpkg-query", "--search", *patterns, quiet=True, env={"LC_ALL": "C"}):
        if not line.startswith(("diversion ", "local diversion ")):
            packages.update(each.strip() for each in line.partition(": ")[0].split(","))
    return sorted(packages)


def unpacked(deb: Path, into: Path, *tar: str, errors: int | None = None) -> bool:
    """Unpacks what tar takes of a package, and whether that has worked."""
    return piped(["dpkg-deb", "--fsys-tarfile", deb], ["tar", "-x", "-C", into, *tar],
                 errors=errors) == 0


def source_of(deb: Path, form: str) -> str:
    """What a package says of itself, in a form of dpkg's."""
    status, text = said("dpkg-deb", "--show", "--showformat", form, deb, quiet=False)
    if status:
        die(f"{deb} is no package that dpkg-deb can read")
    return text

