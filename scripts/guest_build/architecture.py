# SPDX-License-Identifier: MIT OR Apache-2.0
"""What guests of different processors differ in."""

from __future__ import annotations

import os
from dataclasses import dataclass

from builds.messages import die


@dataclass(frozen=True)
class Architecture:
    """A processor of guests."""

    name: str
    # Where the guest and its packages go, in build/ and in the cache.
    out: str
    store: str
    # Meta packages of the kernel.
    kernels: tuple[str, ...]
    compiler_packages: tuple[str, ...]
    # The machine in the head of an ELF file.
    machine: bytes
    # What the compiler's name begins with, and what the kernel's makefiles want to know of it.
    cross: str = ""
    cross_make: tuple[str, ...] = ()

    @property
    def is_foreign(self) -> bool:
        """Whether it is not this machine's."""
        return bool(self.cross)

    @property
    def compiler(self) -> str:
        """For programs of the guest; whoever has set CC means this machine's."""
        return f"{self.cross}gcc" if self.is_foreign else os.environ.get("CC") or "gcc"


X86_64 = Architecture(
    "x86_64", "guest", "packages", ("linux-image-amd64", "linux-image-generic"),
    ("gcc", "libc6-dev"), b"\x3e\x00")
AARCH64 = Architecture(
    "aarch64", "guest-aarch64", "packages-aarch64", ("linux-image-arm64",),
    ("gcc", "libc6-dev", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"), b"\xb7\x00",
    "aarch64-linux-gnu-", ("ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"))


def architecture(name: str) -> Architecture:
    """That of this name."""
    found = next((each for each in (X86_64, AARCH64) if each.name == name), None)
    if found is None:
        die(f"--arch is {name}, expected x86_64 or aarch64")
    return found
