# SPDX-License-Identifier: MIT OR Apache-2.0
"""A harness with a VM and a simulator is killed at random moments, and nothing is left.

It needs a QEMU, a guest and the simulation of `sort`. KILLS in the environment is how often;
the default is the short form."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

import pytest

from accelerator_cosim import Workspace

ROOT = Workspace.find(Path(__file__)).root
PATIENCE = 20.0
MARK = "ACCELERATOR_COSIM_TEST_MARK"

# All that a test does: builds, a boot whose state is saved, a restored VM, and work in it.
HARNESS = """
    import sys
    from pathlib import Path
    from accelerator_cosim import Session, Workspace

    with Session(Workspace.at(Path(sys.argv[1])), Path(sys.argv[2])) as session:
        with session.run() as run:
            guest = run.boot(saved=True, cards=[run.simulate("sort")])
            guest.load_module("accel_sort")
            guest.run("accel-sort --blocks 200 --seed 1")
        with session.run() as run:
            guest = run.boot(saved=True, cards=[run.simulate("sort")])
            guest.load_module("accel_sort")
            work = guest.start("while accel-sort --blocks 200 --seed 1; do :; done")
            print("working", flush=True)
            work.wait(1000)
"""


def marked(mark: str) -> dict[int, str]:
    """Processes that have the mark in their environment, as all that the harness starts has."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def wait_until_empty(look: Callable[[], Sized]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := look():
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


class Harness:
    def __init__(self, mark: str, folder: Path, sockets: Path) -> None:
        self.mark = mark
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HARNESS), str(ROOT), str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, MARK: mark, "XDG_RUNTIME_DIR": str(sockets)})

    def first_line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def descendants(self) -> dict[int, str]:
        left = marked(self.mark)
        left.pop(self.process.pid, None)
        return left


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Where a harness has its sockets: a short path of its own."""
    with tempfile.TemporaryDirectory(prefix="killed-") as folder:
        yield Path(folder)


def test_nothing_is_left(tmp_path: Path, sockets: Path) -> None:
    seed = int(os.environ.get("KILLS_SEED", random.SystemRandom().randrange(1 << 31)))
    dice = random.Random(seed)
    count = int(os.environ.get("KILLS", "2"))
    print(f"seed {seed}")
    # The first one comes to its end, which says how long that takes.
    seconds = 0.0
    for n in range(count):
        folder = tmp_path / f"run{n}"
        harness = Harness(f"{os.getpid()}-{n}", folder, sockets)
        begin = time.monotonic()
        try:
            if n == 0:
                line = harness.first_line()
                seconds = time.monotonic() - begin
                there = harness.descendants()
                assert line == "working\n"
                # What is to be ended has to be there.
                for name in ("qemu-system-x86_64", "build/sim/sort/sort", "_supervise.py"):
                    assert any(name in words for words in there.values()), there
            else:
                # One in each part of the run, so that all of it has its turn.
                time.sleep(seconds * (n - 1 + dice.random()) / (count - 1))
                there = harness.descendants()
        finally:
            harness.process.send_signal(signal.SIGKILL)
        moment = time.monotonic() - begin
        print(f"killed after {moment:.2f} of {seconds:.2f} s: {summary(there)}", flush=True)
        harness.process.wait(PATIENCE)
        # Whatever it has told nobody of is found as well.
        wait_until_empty(harness.descendants)
        wait_until_empty(lambda: list(sockets.iterdir()))
        wait_until_empty(lambda where=folder: list(where.glob("shared")))  # type: ignore[misc]


def summary(there: dict[int, str]) -> str:
    """Names of programs."""
    return ", ".join(Path(words.split()[0]).name for words in there.values() if words) or "nothing"
