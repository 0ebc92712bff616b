# SPDX-License-Identifier: MIT OR Apache-2.0
"""QEMU's source with all that its build would download."""

from __future__ import annotations

from pathlib import Path

from builds.cache import content_key
from builds.commands import do
from builds.messages import die, say
from qemu_build.build import Build, Source, Tree, remade
from qemu_build.completion import WHEELS, place_blobs, place_cloned, place_wheels
from qemu_build.crates import place_crates, wraps_of
from qemu_build.meson_files import LIST, place_meson_files
from qemu_build.tools import check_rust


def prepare_tree(build: Build, source: Source) -> Tree:
    """Has it in the cache."""
    folder = build.cache / "qemu" / f"tree-{content_key(source.key, LIST, WHEELS)}"
    if not folder.is_dir():
        say(f"unpacking {source.text}")
        part = remade(folder.with_name(f"{folder.name}.part"))
        unpack(source, part)
        complete(build, part)
        part.rename(folder)
    version = version_of(folder)
    release = build.releases.series_for(version)
    asked = build.options.release
    if asked and release.name != asked:
        die(f"--release says {asked}, but {source.text} is QEMU {version}, for which the series is "
            f"{release.name}")
    return Tree(source, folder, version, release)


def version_of(folder: Path) -> str:
    """The version that a tree says it is."""
    return (folder / "VERSION").read_text(encoding="utf-8").rstrip("\n")


def unpack(source: Source, part: Path) -> None:
    """Copies a tree, or unpacks a tarball. Sources of firmware, which are most of it, take no part
    in this build."""
    if source.path.is_dir():
        do("rsync", "-a", "--no-owner", "--no-group", "--exclude=/.git", "--exclude=/build",
           "--exclude=/roms/*", f"{source.path}/", f"{part}/")
    else:
        do("tar", "-xf", source.path, "-C", part, "--no-same-owner", "--strip-components=1",
           "--exclude=*/roms/*")
    if not ((part / "VERSION").is_file() and (part / "configure").is_file()):
        die(f"{source.text} is no QEMU source: it has no VERSION or no configure")


def complete(build: Build, part: Path) -> None:
    """Adds what the source lacks."""
    version, subprojects = version_of(part), part / "subprojects"
    if build.releases.find(version) is None:
        do("rm", "-rf", part)
    check_rust(version, build.releases.series_for(version))
    place_cloned(build, subprojects)
    place_meson_files(subprojects)
    place_wheels(build, part, version)
    place_blobs(part / "pc-bios")
    place_crates(build, subprojects, wraps_of(subprojects))
