# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes the guest that the demo and the tests boot: scripts/build-guest.sh. The steps are here,
what each of them does in guest_build/."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builds.cache import cache_dir, content_key, link, locked, make_folder
from builds.commands import Log, have
from builds.debian import need_packages
from builds.messages import die, say
from builds.program import run
from guest_build import libraries
from guest_build.apt import Apt, ForeignApt
from guest_build.architecture import Architecture, architecture
from guest_build.compilers import Kbuild, version_of
from guest_build.distribution import Distribution, distribution
from guest_build.initramfs import PACKED, Initramfs
from guest_build.options import Options
from guest_build.packages import Packages, resolved

ROOT = Path(__file__).resolve().parents[1]
# Of the sources in guest/, those that a guest is made of.
INPUTS = ("init", "symbols.sh", "driver", "tools", "uapi")
FILES = ("vmlinuz", PACKED, "modules", "release", "sources")
LOCK = "guest"


def needed_packages(arch: Architecture, packages: Packages) -> list[str]:
    """What has to be installed. kmod brings depmod, and the library that lspci needs."""
    return [*arch.compiler_packages, "binutils", "make", "cpio", "kmod", "xz-utils", "zstd",
            *packages.libraries]


def key_of(options: Options, arch: Architecture, packages: Packages, kbuild: Kbuild) -> str:
    """Stands for all that a guest is made of."""
    return content_key(arch.name, packages.sources, *(ROOT / "guest" / name for name in INPUTS),
                       ROOT / "scripts/guest_build", version_of(kbuild.compiler),
                       version_of(arch.compiler), *options.modules, *options.programs,
                       *([options.run] if options.run else []))


@contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """A folder that goes, whatever happens."""
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(options: Options, kbuild: Kbuild, cache: Path, result: Path) -> None:
    """Makes a guest."""
    made = kbuild.made
    with working_in(cache / f"work-{os.getpid()}") as work:
        initramfs = Initramfs(ROOT / "guest", work, kbuild, kbuild.log)
        packed = initramfs.make(options)
        shutil.rmtree(result, ignore_errors=True)
        (result / "modules").mkdir(parents=True)
        shutil.copyfile(made.first(f"boot/vmlinuz-{made.release}"), result / "vmlinuz")
        packed.replace(result / PACKED)
        for module in (work / "root/modules").rglob("*.ko"):
            shutil.copy(module, result / "modules")
        (result / "release").write_text(f"{made.release}\n")
        # For those who pass the guest on: which source packages it is made of.
        sources = sources_of(made, initramfs.programs)
        (result / "sources").write_text("".join(f"{line}\n" for line in sources))
        (result / "complete").touch()


def sources_of(made: Distribution, programs: libraries.Programs) -> list[str]:
    """The source packages that are in a guest."""
    return sorted({*(made.folder / "sources").read_text().splitlines(), *programs.sources()})


def main(words: list[str]) -> None:
    os.chdir(ROOT)
    options = Options.of(words)
    cache = cache_dir() / "guest"
    (cache_dir() / "log").mkdir(exist_ok=True)
    log = Log(cache_dir() / f"log/build-guest-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")
    if not have("apt-get"):
        die("the guest is made of Debian or Ubuntu packages: apt-get is missing")
    arch = architecture(options.arch)
    (cache / arch.store).mkdir(parents=True, exist_ok=True)
    listing = os.dup(1)
    if options.list_packages:
        # What is said on the way is not of the list.
        os.dup2(2, 1)
    with ExitStack() as until_the_end:
        apt, packages = known_packages(options, arch, cache, log, until_the_end)
        if options.list_packages:
            os.write(listing, "".join(f"{name}\n" for name in needed_packages(
                arch, packages)).encode())
            return
        need_packages(*needed_packages(arch, packages))
        for program in options.programs:
            libraries.check_program(program, arch)
        if not arch.is_foreign:
            until_the_end.enter_context(locked(LOCK))
        kbuild = Kbuild(distribution(packages, arch, apt, cache, log), arch, log)
        result = cache / f"result-{key_of(options, arch, packages, kbuild)}"
        if not (result / "complete").is_file():
            make(options, kbuild, cache, result)
        out = options.out or ROOT / "build" / arch.out
        make_folder(out)
        for name in FILES:
            link(result / name, out / name)
    size = (out / PACKED).stat().st_size // 1024
    say(f"kernel {packages.release}: {out}/vmlinuz, {out}/{PACKED} ({size} KiB)")


def known_packages(options: Options, arch: Architecture, cache: Path, log: Log,
                   until_the_end: ExitStack) -> tuple[Apt, Packages]:
    """The packages of a guest, and the apt that has them."""
    apt = Apt()
    if arch.is_foreign:
        need_packages("debian-archive-keyring")
        # Of package lists that are our own one process at a time makes use.
        until_the_end.enter_context(locked(LOCK))
        apt = ForeignApt(arch.name, cache / f"apt-{arch.name}")
    return apt, resolved(apt, arch, options.kernel, cache, log)


if __name__ == "__main__":
    run("build-guest.sh", main)
