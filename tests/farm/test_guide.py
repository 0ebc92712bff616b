# SPDX-License-Identifier: MIT OR Apache-2.0
"""The example of docs/farms.md, packed and run without the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_test_that_builds_itself(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/farms.md").read_text(),
                         re.M | re.S)

    def packed(name: str, text: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "test_it.py").write_text(text)
        qemu = pytestconfig.getoption("--cosim-qemu")
        subprocess.run(
            [sys.executable, "-m", "accelerator_cosim", "bundle", "--out", folder / "it.tar.gz",
             folder / "test_it.py", "--", *([f"--cosim-qemu={qemu}"] if qemu else [])],
            check=True, timeout=600)
        # As on another machine: nothing leads to the checkout.
        environment = {name: value for name, value in os.environ.items()
                       if name != "ACCELERATOR_ROOT"}
        result = subprocess.run(
            [sys.executable, "-m", "accelerator_cosim", "farm", "--jobs", "1",
             "--results", folder / "results", "--junit", folder / "junit.xml",
             folder / "it.tar.gz"],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
        return result.stdout

    assert re.search(r"^1 passed in \d+ s$", packed("named", block), re.M)
    # Without the setting it is not in the bundle, and the test says so.
    said = packed("unnamed", block.replace(", simulations=[WIDE]", ""))
    assert re.search(r"FAILED .*has no sort DmaDataWidth=64: what a test builds itself, its marker "
                     "cosim has to name in `simulations`", said)
    # The folder of the run has come from where it was.
    [kept] = [prop.get("value") or "" for prop in
              ElementTree.parse(tmp_path / "unnamed/junit.xml").iter("property")
              if prop.get("name") == "cosim_folder"]
    assert Path(kept).parent == tmp_path / "unnamed/results/job-0"
    assert {"commands.txt", "guest.console.log", "simulator.log"} <= {
        path.name for path in Path(kept).iterdir()}
