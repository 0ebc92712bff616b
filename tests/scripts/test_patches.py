# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/patches.sh finds wrong with a series."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import ROOT, refused, run

GOOD = "From 0\nSubject: [PATCH] Good\n\nBecause.\n---\n f | 1 +\n"
RUST = "diff --git a/rust/f b/rust/f\n--- a/rust/f\n+++ b/rust/f\n@@ -1 +1 @@\n-old\n+new\n"
Check = Callable[..., list[str | Path]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Makes a series of patches by name, and a command that checks it."""
    def make(series: str, **patches: str) -> list[str | Path]:
        folder = tmp_path / "patches/9.0"
        folder.mkdir(parents=True)
        (tmp_path / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/patch_series.py", tmp_path / "scripts")
        (folder / "series").write_text(series, encoding="utf-8")
        for name, text in patches.items():
            (folder / f"{name}.patch").write_text(text, encoding="utf-8")
        return [sys.executable, tmp_path / "scripts/patch_series.py", "check"]
    return make


def test_good(check: Check) -> None:
    """One that is in order."""
    said = run(*check("# why\none.patch # this\n", one=GOOD))
    assert said == "[patches.sh] patches/9.0: 1 in order\n"


@pytest.mark.parametrize(("patch", "told"), [
    (GOOD.replace("[PATCH] ", ""), "has no subject as git format-patch writes it"),
    (GOOD.replace("Because.", ""), "does not say why"),
    (GOOD + "diff --git a/x b/y\nnew file mode 100644\n", "adds a file: b/y"),
    (GOOD.replace("---", "Baseline: yes\n---") + RUST,
     "is for the baseline too, but changes rust/")])
def test_bad(patch: str, told: str, check: Check) -> None:
    """A patch that is not, after one that is not there."""
    said = refused(f"9.0/one.patch {told}", *check("none.patch\none.patch\n", one=patch))
    assert "9.0/series names none.patch, which is not there" in said


def test_forgotten(check: Check) -> None:
    """A patch that the series does not have."""
    refused("9.0/two.patch is not in the series", *check("one.patch\n", one=GOOD, two=GOOD))


@pytest.mark.parametrize(("there", "applies"), [("old", True), ("other", False)])
def test_tree(there: str, applies: bool, check: Check, tmp_path: Path) -> None:
    """With a tree, whether it applies there, without changing it."""
    (tmp_path / "qemu/rust").mkdir(parents=True)
    (tmp_path / "qemu/VERSION").write_text("9.0.1\n")
    file = tmp_path / "qemu/rust/f"
    file.write_text(f"{there}\n")
    command = [*check("one.patch\n", one=GOOD + RUST), "9.0", tmp_path / "qemu"]
    if applies:
        assert "1 in order, and applies to QEMU 9.0.1" in run(*command)
    else:
        refused("9.0/one.patch does not apply to QEMU 9.0.1", *command)
    assert file.read_text() == f"{there}\n"
