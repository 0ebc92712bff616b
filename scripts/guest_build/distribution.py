# SPDX-License-Identifier: MIT OR Apache-2.0
"""Kernel, headers and programs of the distribution, unpacked once for each set of versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from builds.cache import content_key
from builds.commands import Log, do, lines
from builds.debian import source_of, unpacked
from builds.messages import die, say, warn
from guest_build.apt import Apt, package_file
from guest_build.architecture import Architecture
from guest_build.packages import Packages

# What a guest may have besides our card: other network cards, vfio-pci, and the port of
# accel-agent.
KERNEL_MODULES = ("vfio-pci", "vfio_iommu_type1", "virtio_pci", "virtio_net", "virtio_console",
                  "e1000")
SOURCE_FORMAT = "${source:Package} ${source:Version}\n"
# Part of the key: raise it when what is unpacked changes.
FORMAT = 5
SRC = "/usr/src/linux-headers"
PLAIN = {".ko": (), ".xz": ("xz", "-dc"), ".gz": ("gzip", "-dc"), ".zst": ("zstd", "-dcq")}


class Distribution:
    """What is there of it."""

    def __init__(self, folder: Path, release: str) -> None:
        self.folder, self.release = folder, release

    @property
    def headers(self) -> Path:
        """Where modules are built."""
        return self.folder / f"usr/src/linux-headers-{self.release}"

    def first(self, *names: str) -> Path:
        """The first file of these that is there."""
        files = [self.folder / name for name in names]
        found = next((file for file in files if file.exists()), None)
        if found is None:
            die(f"none of these is in the packages: {' '.join(map(str, files))}")
        return found


def distribution(packages: Packages, arch: Architecture, apt: Apt, cache: Path, log: Log) -> (
        Distribution):
    """Unpacks it. Of the kernel's packages the kernel itself is wanted, and a few modules."""
    key = content_key(packages.sources, " ".join(KERNEL_MODULES), FORMAT, *arch.cross_make)
    made = Distribution(cache / f"distribution-{key}", packages.release)
    if not (made.folder / "complete").is_file():
        store = cache / arch.store
        apt.fetch(store, packages.versions, packages.names, log)
        say(f"unpacking kernel {packages.release}")
        unpack(made, packages, store, log)
        (made.folder / "complete").touch()
    return made


def unpack(made: Distribution, packages: Packages, store: Path, log: Log) -> None:
    """Unpacks the packages, and picks what is wanted of them."""
    root = made.folder
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    modules = root / "all"
    sources = []
    for name in packages.names:
        version = packages.versions[name]
        file = package_file(store, name, version)
        if not file:
            die(f"the package {name} {version} is not in {store}")
        sources.append(source_of(file, SOURCE_FORMAT))
        if name == packages.kernel and not unpacked(file, root, "--wildcards", "./boot/vmlinuz-*"):
            die(f"the package {name} {version} holds no boot/vmlinuz-*")
        # The distribution may keep modules in a package apart from the kernel.
        if name == packages.kernel or name.startswith("linux-modules-"):
            modules.mkdir(exist_ok=True)
            unpacked(file, modules, "--wildcards", "*lib/modules/*",
                     errors=subprocess.DEVNULL)
        else:
            log.run(f"unpacking {name}", "dpkg-deb", "-x", file, root)
    (root / "sources").write_text("".join(sources))
    if not (made.headers / "Makefile").is_file():
        die(f"the packages of kernel {made.release} hold no usr/src/linux-headers-{made.release}/"
            "Makefile")
    pick_modules(made, modules, log)
    shutil.rmtree(modules)
    move_headers(made)


def module_name(file: str) -> str:
    """The name of a module, as the kernel writes it."""
    return file.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def modules_below(folder: Path) -> Iterator[Path]:
    """The files of modules, compressed or not."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names if re.search(r"\.ko(\.[gxz][^/]*)?$", name))


def pick_modules(made: Distribution, folder: Path, log: Log) -> None:
    """Takes the modules of KERNEL_MODULES, and what they need, from a tree of all modules. They
    are stored uncompressed: not every busybox can read the others."""
    to = made.folder / "lib/modules" / made.release
    to.mkdir(parents=True, exist_ok=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        for file in folder.rglob(name):
            shutil.copyfile(file, to / name)
    there = {module_name(file.name): file for file in modules_below(folder)}
    builtin = to / "modules.builtin"
    known = {module_name(line) for line in builtin.read_text().splitlines()} if (
        builtin.is_file()) else set[str]()
    todo, seen = list(KERNEL_MODULES), set[str]()
    while todo:
        name = module_name(todo.pop(0))
        if name in seen:
            continue
        seen.add(name)
        if name not in there:
            if name not in known:
                warn(f"kernel {made.release} has no module {name}: the guest goes without it")
            continue
        todo += needed_by(place_module(there[name], to))
    log.run("depmod", "depmod", "-b", made.folder, made.release)


def place_module(file: Path, to: Path) -> Path:
    """Has a module where it belongs, uncompressed."""
    _, kernel, place = str(file).rpartition("/kernel/")
    plain = to / "kernel" / f"{(place if kernel else file.name).rpartition('.ko')[0]}.ko"
    plain.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix not in PLAIN:
        die(f"the module {file} is compressed in a way that is not known here")
    unpacker = PLAIN[file.suffix]
    if unpacker:
        with plain.open("wb") as out:
            do(*unpacker, file, stdout=out)
    else:
        shutil.copyfile(file, plain)
    return plain


def needed_by(module: Path) -> Iterable[str]:
    """The modules that a module needs."""
    return [name for line in lines("modinfo", "-F", "depends", module)
            for name in line.split(",") if name]


def move_headers(made: Distribution) -> None:
    """The headers refer to each other by the place that they would be installed at."""
    for file in made.headers.iterdir():
        if not file.is_file():
            continue
        text = file.read_bytes()
        if SRC.encode() in text:
            mode = file.stat().st_mode
            file.unlink()
            file.write_bytes(text.replace(SRC.encode(), os.fsencode(f"{made.folder}{SRC}")))
            file.chmod(mode)
