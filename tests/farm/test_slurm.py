# SPDX-License-Identifier: MIT OR Apache-2.0
"""Arrays of jobs on a real Slurm, with two nodes on this machine."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from farm_run import PATIENCE, FarmRun
from slurm import NODES, Cluster

from accelerator_cosim._shard import shard_of


def names_of(job: int, jobs: int) -> list[str]:
    names = [f"test_it.py::test_{kind}[{n}]" for kind in ("waits", "quick") for n in range(8)]
    return [name for name in names if shard_of(name, jobs) == job]


def wait_begun(folder: Path, count: int) -> None:
    """Waits until so many jobs are in a test."""
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("*.began"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_test_that_fails(
    cluster: Cluster, farms: list[FarmRun], bundle: Path, tmp_path: Path
) -> None:
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "2")
    farms.append(farm)
    farm.go.touch()
    assert farm.wait() == 1
    assert re.search(r"^15 passed, 1 failed in \d+ s$", farm.said, re.M)
    [failed] = [case for case in farm.cases() if case.find("failure") is not None]
    assert failed.get("name") == "test_quick[5]"
    assert "five is too much" in (failed.findtext("failure") or "")
    assert "printed by 5" in (failed.findtext("system-out") or "")


def test_jobs_that_are_cancelled(
    cluster: Cluster, farms: list[FarmRun], bundle: Path, tmp_path: Path
) -> None:
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "4")
    farms.append(farm)
    # Who waits for a place is told so.
    farm.read_until(r"jobs: 2 running, 2 waiting in the queue \(Resources\); \d+ s since")
    wait_begun(tmp_path, 2)
    array = cluster.array()
    queue = cluster.queue()
    running = next(number for number, (state, _) in queue.items() if state == "RUNNING")
    waiting = next(number for number, (state, _) in queue.items() if state == "PENDING")
    cluster.command("scancel", f"{array}_{running}", f"{array}_{waiting}")
    farm.read_until(f"job {running} has ended")
    farm.go.touch()
    assert farm.wait() == 1
    errors = farm.errors()
    assert set(errors) == {f"job {running} of 4", f"job {waiting} of 4"}
    node = queue[running][1]
    assert re.search(rf"job {running} on {node} was lost: cancelled \(CANCELLED on {node}\); it "
                     r"was ended by SIGTERM; while test_it.py::test_waits\[\d\] ran; \d+ without",
                     errors[f"job {running} of 4"])
    assert re.search(rf"job {waiting} was lost: (cancelled \(CANCELLED\)|no longer in the queue); "
                     rf"{len(names_of(int(waiting), 4))} without a result",
                     errors[f"job {waiting} of 4"])
    assert "2 of 4 jobs lost" in farm.said.splitlines()[-1]


def test_a_node_that_is_lost(
    cluster: Cluster, farms: list[FarmRun], bundle: Path, tmp_path: Path
) -> None:
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "2")
    farms.append(farm)
    for _ in range(2):
        farm.read_until(r"job \d runs on")
    wait_begun(tmp_path, 2)
    [number] = [number for number, (_, node) in cluster.queue().items() if node == NODES[1]]
    cluster.lose(NODES[1])
    try:
        farm.read_until(f"job {number} has ended")
        farm.go.touch()
        assert farm.wait() == 1
    finally:
        cluster.start_node(NODES[1])
    [(name, message)] = farm.errors().items()
    assert name == f"job {number} of 2"
    assert re.search(r"was lost: node lost \(NODE_FAIL on n1\); while test_it.py::test_waits\[\d\] "
                     r"ran; \d+ without a result", message)


def test_a_time_limit(
    cluster: Cluster, farms: list[FarmRun], bundle: Path, tmp_path: Path
) -> None:
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "2", "--time", "15")
    farms.append(farm)
    assert farm.wait() == 1
    assert len(farm.errors()) == 2
    assert all("; the time limit of 15 s; while test_it.py::test_waits[" in message or
               "lost: the time limit of 15 s; while" in message
               for message in farm.errors().values())


def test_ctrl_c(cluster: Cluster, farms: list[FarmRun], bundle: Path, tmp_path: Path) -> None:
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "4")
    farms.append(farm)
    farm.read_until(r"job \d runs on")
    farm.process.send_signal(signal.SIGINT)
    assert farm.wait() == 130
    assert "SIGINT: cancelling; jobs left: 4" in farm.said
    assert len(farm.errors()) == 4
    assert cluster.queue() == {}
    assert not list(farm.results.glob(".bundle-*"))
    assert not processes_of(farm)


def test_a_farm_that_is_killed(
    cluster: Cluster, farms: list[FarmRun], bundle: Path, tmp_path: Path
) -> None:
    farm = FarmRun(cluster, bundle, tmp_path, "--jobs", "2", "--time", "8")
    farms.append(farm)
    for _ in range(2):
        farm.read_until(r"job \d runs on")
    farm.process.kill()
    farm.process.wait()
    # The jobs end by their own limit, and all that they had started.
    assert len(cluster.queue()) == 2
    cluster.wait_queue_empty(8 + 30)
    assert not processes_of(farm)


def processes_of(farm: FarmRun) -> list[str]:
    """What has the mark of a farm in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"FARM_GO={farm.go}\0".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
