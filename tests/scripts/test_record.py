# SPDX-License-Identifier: MIT OR Apache-2.0
"""The record of a simulation under a guest, what accelerator-trace makes of it, and
accelerator-replay, without a guest."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import is_over
from shell import ROOT, python_of, run, start, status_of, wait_until

DEMO = ROOT / "scripts/demo.sh"
SORT = ROOT / "hdl/examples/sort"
GOOD = ROOT / "build/sim/sort/sort"
NAMES: list[str | Path] = ["--registers", SORT / "registers.toml"]
# Entries of a ring of 1 MiB.
RING = 15360
# A demo with a guest, on a loaded machine.
PATIENCE = 600


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """What is built first."""
    run("cargo", "build", "--release", "--locked", "--package", "accelerator-trace", "--package",
        "accelerator-replay")
    run("scripts/build-sim.sh", "sort")
    run("scripts/build-guest.sh", "--out", "build/guest-plain")


@pytest.fixture(scope="module")
def trace(release: Path) -> Path:
    """accelerator-trace."""
    return release / "accelerator-trace"


class Demo:
    """A demo in the background."""

    def __init__(self, work: Path, name: str, qemu: str, *arguments: str | Path,
                 env: dict[str, str] | None = None) -> None:
        self.record, self.log = work / f"{name}.record", work / f"{name}.log"
        self.process = start(DEMO, "--qemu", qemu, "--example", "sort", *arguments, out=self.log,
                             env=env)

    @property
    def said(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    def ends(self, status: int) -> str:
        """What it says, which has to end with that status."""
        ended = self.process.wait(PATIENCE)
        print(self.said)
        assert ended == status
        return self.said

    def number_at(self, offset: int, size: int) -> int:
        """A number in the header of its record; 0 where there is none."""
        if not self.record.exists():
            return 0
        with self.record.open("rb") as file:
            file.seek(offset)
            return int.from_bytes(file.read(size), sys.byteorder)

    def entries(self) -> int:
        """How many its record has had."""
        return self.number_at(64, 8)

    def close(self) -> None:
        """Ends it, and it ends what it has started."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def demos(work: Path, qemu: str) -> Iterator[tuple[Demo, Demo]]:
    """Two demos at the same time: one to be killed long before its blocks are sorted, and one that
    ends in order."""
    # The demo knows names of its own examples' registers; these are the user's.
    mine = work / "mine.toml"
    mine.write_text((SORT / "registers.toml").read_text(encoding="utf-8").replace(
        '"TAIL"', '"TAIL_OF_MINE"'), encoding="utf-8")
    killed = Demo(work, "killed", qemu, "--blocks", "10000", "--report", work / "killed.html",
                  "--registers", mine,
                  env={"ACCELERATOR_RECORD": str(work / "killed.record"),
                       "ACCELERATOR_RECORD_SIZE": "1048576", "ACCELERATOR_RECORD_DATA": "1"})
    orderly = Demo(work, "sort", qemu, "--blocks", "16", "--record", work / "sort.record",
                   "--contents", "--report")
    yield killed, orderly
    killed.close()
    orderly.close()


def count_of(page: Path) -> int:
    """Transactions of a page."""
    return int(re.findall('"count":([0-9]*),"counts"', page.read_text(errors="replace"))[-1])


