# SPDX-License-Identifier: MIT OR Apache-2.0
"""QEMUs that are built: what they are known by in the cache, what is in them, which are kept, and
the links to them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from builds.cache import content_key, link
from builds.commands import said
from builds.debian import in_bash, source_of
from builds.messages import die, say
from qemu_build.build import DEVICE, LINKS, Build, Tree, remade
from qemu_build.compile import flags
from qemu_build.releases import ROOT

# Part of the key of a built QEMU: raise it when the layout of a result changes.
FORMAT = 2
KEPT = 8
DAY = 24 * 3600.0
MONTH = 31 * DAY
# Firmware out of QEMU's source, and what of it has to be there.
FROM_SOURCE = ("vgabios*.bin", "efi-*.rom")
NEEDED = ("efi-e1000e.rom", "efi-virtio.rom")
PC_FROM_SOURCE = ("bios-256k.bin", "bios.bin", "bios-microvm.bin", "qboot.rom", "kvmvapic.bin",
                  "linuxboot.bin", "linuxboot_dma.bin", "multiboot.bin", "multiboot_dma.bin",
                  "pvh.bin")
PC_NEEDED = ("bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "vgabios-stdvga.bin")
DEVICE_LINE = 'name "accelerator-pcie"'


def result_of(build: Build, tree: Tree, flavour: str, toolchain: str) -> Path:
    """Where the QEMU made of what is there now belongs."""
    inputs: list[object] = [FORMAT, tree.source.key, " ".join(flags(build.options)), toolchain,
                            tree.release.series]
    if flavour != "baseline":
        inputs += [DEVICE, *(ROOT / ours / "src" for ours in build.releases.our_crates)]
    return build.cache / "qemu" / f"{flavour}-{tree.version}-{content_key(*inputs)}"


def work_of(build: Build, tree: Tree, flavour: str, toolchain: str) -> Path:
    """Where it is built."""
    key = content_key(tree.source.key, " ".join(flags(build.options)), toolchain)[:8]
    return build.cache / "qemu" / f"work-{flavour}-{tree.version}-{key}"


def is_built(build: Build, result: Path) -> bool:
    """Whether it is there, and is wanted."""
    return os.access(result / "bin" / build.options.emulator, os.X_OK) and (
        not build.options.configure_only)


def firmware(build: Build) -> list[Path]:
    """Firmware that QEMU's source may lack: Debian's packages, unpacked into the cache."""
    store, packages = build.cache / "firmware", build.releases.firmware
    if not store.is_dir():
        if not shutil.which("apt-get"):
            die("this QEMU source has no firmware, and there is no apt-get to fetch Debian's")
        say(f"fetching firmware: {', '.join(packages)}")
        part = remade(store.with_name("firmware.part"))
        download = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages)
        # An image may have come without package lists.
        if build.log.status(*download, cwd=part):
            build.log.status(*in_bash("apt_as_root", "update"))
        build.log.run(f"apt-get download {' '.join(packages)}", *download, cwd=part)
        for package in sorted(part.glob("*.deb")):
            build.log.run("dpkg-deb -x", "dpkg-deb", "-x", package, part)
        part.rename(store)
    # Releases of Debian and Ubuntu put the ROMs into different folders.
    found = [Path(where, name) for where, _, names in os.walk(store) for name in names
             if ("/seabios" in where and name.endswith(".bin"))
             or (name.startswith(("efi-", "pxe-")) and name.endswith(".rom"))]
    if not found:
        die(f"Debian's packages {' and '.join(packages)} hold no firmware that is known here")
    return found


def check(build: Build, flavour: str, program: Path) -> None:
    """The patched QEMU has the device, the baseline has not."""
    with build.log.file.open("ab") as log:
        status, devices = said(program, "-device", "help", errors=log, timeout=60)
    if status:
        die(f"the QEMU that was built does not run: {program} -device help")
    has_device = DEVICE_LINE in devices
    if flavour == "baseline" and has_device:
        die(f"{program} has the device accelerator-pcie, but is the baseline")
    if flavour != "baseline" and not has_device:
        die(f"{program} has no device accelerator-pcie")


def copy_all(files: Iterable[Path], to: Path) -> None:
    """Copies files into a folder."""
    for file in files:
        shutil.copy(file, to)


def install(build: Build, tree: Tree, flavour: str, work: Path, result: Path) -> None:
    """Makes the result of what is compiled in a folder."""
    blobs, compiled = work / "source/pc-bios", work / "build"
    is_pc = build.options.target == "x86_64"
    part = remade(result.with_name(f"{result.name}.part"))
    data = part / "share/qemu"
    (part / "bin").mkdir()
    (data / "keymaps").mkdir(parents=True)
    program = part / "bin" / build.options.emulator
    shutil.copy(compiled / build.options.emulator, program)
    origin = "that of QEMU"
    if not (blobs / "efi-virtio.rom").is_file():
        copy_all(firmware(build), data)
        debs = sorted((build.cache / "firmware").glob("*.deb"))
        origin = "".join(source_of(deb, "${source:Package} ${source:Version} ") for deb in debs)
    for pattern in FROM_SOURCE + (PC_FROM_SOURCE if is_pc else ()):
        copy_all(blobs.glob(pattern), data)
    copy_all((compiled / "option-roms").glob("*.bin"), data)
    copy_all((file for file in (blobs / "keymaps").rglob("*")
              if file.is_file() and file.name != "meson.build"), data / "keymaps")
    for name in NEEDED + (PC_NEEDED if is_pc else ()):
        if not (data / name).is_file():
            die(f"firmware {name} is neither in QEMU's source nor in Debian's packages")
    # For those who pass it on: whose source it is made of.
    (part / "source").write_text(
        f"version={tree.version}\nfrom={tree.source.text}\nsha256={tree.source.key}\n"
        f"series=patches/{tree.release.name}\nfirmware={origin}\n")
    check(build, flavour, program)
    shutil.rmtree(result, ignore_errors=True)
    part.rename(result)


def used_results() -> set[str]:
    """Those that this working tree has links to."""
    found = [*LINKS.glob("*"), *LINKS.glob("*/*")]
    return {os.readlink(each) for each in found if each.is_symlink()}


def prune(cache: Path, flavour: str, used: set[str]) -> None:
    """Keeps the last eight results of a flavour, any that this working tree uses, and what was used
    to build within the last month."""
    folder = cache / "qemu"
    results = [each for each in folder.glob(f"{flavour}-*-{'?' * 16}") if each.is_dir()]
    results.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    old = [each for each in results[KEPT:] if str(each) not in used]
    old += [each for pattern in ("tree-*", "work-*") for each in folder.glob(pattern)
            if each.is_dir() and time.time() - each.stat().st_mtime >= MONTH]
    for each in old:
        shutil.rmtree(each, ignore_errors=True)


def touch(*folders: Path) -> None:
    """What is in use is not pruned."""
    for folder in folders:
        with suppress(FileNotFoundError):
            os.utime(folder)


def link_result(result: Path, flavour: str, version: str) -> None:
    """Has the working tree lead to it."""
    for folder in (LINKS, LINKS / version):
        link(result, folder / flavour)


def link_trees(work: Path, version: str) -> None:
    """Cargo's build of the device looks here for a QEMU."""
    for folder in (LINKS, LINKS / version):
        link(work / "source", folder / "source-tree")
        link(work / "build", folder / "build-tree")


def print_paths() -> None:
    """Says where the results of the last build are."""
    found = False
    for flavour in ("patched", "baseline", "asan", "aarch64"):
        target = "aarch64" if flavour == "aarch64" else "x86_64"
        name = f"build/qemu/{flavour}/bin/qemu-system-{target}"
        if os.access(ROOT / name, os.X_OK):
            found = True
            version = said(ROOT / name, "--version", quiet=False)[1].partition("\n")[0]
            say(f"{flavour}: {name} ({version})")
    if not found:
        die("nothing is built yet; run scripts/build-qemus.sh")


