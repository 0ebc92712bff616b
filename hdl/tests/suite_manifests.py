# SPDX-License-Identifier: Apache-2.0
"""The manifests of the HDL for FuseSoC and Bender name what the file lists do.
scripts/test-manifests.sh runs these."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from benches import HDL
from cocotb_run import cache_folder
from support import ROOT, Shell, once

BENDER_VERSION = "0.32.1"
# The bridges and each example.
NAMES = ["bridge", *sorted(each.name for each in (HDL / "examples").iterdir() if each.is_dir())]
all_names = pytest.mark.parametrize("name", NAMES)
# As scripts read a file list; paths are absolute.
READ_LIST = """\
set -euo pipefail
. scripts/lib.sh
. scripts/file-list.sh
read_list "$1"
printf '+incdir+%s\\n' "${LIST_INCLUDES[@]}" | LC_ALL=C sort -u
printf '%s\\n' "${LIST_SOURCES[@]}" "${LIST_VHDL[@]}"
"""


def expected(name: str) -> list[str]:
    """What the file list means: include folders, then sources."""
    file = "hdl/bridge.f" if name == "bridge" else f"hdl/examples/{name}/{name}.f"
    said = subprocess.run(["bash", "-c", READ_LIST, "bash", file], check=True, cwd=ROOT, text=True,
                          stdout=subprocess.PIPE).stdout
    return said.split("\n")[:-1]


def named(folder: Path, lines: list[str]) -> Iterator[str]:
    """The same of what a tool writes, whose paths are relative to a folder."""
    for line in lines:
        include = line.startswith("+incdir+")
        if include or line.endswith((".sv", ".v", ".vhd")):
            path = os.path.normpath(folder / line.removeprefix("+incdir+"))
            yield f"+incdir+{path}" if include else path


@cache
def environment() -> Path:
    """The environment of Python that has FuseSoC, and what reads YAML."""
    made = subprocess.run([ROOT / "scripts/python-env.sh", "manifests"], check=True, text=True,
                          stdout=subprocess.PIPE)
    return Path(made.stdout.strip())


def read_yaml(file: Path) -> Any:
    """What is in a file of YAML."""
    code = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)"
    return json.loads(subprocess.run([environment() / "bin/python", "-c", code, file], check=True,
                                     stdout=subprocess.PIPE).stdout)


# ---- FuseSoC ---------------------------------------------------------------------------

class FuseSoc:
    """FuseSoC with the cores of hdl/, in a folder for what it makes."""

    def __init__(self, folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work, self.shell = folder / "work", shell
        # What a user has configured is not asked; the cache is the one that we have.
        monkeypatch.setenv("ACCELERATOR_CACHE", str(cache_folder()))
        for name in "CONFIG", "DATA", "CACHE":
            monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))

    def run(self, name: str, target: str, *arguments: str, setup: bool = False) -> str:
        """Runs a target of the core of that name; what is said."""
        core = ("accelerator:pcie:bridge" if name == "bridge" else f"accelerator:example:{name}")
        said = self.shell.run(
            environment() / "bin/fusesoc", "--cores-root", "hdl", "run",
            *(["--setup"] if setup else []), "--no-export", "--target", target, "--work-root",
            self.work, core, *arguments)
        # A core that cannot be read is a warning to it.
        assert not re.search("WARNING|ERROR|%Warning", said)
        return said


@pytest.fixture
def fusesoc(folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> FuseSoc:
    """FuseSoC."""
    return FuseSoc(folder, shell, monkeypatch)


@pytest.mark.seconds(10)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "vhdl"])
def test_fusesoc_lints(name: str, fusesoc: FuseSoc) -> None:
    """FuseSoC lints it, and has the files of its list."""
    fusesoc.run(name, "lint")
    (file,) = fusesoc.work.glob("*.vc")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert list(named(fusesoc.work, lines)) == expected(name)


def test_fusesoc_has_the_files_of_vhdl(fusesoc: FuseSoc) -> None:
    """FuseSoC has no way from VHDL to Verilator: of that one it is asked for the files alone, as it
    would give them to Vivado's simulator."""
    fusesoc.run("vhdl", "sim", setup=True)
    (file,) = fusesoc.work.glob("*.eda.yml")
    files = [each["name"] for each in read_yaml(file)["files"] if not each.get("is_include_file")]
    assert list(named(fusesoc.work, files)) == [
        each for each in expected("vhdl") if not each.startswith("+")]


def test_versions(shell: Shell) -> None:
    """The cores have the version of Cargo.toml."""
    version = shell.run("scripts/package.sh", "--print-version").strip()
    listed = shell.run("git", "ls-files", "*.core").split()
    name = re.compile(rf"^name: accelerator:[a-z_]+:[a-z0-9_]+:{re.escape(version)}$", re.M)
    assert listed
    assert [core for core in listed
            if not name.search((ROOT / core).read_text(encoding="utf-8"))] == []


# ---- Bender ----------------------------------------------------------------------------

@all_names
def test_bender_yml(name: str) -> None:
    """Bender.yml has the files of it."""
    manifest = read_yaml(ROOT / "Bender.yml")
    lines = [f"+incdir+{each}" for each in sorted(manifest["export_include_dirs"])]
    for group in manifest["sources"]:
        # An expression of names, of which one is enough.
        if "target" not in group or f"accelerator_{name}" in re.findall(r"\w+", group["target"]):
            lines += group["files"]
    assert list(named(ROOT, lines)) == expected(name)


# ---- the long form ---------------------------------------------------------------------

@pytest.fixture
def bender(shell: Shell) -> Path:
    """Bender itself, which is built once."""
    program = cache_folder() / "cargo/bin/bender"

    def build() -> None:
        if not program.exists() or shell.run(
                program, "--version").strip() != f"bender {BENDER_VERSION}":
            shell.run("cargo", "install", "--locked", "--no-default-features", "--root",
                      cache_folder() / "cargo", "--version", f"={BENDER_VERSION}", "bender")
    once("bender", build)
    return program


@pytest.mark.long
@pytest.mark.seconds(100)
@all_names
def test_bender(name: str, bender: Path, folder: Path, shell: Shell) -> None:
    """Bender has the files of it."""
    # It writes a file beside its manifest.
    shutil.copy(ROOT / "Bender.yml", folder)
    shutil.copytree(HDL, folder / "hdl")
    said = shell.run(bender, "script", "flist-plus", "--target", f"accelerator_{name}", cwd=folder)
    lines = [line.replace(f"{folder}/", f"{ROOT}/") for line in said.splitlines()]
    assert list(named(ROOT, lines)) == expected(name)


@pytest.mark.long
@pytest.mark.seconds(100)
def test_fusesoc_simulates(fusesoc: FuseSoc, folder: Path, shell: Shell, endpoint: str,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    """FuseSoC builds a simulation, which begins, looks for its QEMU, and ends by itself."""
    shell.run("scripts/build-dpi.sh", "--out", folder / "dpi")
    monkeypatch.setenv("LDLIBS", f"{folder}/dpi/libaccelerator_dpi.a -lpthread -ldl -lm")
    said = fusesoc.run("regs", "sim", "--accelerator_endpoint", endpoint.partition("=")[2],
                       "--max_clocks", "5000")
    assert re.search('regs: clocks=5000 .*end="\\+max_clocks"', said)
