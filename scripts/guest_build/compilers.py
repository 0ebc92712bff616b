# SPDX-License-Identifier: MIT OR Apache-2.0
"""What compiles modules and programs of the guest."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from builds.commands import Log, have, output
from builds.debian import need_packages
from builds.messages import die, warn
from guest_build.apt import Apt
from guest_build.architecture import Architecture
from guest_build.distribution import Distribution


def wanted_gcc(config: str) -> str:
    """The major version of GCC that built a kernel, of its configuration; nothing if none did."""
    found = re.search(r"^CONFIG_GCC_VERSION=(\d*)\d{4}$", config, re.M)
    return found[1] if found else ""


def kernel_compiler(made: Distribution, arch: Architecture) -> str:
    """A module is built by the major version of GCC that built the kernel: another one may not
    know the kernel's options."""
    config = made.headers / ".config"
    wanted = wanted_gcc(config.read_text(errors="replace") if config.is_file() else "")
    if arch.compiler != f"{arch.cross}gcc" or not wanted:
        return arch.compiler
    version = output(arch.compiler, "-dumpversion").strip()
    if version.partition(".")[0] == wanted:
        return arch.compiler
    compiler = f"{arch.cross}gcc-{wanted}"
    if not have(compiler):
        package = f"gcc-{wanted}" + (f"-{arch.cross.removesuffix('-')}" if arch.cross else "")
        # A package of this machine's, whatever the guest is.
        if not Apt().knows(package):
            warn(f"kernel {made.release} was built by gcc {wanted}, which is not to be had; "
                 f"taking {version}")
            return arch.compiler
        need_packages(package)
    return compiler


def version_of(compiler: str) -> str:
    """What it says first of itself."""
    return output(compiler, "--version").partition("\n")[0]


def install(file: Path, to: Path, mode: int = 0o755) -> None:
    """A copy with that mode, in place of what was there; a link may have been."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.unlink(missing_ok=True)
    shutil.copyfile(file, to)
    to.chmod(mode)


class Kbuild:
    """Builds modules for a kernel."""

    def __init__(self, made: Distribution, arch: Architecture, log: Log) -> None:
        self.made, self.arch, self.log = made, arch, log
        self.compiler = kernel_compiler(made, arch)

    def build(self, source: str | Path, work: Path, to: Path) -> None:
        """Builds the module in a folder, which is a copy already, and takes its .ko files."""
        self.log.run(f"kernel module in {source}", "make", "-C", self.made.headers, f"M={work}",
                     *self.arch.cross_make, f"CC={self.compiler}",
                     f"HOSTCC={self.compiler.removeprefix(self.arch.cross)}", "-j",
                     str(len(os.sched_getaffinity(0))), "modules")
        found = sorted(work.glob("*.ko"))
        if not found:
            die(f"{source} made no .ko file; see {self.log.file}")
        for file in found:
            install(file, to / file.name, 0o644)
