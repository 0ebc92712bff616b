# SPDX-License-Identifier: MIT OR Apache-2.0
"""Python: ruff, and mypy over all but cocotb's tests, with the settings of
python/pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest
from shell import ROOT, python_of, run

SETTINGS = ROOT / "python/pyproject.toml"
CACHE = ROOT / "target/test/mypy"
# Looked at by checks of their own, or in no way: what cocotb runs is test_*.py and what those
# import.
ELSEWHERE = ["python/*", "examples/*", "tests/farm/*", "hdl/*", "tests/report/page.py"]
# What imports pexpect, which has no types.
DRIVEN = ["tests/vm/gdb.py", "tests/vm/disk.py"]
# With types; what else there is goes without them.
TYPED = ["tests/docs/*", "tests/licences/*", "tests/report/*", "tests/scripts/*", "tests/entry.py",
         "tests/harness.py",
         "scripts/run_suites.py", "scripts/pcie_block.py", "scripts/patch_series.py",
         "scripts/processes.py", "scripts/package/packages.py", "scripts/build_*.py",
         "scripts/builds/*", "scripts/*_build/*"]
# A function without types is looked into all the same, for names, arguments and attributes that
# are not there; not for what None has, since it is not said what can be None.
UNTYPED = ["--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls",
           "--allow-any-generics", "--disable-error-code", "union-attr", "--disable-error-code",
           "var-annotated"]
# The pytest of hdl/.
HDL = ["suite_*.py", "benches.py", "cocotb_run.py", "conftest.py", "run.py", "support.py",
       "broken/broken_benches.py"]


def tracked() -> list[str]:
    """Every Python file."""
    said = subprocess.run(["git", "ls-files", "-z", "--", "*.py"], check=True, cwd=ROOT, text=True,
                          stdout=subprocess.PIPE).stdout
    return [name for name in said.split("\0") if name and (ROOT / name).is_file()]


def is_one(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file is one of these."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def others() -> list[str]:
    """Files that no check of their own is for."""
    return [name for name in tracked() if not is_one(name, ELSEWHERE)]


def check(*arguments: str, path: str = "", folder: Path = ROOT) -> None:
    """mypy, with folders in which it looks for what is imported."""
    run(Path(sys.executable).parent / "mypy", "--config-file", SETTINGS, "--cache-dir", CACHE,
        *arguments, cwd=folder, env={"MYPYPATH": path} if path else None)


def test_ruff() -> None:
    """ruff over every file."""
    run(Path(sys.executable).parent / "ruff", "check", "--no-cache", "--config", SETTINGS,
        *tracked())


def test_package() -> None:
    """The package, its tests and the examples."""
    check("src", "tests", "../examples/driver-tests", folder=ROOT / "python")


def test_farm() -> None:
    """Those of farms."""
    check("tests/farm", path="python/src:tests/farm")


def test_hdl() -> None:
    """What pytest runs in hdl/, in the environment of cocotb."""
    files = [str(file.relative_to(ROOT)) for name in HDL
             for file in sorted((ROOT / "hdl/tests").glob(name))]
    check("--python-executable", python_of(), *files, path="hdl/tests")


def test_typed() -> None:
    """What has types."""
    files = (name for name in others() if is_one(name, TYPED))
    check(*files, path=f"tests/scripts{os.pathsep}scripts")


def test_page() -> None:
    """The test of the page, in the environment of Playwright."""
    check("--python-executable", python_of("report"), "tests/report/page.py")


@pytest.mark.parametrize("driven", [False, True])
def test_untyped(driven: bool) -> None:
    """What goes without types."""
    files = [name for name in others() if not is_one(name, TYPED)
             and is_one(name, DRIVEN) == driven]
    more = ["--python-executable", python_of("vm"), "--disable-error-code", "import-untyped"]
    check(*UNTYPED, *(more if driven else []), *files, path=f"scripts{os.pathsep}tests/vm")
