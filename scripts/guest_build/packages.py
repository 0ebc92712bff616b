# SPDX-License-Identifier: MIT OR Apache-2.0
"""Which packages a guest is made of. Asking apt takes seconds; what it said holds until its lists
or sources change."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path

from builds.cache import content_key
from builds.commands import Log
from builds.messages import die
from guest_build.apt import Apt
from guest_build.architecture import Architecture

PROGRAMS = ["pciutils", "libpci3", "ethtool", "libmnl0"]


@dataclass(frozen=True)
class Packages:
    """Those of a guest: the package of the kernel and what follows from it."""

    kernel: str
    # That of the kernel, as uname says it.
    release: str
    names: list[str]
    versions: dict[str, str]
    # Of this machine: libraries of the kernel's build programs.
    libraries: list[str]

    @property
    def sources(self) -> str:
        """Stands for all of them."""
        return "".join(f"{name}={self.versions[name]} " for name in self.names)

    def write(self, file: Path) -> None:
        """Keeps them."""
        part = file.with_name(f"{file.name}.{os.getpid()}")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        part.replace(file)

    @classmethod
    def read(cls, file: Path) -> Packages:
        """What was kept."""
        return cls(**json.loads(file.read_text()))


def apt_state() -> str:
    """What changes where the lists or sources of apt do."""
    states = []
    for pattern in ("/etc/apt", "/etc/apt/sources.list*", "/etc/apt/preferences*",
                    "/var/lib/apt/lists"):
        states += [f"{name} {int(os.stat(name).st_mtime)}" for name in sorted(glob(pattern))]
    return "\n".join(states)


def release_of(kernel: str) -> str:
    """The kernel's name for itself, of that of its package."""
    return kernel.removeprefix("linux-image-").removeprefix("unsigned-")


def find_kernel(apt: Apt, asked: str, metas: Sequence[str]) -> str:
    """The package of a kernel."""
    if asked:
        apt.need(asked)
        return asked
    needed = (next((each for each in apt.depends(meta) if re.match(r"linux-image-\d", each)), "")
              for meta in metas)
    found = next((name for name in needed if name and apt.knows(name)), "")
    if not found:
        die(f"no kernel package found (looked for {' '.join(metas)})")
    return found


def header_packages(apt: Apt, release: str, arch: Architecture) -> list[str]:
    """The headers of a kernel are several packages that need each other."""
    todo, done = [f"linux-headers-{release}"], list[str]()
    while todo:
        name = todo.pop(0)
        if name in done:
            continue
        done.append(name)
        for needed in apt.depends(name):
            # The kernel's build programs run here.
            here = arch.is_foreign and needed.startswith("linux-kbuild-")
            if re.match("linux-(headers|kbuild)-", needed):
                todo.append(f"{needed.partition(':')[0]}:amd64" if here else needed)
    return done


def with_libraries(apt: Apt, names: list[str]) -> list[str]:
    """These packages, and the libraries that they need and those that these need."""
    needed = {each for each in apt.depends("--recurse", *names)
              if re.fullmatch(r"lib[^:]*|zlib1g", each)}
    return names + sorted(needed - set(names))


def build_libraries(apt: Apt, headers: Iterable[str]) -> Iterator[str]:
    """What the kernel's build programs need here."""
    for package in headers:
        for name in apt.depends(package):
            plain = name.removesuffix(":amd64")
            if re.match(r"lib|zlib|pahole$", plain):
                yield plain


def resolve(apt: Apt, arch: Architecture, asked: str, log: Log) -> Packages:
    """Asks apt for all of them."""
    apt.need_lists(log)
    kernel = find_kernel(apt, asked, arch.kernels)
    release = release_of(kernel)
    headers = header_packages(apt, release, arch)
    programs = with_libraries(apt, PROGRAMS) if arch.is_foreign else PROGRAMS
    names = [kernel, *headers, "busybox-static", "pci.ids", *programs]
    if apt.knows(f"linux-modules-{release}"):
        names.append(f"linux-modules-{release}")
    return Packages(kernel, release, names, apt.versions(names),
                    list(build_libraries(apt, headers)))


def resolved(apt: Apt, arch: Architecture, asked: str, cache: Path, log: Log) -> Packages:
    """The packages of a guest."""
    key = content_key(apt_state(), asked, Path(__file__).parent)
    file = cache / f"resolved-{arch.name}-{key}"
    if not file.is_file():
        packages = resolve(apt, arch, asked, log)
        for old in cache.glob(f"resolved-{arch.name}-*"):
            old.unlink(missing_ok=True)
        packages.write(file)
    return Packages.read(file)
