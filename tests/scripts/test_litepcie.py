# SPDX-License-Identifier: MIT OR Apache-2.0
"""LitePCIe from PyPI on the UltraScale+ block, with its own generator, driver and test of DMA."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import ROOT, python_of, run, script, status_of

BUILT = ROOT / "build/litepcie"
# What pip has installed is what its records say.
CHECK = """
import base64
import hashlib
import importlib.metadata
import sys

changed = []
files = importlib.metadata.files("litepcie")
for file in files:
    if file.hash is not None:
        digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
            changed.append(str(file))
print(f"{len(files)} files of LitePCIe, {len(changed)} changed", *changed)
sys.exit(bool(changed) or len(files) < 50)
"""
# Width, loopback, plusargs.
SHORT = [(256, "internal", ()), (128, "external", ())]
LONG = [(width, "both", plusargs) for width in (128, 256)
        for plusargs in ((), (f"+accelerator_completion_seed={width}",))]

Demo = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def built() -> Callable[[int], None]:
    """Builds a width, once, without a warning."""
    done = set()

    def build(width: int) -> None:
        if width in done:
            return
        warnings = BUILT / str(width) / "warnings.log"
        warnings.unlink(missing_ok=True)
        run("scripts/build-litepcie.sh", "--width", str(width))
        assert not warnings.exists() or not warnings.read_text(encoding="utf-8")
        done.add(width)
    return build


@pytest.fixture
def demo(qemu: str, tmp_path: Path, built: Callable[[int], None]) -> Demo:
    """How the demo ends, with these arguments for the simulation."""
    def ends(width: int, loopback: str, plusargs: tuple[str, ...]) -> tuple[int, str]:
        built(width)
        sim: list[str | Path] = []
        if plusargs:
            program = BUILT / f"{width}/litepcie_top"
            sim = ["--sim", script(tmp_path / "sim", "#!/bin/sh\n"
                                   f'exec "{program}" "$@" {" ".join(plusargs)}\n'),
                   "--sim-folder", f"build/litepcie/{width}/core"]
        return status_of("scripts/demo.sh", "--qemu", qemu, "--example", "litepcie", "--width",
                         str(width), "--loopback", loopback, *sim)
    return ends


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is done depends on --long."""
    if "plusargs" in metafunc.fixturenames:
        cases = LONG if metafunc.config.getoption("--long") else SHORT
        metafunc.parametrize(("width", "loopback", "plusargs"), cases)


def test_demo(width: int, loopback: str, plusargs: tuple[str, ...], demo: Demo) -> None:
    """The demo passes."""
    status, _ = demo(width, loopback, plusargs)
    assert status == 0


@pytest.mark.long
def test_wrong_bits(demo: Demo) -> None:
    """LitePCIe's test of DMA finds them."""
    status, said = demo(256, "external", ("+litepcie_damage=100003",))
    assert status != 0
    assert re.search("^  dma external errors +[1-9]", said, re.M)


def test_files() -> None:
    """What pip has installed is as the wheel has it."""
    run(python_of("litepcie"), "-c", CHECK)
