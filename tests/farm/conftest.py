# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests of farms share: a Slurm, and bundles."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from farm_run import FarmRun
from slurm import Cluster

# Each waits until the file is there that is named to the jobs, but for those that say "quick".
TESTS = """
    import os
    import time
    from pathlib import Path
    import pytest

    @pytest.mark.parametrize("n", range(8))
    def test_waits(n):
        go = Path(os.environ["FARM_GO"])
        (go.parent / f"{os.environ.get('SLURM_ARRAY_TASK_ID')}.began").touch()
        while not go.exists():
            time.sleep(0.05)

    @pytest.mark.parametrize("n", range(8))
    def test_quick(n):
        print("printed by", n)
        assert n != 5, "five is too much"
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests that start no VM."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "test_it.py").write_text(textwrap.dedent(TESTS))
    subprocess.run(
        [sys.executable, "-m", "accelerator_cosim", "bundle", "--out", folder / "out/it.tar.gz",
         folder / "test_it.py"], check=True, timeout=120)
    return folder / "out/it.tar.gz"


@pytest.fixture
def farms(cluster: Cluster) -> Iterator[list[FarmRun]]:
    started: list[FarmRun] = []
    yield started
    for farm in started:
        farm.kill()
    cluster.wait_queue_empty()
