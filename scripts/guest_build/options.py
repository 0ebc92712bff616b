# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of scripts/build-guest.sh."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from builds.messages import die
from builds.options import take
from guest_build.distribution import KERNEL_MODULES

USAGE = f"""\
usage: scripts/build-guest.sh [option...]

Downloads the distribution's kernel, its headers, busybox, lspci and ethtool
(nothing is installed), builds guest/driver and guest/tools, and makes

  build/guest/vmlinuz
  build/guest/initramfs.cpio.gz
  build/guest/modules/        the drivers in it, with symbols, for a debugger

Your own driver and programs, for scripts/demo.sh --shell and --run:
  --module DIR      an out-of-tree module: a folder with a Kbuild file or Makefile
                    and all its sources. It is built in a copy; its .ko files go
                    to /modules/user in the guest and are loaded from there
  --program FILE    a static program, or a script for sh; goes to /bin
  --run FILE        a shell script that the guest runs at the end of booting when
                    it is started with accel.run=user
  Each may be given more than once, but for --run.

The kernel's own modules {' '.join(KERNEL_MODULES)}
are in it as well, for modprobe.

  --arch ARCH       x86_64 (default) or aarch64: a guest for scripts/demo.sh --arch
                    aarch64, of Debian's packages for arm64, with modules and programs
                    that are cross-compiled here; into build/guest-aarch64
  --kernel PACKAGE  kernel image package, for example linux-image-6.1.0-56-amd64
                    (default: what linux-image-amd64 or linux-image-generic needs; for
                    aarch64 what linux-image-arm64 needs)
  --out DIR         where the two files go (default: build/guest)
  --list-packages   only name the Debian packages that this needs
  --help            this text

The cache is $ACCELERATOR_CACHE, or accelerator-pcie in $XDG_CACHE_HOME or ~/.cache.
"""


@dataclass
class Options:
    """What is to be made."""

    modules: list[Path] = field(default_factory=list)
    programs: list[Path] = field(default_factory=list)
    run: Path | None = None
    kernel: str = ""
    arch: str = "x86_64"
    out: Path | None = None
    list_packages: bool = False

    @classmethod
    def of(cls, words: list[str]) -> Options:
        """What the user has asked for."""
        options = cls()
        take(words, lambda: USAGE,
             {"--module": options.add_module,
              "--program": options.add_program,
              "--run": options.set_run,
              "--out": lambda value: setattr(options, "out", real(value)),
              "--kernel": lambda value: setattr(options, "kernel", value),
              "--arch": lambda value: setattr(options, "arch", value)},
             {"--list-packages": lambda: setattr(options, "list_packages", True)})
        return options

    def add_module(self, value: str) -> None:
        """One more module."""
        if not any(os.path.isfile(f"{value}/{name}") for name in ("Kbuild", "Makefile")):
            die(f"{value} has neither a Kbuild file nor a Makefile")
        self.modules.append(real(value))

    def add_program(self, value: str) -> None:
        """One more program."""
        if not os.path.isfile(value):
            die(f"the program {value} is not there")
        self.programs.append(real(value))

    def set_run(self, value: str) -> None:
        """What runs at the end of booting."""
        if not os.path.isfile(value):
            die(f"the script {value} is not there")
        self.run = real(value)


def real(value: str) -> Path:
    """A path without links."""
    return Path(os.path.realpath(value))
