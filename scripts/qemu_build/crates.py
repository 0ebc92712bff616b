# SPDX-License-Identifier: MIT OR Apache-2.0
"""Crates of Rust, and the .wrap files of Meson that name them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builds.cache import sha256_of
from builds.messages import die, say
from qemu_build.build import Build


@dataclass(frozen=True)
class Crate:
    """One of a registry."""

    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Its file, as cargo names it."""
        return f"{self.name}-{self.version}.crate"


class Wrap:
    """A .wrap file."""

    def __init__(self, file: Path) -> None:
        self.name = file.name.removesuffix(".wrap")
        self.text = file.read_text(encoding="utf-8")

    def value(self, key: str) -> str:
        """What it says of something; nothing if it does not."""
        found = re.search(rf"^{key} *= *(.*)$", self.text, re.M)
        return found[1] if found else ""

    @property
    def directory(self) -> str:
        """The folder of the subproject. That of a crate is what cargo calls it: name-version."""
        return self.value("directory")

    @property
    def crate(self) -> Crate:
        """The crate that it names."""
        name, _, version = self.directory.rpartition("-")
        return Crate(name, version, self.value("source_hash"))


def wraps_of(folder: Path, pattern: str = "*-rs.wrap") -> list[Wrap]:
    """Those in a folder."""
    return [Wrap(file) for file in sorted(folder.glob(pattern))]


def is_there(build: Build, crate: Crate) -> bool:
    """Whether a crate is in the cache, and is what it should be."""
    file = build.cache / "crates" / crate.file
    return file.is_file() and sha256_of(file) == crate.sha256


def manifest(crates: Iterable[Crate]) -> str:
    """A package for cargo that wants these."""
    wanted = "".join(f'{each.name} = {{ version = "={each.version}", default-features = false }}\n'
                     for each in crates)
    return ('[package]\nname = "crates"\nversion = "0.0.0"\nedition = "2021"\n'
            f'[lib]\npath = "lib.rs"\n[workspace]\n[dependencies]\n{wanted}')


def fetch_crates(build: Build, crates: Iterable[Crate]) -> None:
    """Has .crate files in the cache, checked."""
    store = build.cache / "crates"
    store.mkdir(exist_ok=True)
    missing = [each for each in crates if not is_there(build, each)]
    if not missing:
        return
    # cargo knows how to reach a registry here, whatever mirror is set up.
    say(f"fetching {len(missing)} crates with cargo")
    with build.scratch() as project:
        (project / "Cargo.toml").write_text(manifest(missing))
        (project / "lib.rs").write_text("")
        build.log.run("cargo fetch", "cargo", "fetch", "--manifest-path", project / "Cargo.toml")
    home = Path(os.environ.get("CARGO_HOME") or f"{os.environ.get('HOME', '')}/.cargo")
    for crate in missing:
        take_crate(crate, sorted((home / "registry/cache").glob(f"*/{crate.file}")), store)


def take_crate(crate: Crate, files: Sequence[Path], store: Path) -> None:
    """Copies the file of cargo's that is the crate."""
    found = "(no file)"
    for file in files:
        found = sha256_of(file)
        if found == crate.sha256:
            part = store / f"{crate.file}.part"
            shutil.copyfile(file, part)
            part.replace(store / crate.file)
            return
    die(f"crate {crate.name} {crate.version}: cargo fetched sha256 {found}, expected "
        f"{crate.sha256}")


def place_crates(build: Build, subprojects: Path, wraps: Iterable[Wrap]) -> None:
    """Puts the crates of these where Meson looks for them: those with a URL in packagecache, those
    without in packagefiles."""
    wanted = [wrap for wrap in wraps if not (subprojects / wrap.directory).is_dir()]
    fetch_crates(build, [wrap.crate for wrap in wanted])
    for wrap in wanted:
        where = subprojects / ("packagecache" if wrap.value("source_url") else "packagefiles")
        where.mkdir(exist_ok=True)
        shutil.copyfile(build.cache / "crates" / wrap.crate.file,
                        where / wrap.value("source_filename"))
