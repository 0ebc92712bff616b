# SPDX-License-Identifier: MIT OR Apache-2.0
"""What every step of a build needs to know."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builds.commands import Log
from qemu_build.options import Options
from qemu_build.releases import ROOT, Release, Releases

DEVICE = ROOT / "qemu-rust-device"
LINKS = ROOT / "build/qemu"


@dataclass(frozen=True)
class Build:
    """A run of the script."""

    options: Options
    releases: Releases
    cache: Path
    log: Log

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that goes afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="tmp.", dir=self.cache))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def mirror(self, *words: str | Path) -> None:
        """Copies what differs, by content, so that ninja sees only true changes."""
        self.log.run("copying", "rsync", "-rlp", "--checksum", "--delete", "--no-times", *words)


@dataclass(frozen=True)
class Source:
    """QEMU's source as it was found: a tree or tarball, what stands for its content, and what the
    user is told of it."""

    path: Path
    key: str
    text: str


@dataclass(frozen=True)
class Tree:
    """The source with all that its build would download, without the series."""

    source: Source
    folder: Path
    version: str
    release: Release


def remade(folder: Path) -> Path:
    """An empty folder, whatever was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
