# SPDX-License-Identifier: MIT OR Apache-2.0
"""The releases of QEMU that there is a series for, and what their builds need:
patches/releases.toml, which says what each value means."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from builds.debian import need_packages
from builds.messages import die

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "patches/releases.toml"


@dataclass(frozen=True)
class Release:
    """One of them, by the name of its folder in patches/."""

    name: str
    versions: list[str]
    rust: str
    upstream: str = ""
    sha256: str = ""

    def has(self, version: str) -> bool:
        """Whether it is that of a version of QEMU."""
        return any(fnmatchcase(version, pattern) for pattern in self.versions)

    @property
    def series(self) -> Path:
        """Its patches."""
        return ROOT / "patches" / self.name


class Releases:
    """All of them, in order, and the other values."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.all = [Release(name, each["versions"], each["rust"], each.get("upstream", ""),
                            each.get("sha256", "")) for name, each in data["release"].items()]
        self.url: str = data["upstream"]["url"]
        self.suites: list[str] = data["debian"]["suites"]
        self.firmware: list[str] = data["debian"]["firmware"]
        self.packages: list[str] = data["packages"]["build"]
        self.full_packages: list[str] = data["packages"]["full"]
        self.bindgen_oldest: str = data["bindgen"]["oldest"]
        self.bindgen_cargo: str = data["bindgen"]["cargo"]
        self.our_crates: list[str] = data["crates"]["ours"]
        self.cloned: list[str] = data["crates"]["cloned"]

    @classmethod
    def read(cls, file: Path = FILE) -> Releases:
        """What the list says."""
        toml = reader()
        try:
            return cls(toml.loads(file.read_text(encoding="utf-8")))
        except toml.TOMLDecodeError as error:
            die(f"{file}: {error}")
        except KeyError as error:
            die(f"{file} has no {error}")

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [each.name for each in self.all]

    def named(self, name: str) -> Release:
        """That of a name, or the default if it is empty."""
        return next(each for each in self.all if not name or each.name == name)

    def find(self, version: str) -> Release | None:
        """That of a version of QEMU."""
        return next((each for each in self.all if each.has(version)), None)

    def series_for(self, version: str) -> Release:
        """The same, where there has to be one."""
        found = self.find(version)
        if found is None:
            there = " ".join(pattern for each in self.all for pattern in each.versions)
            die(f"there is no patch series for QEMU {version}; patches/ has: {there}. "
                "docs/building-qemu.md says how to add a release.")
        return found

    def nearest(self, name: str, versions: Sequence[str]) -> str:
        """Which of these versions of Debian's package, the newest first, is of that release, or of
        the first in order that has one if there is no name; nothing if none is."""
        for release in [self.named(name)] if name else self.all:
            for version in versions:
                if self.find(upstream_of(version)) == release:
                    return version
        return ""


def upstream_of(version: str) -> str:
    """The version of QEMU, of that of a package."""
    return re.split("[+-]", version.partition(":")[2] or version)[0]


def reader() -> Any:
    """What reads TOML. Python has it since 3.11."""
    try:
        return importlib.import_module("tomllib")
    except ModuleNotFoundError:
        need_packages("python3-tomli")
    try:
        return importlib.import_module("tomli")
    except ModuleNotFoundError:
        die(f"Python {platform.python_version()} has nothing that reads TOML: 3.11 or newer has")
