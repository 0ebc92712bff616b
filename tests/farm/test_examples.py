# SPDX-License-Identifier: MIT OR Apache-2.0
"""The driver tests of examples/, packed and run on both nodes of a Slurm."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from farm_run import FarmRun
from slurm import NODES, Cluster

from accelerator_cosim.farm import unpack

ROOT = Path(__file__).resolve().parents[2]
BUNDLE_LIMIT = 150e6


def test_examples_pass(
    cluster: Cluster, farms: list[FarmRun], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    packed = tmp_path / "examples.tar.gz"
    options = []
    if qemu := pytestconfig.getoption("--cosim-qemu"):
        options = [f"--cosim-qemu={qemu}"]
    subprocess.run([sys.executable, "-m", "accelerator_cosim", "bundle", "--out", packed,
                    ROOT / "examples/driver-tests", "--", *options], check=True, timeout=600)
    assert packed.stat().st_size < BUNDLE_LIMIT
    bundle = tmp_path / "bundle"
    unpack(packed, bundle)
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)

    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size)
                for path in bundle.rglob("*")}

    before = state()
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "4")
    farms.append(farm)
    assert farm.wait(900) == 0
    assert re.search(r"^14 passed in \d+ s$", farm.said, re.M)
    assert len(farm.cases()) == 14
    nodes = {each.get("value") for case in farm.cases() for each in case.iter("property")
             if each.get("name") == "cosim_node"}
    assert nodes == set(NODES)
    # It is what was packed that ran, and nothing in it was written.
    assert state() == before
    assert not (farm.results / "job-0").exists()
