# SPDX-License-Identifier: MIT OR Apache-2.0
"""QEMU's tree with the series, and our files in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from builds.cache import content_key
from builds.commands import do
from builds.messages import die, say
from qemu_build.build import DEVICE, Build, Tree, remade
from qemu_build.crates import place_crates, wraps_of
from qemu_build.releases import ROOT

CRATE = "rust/hw/misc/accelerator-pcie"
MARK = ".accelerator-pcie"
FILES = ("meson/meson.build", "meson/Kconfig", "wrapper.h", "bindgen.args", "meson/trace-events")


def place_device(build: Build, tree: Path, release: str) -> None:
    """Our files, in their places of QEMU's tree."""
    subprojects, crate = tree / "subprojects", tree / CRATE
    crate.mkdir(parents=True, exist_ok=True)
    (subprojects / "packagefiles").mkdir(exist_ok=True)
    with build.scratch() as stage:
        stage_device(stage / "crate", release)
        build.mirror(f"{stage}/crate/", f"{crate}/")
        for ours in build.releases.our_crates:
            name = f"accelerator-{ours}-0-rs"
            (stage / ours).mkdir()
            do("cp", "-r", ROOT / ours / "src", stage / ours)
            do("cp", DEVICE / "subprojects/packagefiles" / name / "meson.build", stage / ours)
            build.mirror(f"{stage}/{ours}/", f"{subprojects}/{name}/")
    copy = ("rsync", "-r", "--checksum", "--no-times")
    do(*copy, f"{DEVICE}/subprojects/packagefiles/", f"{subprojects}/packagefiles/")
    do("rsync", *copy[2:], *sorted((DEVICE / "subprojects").glob("*.wrap")), f"{subprojects}/")
    # Meson lays packagefiles over a crate only when it unpacks it.
    for wrap in wraps_of(subprojects):
        patch = wrap.value("patch_directory")
        files, folder = subprojects / "packagefiles" / patch, subprojects / wrap.directory
        if patch and folder.is_dir() and files.is_dir():
            do(*copy, f"{files}/", f"{folder}/")
    place_crates(build, subprojects, wraps_of(DEVICE / "subprojects", "*.wrap"))


def stage_device(crate: Path, release: str) -> None:
    """The device as a crate of QEMU's."""
    (crate / "release").mkdir(parents=True)
    do("cp", *(DEVICE / name for name in FILES), crate)
    do("cp", DEVICE / "meson" / release / "meson.build", crate / "release")
    do("cp", "-r", DEVICE / "src", crate)
    sources = sorted(str(file.relative_to(crate)) for file in (crate / "src").rglob("*.rs"))
    (crate / "sources.list").write_text("".join(f"{name}\n" for name in sources))


def prepare_flavour(build: Build, tree: Tree, flavour: str, folder: Path) -> None:
    """A tree with the series: kept between runs, and changed in place where it differs."""
    release, mark = tree.release.name, folder / MARK
    key = content_key(f"tree: {tree.folder}", tree.release.series, DEVICE / "subprojects")
    is_current = mark.is_file() and mark.read_text().rstrip("\n") == key
    if not is_current:
        say(f"applying patches/{release} to QEMU {tree.version} ({flavour})")
        apply_series(build, tree, flavour, folder)
    if flavour != "baseline":
        place_device(build, folder, release)
    if not is_current:
        mark.write_text(f"{key}\n")


def apply_series(build: Build, tree: Tree, flavour: str, folder: Path) -> None:
    """Makes the tree anew, and takes over what differs in it."""
    release = tree.release.name
    part = remade(folder.with_name(f"{folder.name}.part"))
    do("cp", "-a", "--reflink=auto", f"{tree.folder}/.", f"{part}/")
    which = ["--baseline"] if flavour == "baseline" else []
    if build.log.status(ROOT / "scripts/patches.sh", "apply", "--quiet", *which, release, part):
        die(f"patches/{release} does not apply to QEMU {tree.version}; the whole log is "
            f"{build.log.file}")
    if folder.is_dir():
        # Meson has unpacked the crates into the tree: they stay unless a wrap changed.
        build.mirror(f"--exclude=/{CRATE}", "--exclude=/subprojects/*-*.*/",
                     "--exclude=/subprojects/accelerator-*-0-rs", f"{part}/", f"{folder}/")
        shutil.rmtree(part)
    else:
        part.rename(folder)
