# SPDX-License-Identifier: MIT OR Apache-2.0
"""The initramfs: our drivers and programs, those of the user, and a few of the distribution's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from builds.commands import Log, do, output, started
from builds.messages import die, say
from guest_build.compilers import Kbuild, install
from guest_build.libraries import Programs
from guest_build.options import Options

FOLDERS = ("bin", "dev", "etc", "lib/modules", "modules", "proc", "root", "run", "sys", "tmp",
           "usr/share/misc")
# Of the distribution, and where they may be in its packages.
TAKEN = {"lspci": ("usr/bin/lspci", "bin/lspci"), "setpci": ("usr/bin/setpci", "bin/setpci"),
         "ethtool": ("usr/sbin/ethtool", "sbin/ethtool")}
PACKED = "initramfs.cpio.gz"


class Initramfs:
    """One that is made in a folder of its own, `work`, of the sources in `guest`."""

    def __init__(self, guest: Path, work: Path, kbuild: Kbuild, log: Log) -> None:
        self.guest, self.work, self.kbuild, self.log = guest, work, kbuild, log
        self.root = work / "root"
        self.made, self.arch = kbuild.made, kbuild.arch
        self.programs = Programs(self.made, self.arch, self.root)

    def make(self, options: Options) -> Path:
        """Makes it; the file."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        install(self.guest / "init", self.root / "init")
        self._add_distribution()
        self._build_ours()
        for module in options.modules:
            self._build_users(module)
        install(self.guest / "symbols.sh", self.root / "bin/accel-symbols")
        for program in options.programs:
            install(program, self.root / "bin" / program.name)
        if options.run:
            install(options.run, self.root / "root/run")
        return self._pack()

    def _add_distribution(self) -> None:
        busybox, folder = self.root / "bin/busybox", self.root / "bin"
        install(self.made.first("bin/busybox", "usr/bin/busybox"), busybox)
        # One of another processor does not run here; init has it make its names.
        names = ["sh"] if self.arch.is_foreign else output(busybox, "--list").split()
        for name in names:
            if not os.path.lexists(folder / name):
                (folder / name).symlink_to("busybox")
        for name, places in TAKEN.items():
            self.programs.add(self.made.first(*places), f"bin/{name}")
        do("cp", "-L", self.made.first("usr/share/misc/pci.ids"),
           self.root / "usr/share/misc/pci.ids")
        do("cp", "-r", self.made.folder / "lib/modules" / self.made.release,
           self.root / "lib/modules/")

    def _build_ours(self) -> None:
        say(f"building guest/driver against kernel {self.made.release}")
        # The sources share guest/uapi.
        do("cp", "-r", self.guest, self.work / "guest")
        self.kbuild.build("guest/driver", self.work / "guest/driver", self.root / "modules")
        say("building guest/tools")
        tools = self.work / "tools"
        tools.mkdir()
        self.log.run("guest/tools", "make", "-C", self.work / "guest/tools", f"OUT={tools}",
                     f"CC={self.arch.compiler}")
        for program in sorted(tools.glob("accel-*")):
            if program.is_file() and os.access(program, os.X_OK):
                install(program, self.root / "bin" / program.name)

    def _build_users(self, module: Path) -> None:
        say(f"building your module in {module}")
        copy = self.work / "user-module"
        do("rm", "-rf", copy)
        do("cp", "-r", module, copy)
        self.kbuild.build(module, copy, self.root / "modules/user")

    def _pack(self) -> Path:
        names, packed = self.work / "names", self.work / PACKED
        names.write_bytes(b"".join(name + b"\0" for name in sorted(below(self.root))))
        with names.open("rb") as listed, packed.open("wb") as out, started(
                "cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--reproducible",
                "--quiet", cwd=self.root, stdin=listed, stdout=subprocess.PIPE) as archive:
            do("gzip", "-1", "-n", stdin=archive.stdout, stdout=out)
        if archive.returncode:
            die(f"cpio failed with status {archive.returncode}")
        return packed


def below(folder: Path) -> Iterator[bytes]:
    """A folder and all that is in it, with names from there, as find has them."""
    yield b"."
    root = os.fsencode(folder)
    for where, folders, files in os.walk(root):
        start = b"." + where[len(root):]
        yield from (start + b"/" + name for name in folders + files)