def test_killed(demos: tuple[Demo, Demo], trace: Path, work: Path) -> None:
    """A simulator is killed by SIGKILL in the middle, and its record, a ring with contents, is
    read."""
    demo, _ = demos
    wait_until("the ring has gone round twice", lambda: demo.entries() >= 40000, 300,
               is_over=lambda: demo.process.poll() is not None)
    pid = demo.number_at(60, 4)
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    # The record names the simulator.
    assert re.search("sort.*accelerator_endpoint", command)
    os.kill(pid, signal.SIGKILL)
    assert f"Report: {work}/killed.html" in demo.ends(1).splitlines()
    page = work / "killed.html"
    assert count_of(page) > 100
    assert "TAIL_OF_MINE" in page.read_text(errors="replace")

    entries = demo.entries()
    summary = run(trace, "summary", demo.record)
    assert re.search("^  end  .* was killed$", summary, re.M)
    (found,) = re.findall("^  entries  *([0-9]*)$", summary, re.M)
    # All of the ring, but the one entry that may have been half written over.
    assert int(found) in (RING, RING - 1)
    run(trace, "csv", demo.record, "--out", work / "killed.csv")
    lines = (work / "killed.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == int(found) + 1
    assert int(lines[-1].partition(",")[0]) in (entries, entries + 1)
    # Contents are in the record.
    assert any(re.match("[0-9]+,data,", line) for line in lines)
    run(trace, "perfetto", demo.record, "--out", work / "killed.json")
    json.loads((work / "killed.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def orderly(demos: tuple[Demo, Demo]) -> Demo:
    """The one that has ended in order."""
    demos[1].ends(0)
    return demos[1]


def test_orderly(orderly: Demo, trace: Path, work: Path) -> None:
    """A record agrees with what the driver, the RTL and the DPI library have counted."""
    assert f"Record: {orderly.record}" in orderly.said
    # In the folder of the run, which is kept for it.
    (name,) = re.findall("^Report: (build/run/sort-.*/report.html)$", orderly.said, re.M)
    report = ROOT / name
    assert '"TAIL"' in report.read_text(errors="replace")

    summary = run(trace, "summary", orderly.record, *NAMES)
    (work / "summary").write_text(summary, encoding="utf-8")
    assert re.search("^  end  .*ended in order$", summary, re.M)
    assert re.search("^Outstanding at the end: 0$", summary, re.M)
    assert re.search("^  mmio_write TAIL  ", summary, re.M)
    for form in "csv", "perfetto", "ftr":
        run(trace, form, orderly.record, *NAMES, "--out", work / form)
    # Streams.
    assert (work / "ftr").stat().st_size > 0
    kinds = "(?:mmio|dma) (?:read|write)|link up|link down|msix|intx|reset|function"
    begun = sum(map(int, re.findall(f"^  (?:{kinds}) +([0-9]+)$", summary, re.M)))
    assert count_of(report) == begun
    shutil.rmtree(report.parent)
    run(sys.executable, "tests/vm/record.py", orderly.log, work / "summary", work / "csv",
        work / "perfetto")


def test_no_record(trace: Path) -> None:
    """A file that is no record."""
    status, said = status_of(trace, "summary", DEMO)
    assert status == 1
    assert "it is no record" in said


# ---- replays ---------------------------------------------------------------------------

class Replays:
    """accelerator-replay."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def ends(self, status: int, *arguments: str | Path) -> str:
        """What it says, which has to end with that status."""
        ended, said = status_of(self.program, *NAMES, *arguments, timeout=120)
        assert ended == status
        return said


@pytest.fixture(scope="module")
def replays(release: Path) -> Replays:
    """accelerator-replay."""
    return Replays(release / "accelerator-replay")


def test_replay_is_the_same(orderly: Demo, replays: Replays) -> None:
    """A good record, with the RTL that made it."""
    said = replays.ends(0, orderly.record, "--exact-clocks", "--exact-order", "--", GOOD)
    assert re.search("^same: ", said, re.M)


@contextmanager
def simulator(endpoint: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One that has been started before."""
    process = start(GOOD, f"+accelerator_endpoint={endpoint}", out=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_replay_and_a_simulator_that_is_killed(orderly: Demo, replays: Replays,
                                               work: Path) -> None:
    """While the clocks of the guest's boot go by."""
    endpoint, log = f"ipc://{work}/socket", work / "replayed.log"

    def kill() -> None:
        wait_until("link up", lambda: "link up" in log.read_text(errors="replace"), 60,
                   is_over=lambda: is_over(process.pid))
        time.sleep(0.5)
        process.kill()
    with simulator(endpoint, log) as process:
        killer = threading.Thread(target=kill)
        killer.start()
        said = replays.ends(2, orderly.record, "--clocks", "--endpoint", endpoint, "--timeout",
                            "100")
        killer.join()
    assert "gone without a word" in said


@pytest.fixture(scope="module")
def bug(work: Path) -> Path:
    """RTL with a bug: the fifth block of a ring from 0 on comes out with a bit flipped in every
    fourth key."""
    folder = work / "bug"
    folder.mkdir()
    for file in SORT.glob("*.sv"):
        shutil.copy(file, folder)
    engine = folder / "sort_engine.sv"
    before = engine.read_text(encoding="utf-8")
    after = before.replace(": net_out_data;", ": net_out_data ^ DataWidth'(head_q == 10'd5);")
    assert after != before
    engine.write_text(after, encoding="utf-8")
    (folder / "sort.f").write_text(re.sub(
        "^-F .*", f"-F {ROOT}/hdl/bridge.f", (SORT / "sort.f").read_text(encoding="utf-8"),
        flags=re.M), encoding="utf-8")
    run("scripts/build-sim.sh", "--top", "sort_top", "--files", folder / "sort.f", "--waves",
        "--out", work / "sim")
    return work / "sim/sort_top-waves"


@pytest.fixture(scope="module")
def wrong(bug: Path, qemu: str, work: Path) -> Iterator[Path]:
    """The record of a demo with it, of which the guest says that it is wrong. Nobody changes it."""
    demo = Demo(work, "bug", qemu, "--sim", bug, "--blocks", "16", "--contents", "--record",
                work / "bug.record")
    try:
        demo.ends(1)
    finally:
        demo.close()
    before = demo.record.read_bytes()
    yield demo.record
    assert demo.record.read_bytes() == before


@pytest.fixture(scope="module")
def number(wrong: Path, trace: Path, work: Path) -> str:
    """The transaction that is wrong: the sixth block that was written."""
    run(trace, "csv", wrong, "--out", work / "bug.csv")
    with (work / "bug.csv").open(encoding="utf-8") as file:
        blocks = [row for row in csv.reader(file) if row[1] == "dma_write" and row[10] == "4096"]
    return blocks[5][3]


def test_replay_of_the_bug(wrong: Path, bug: Path, replays: Replays) -> None:
    """It does the same again, and that is no news."""
    replays.ends(0, wrong, "--", bug)


def test_replay_finds_the_bug(wrong: Path, bug: Path, number: str, replays: Replays, trace: Path,
                              work: Path) -> None:
    """It is there still, and the waveform shows it at the clock that is named."""
    said = replays.ends(1, wrong, "--wrong", number, "--record", work / "replay.record", "--", bug,
                        f"+waves={work}/bug.fst")
    assert re.search(f"^#{number} dma_write of 4096 bytes at 0x[0-9a-f]+ at clock [0-9]+: "
                     "expected other bytes", said, re.M)
    ((here, clock),) = re.findall("^  in the replay: #([0-9]*) at clock ([0-9]*)$", said, re.M)
    run(trace, "csv", work / "replay.record", "--out", work / "replay.csv")
    run(python_of("waves"), "tests/vm/waves.py", work / "bug.fst", work / "replay.csv", clock,
        f"u_dma_writes.txn_id={here}", "u_engine.head_q=5")


def test_replay_with_the_rtl_mended(wrong: Path, number: str, replays: Replays) -> None:
    """It is gone, and all else is as it was."""
    replays.ends(0, wrong, "--wrong", number, "--", GOOD)


def test_replay_says_which_byte(wrong: Path, number: str, replays: Replays) -> None:
    """Where another was expected."""
    said = replays.ends(1, wrong, "--", GOOD)
    assert re.search(f"^#{number} dma_write of 4096 bytes at 0x[0-9a-f]+, byte 0 at ", said, re.M)


def test_replay_of_no_record(replays: Replays) -> None:
    """A file that is none."""
    assert "it is no record" in replays.ends(2, DEMO, "--", GOOD)


def test_replay_into_its_own_record(wrong: Path, replays: Replays) -> None:
    """It is refused, and the record is as it was."""
    before = wrong.read_bytes()
    replays.ends(2, wrong, "--record", wrong, "--", GOOD)
    assert wrong.read_bytes() == before
