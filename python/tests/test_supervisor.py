# SPDX-License-Identifier: MIT OR Apache-2.0
"""Whatever happens to the harness, nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accelerator_cosim import CosimError, Run, Session, WaitTimeout, Workspace, _supervise, session
from accelerator_cosim._supervisor import Process

PATIENCE = 20.0
# Everything that a test starts has it in its environment, and so has all that this starts.
MARK = "ACCELERATOR_COSIM_TEST_MARK"


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def marked(mark: str) -> list[int]:
    """Processes that have the mark, and have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path) -> Iterator[Run]:
    with Session(workspace, tmp_path / "runs") as owner:
        yield owner.run()


def shell(run: Run, line: str, name: str = "program") -> Process:
    return run.start(name, ["sh", "-c", line], log=run.folder / f"{name}.log")


def test_status_and_output_of_a_program(run: Run) -> None:
    program = shell(run, "echo one; echo two >&2; exit 3")
    assert program.wait(PATIENCE) == 3
    assert program.text() == "one\ntwo\n"
    assert "status 3" in program.last_words()


def test_status_of_a_signal(run: Run) -> None:
    program = shell(run, "kill -TERM $$")
    assert program.wait(PATIENCE) == -signal.SIGTERM
    assert "SIGTERM" in program.last_words()


def test_a_program_that_is_not_there(run: Run) -> None:
    with pytest.raises(CosimError, match=r"nothing cannot be started.*No such file"):
        run.start("nothing", ["/nonexistent"], log=run.folder / "nothing.log")


def test_a_wait_has_an_end(run: Run) -> None:
    with pytest.raises(WaitTimeout, match=r"program did not end within 0\.1 s"):
        shell(run, "sleep 100").wait(0.1)


def test_one_that_heeds_no_sigterm_is_killed(run: Run) -> None:
    program = shell(run, "trap '' TERM; echo ready; sleep 100 & wait; wait")
    wait_for(lambda: "ready" in program.text(), "it is there")
    assert program.end(0.3) == -signal.SIGKILL


def test_one_that_is_stopped_is_ended(run: Run) -> None:
    program = shell(run, "echo ready; exec sleep 100")
    wait_for(lambda: "ready" in program.text(), "it is there")
    program.signal(signal.SIGSTOP)
    assert program.end() == -signal.SIGTERM


def test_what_a_program_leaves_behind_ends_with_it(run: Run) -> None:
    program = shell(run, "sleep 100 & echo $!")
    assert program.wait(PATIENCE) == 0
    left = int(program.text())
    wait_for(lambda: not Path(f"/proc/{left}").exists(), f"process {left} is gone")


def test_an_end_that_nobody_asked_for_is_a_problem(run: Run) -> None:
    shell(run, "echo why; exit 4", "helper").wait(PATIENCE)
    problems = run.close()
    assert len(problems) == 1
    assert "helper ended before its time with status 4" in problems[0]
    assert "why" in problems[0]
    assert run.folder.exists()


def test_a_run_that_went_well_leaves_no_folder(run: Run) -> None:
    shell(run, "trap 'exit 0' TERM; while :; do sleep 0.01; done")
    assert run.sockets.exists()
    assert run.close() == []
    assert not run.folder.exists()
    wait_for(lambda: not run.sockets.exists(), "the folder of sockets is gone")


# A harness: {start} is what it does, and then it says "ready" and waits.
HARNESS = """
    import os, sys, time
    from pathlib import Path
    from accelerator_cosim import Session, Workspace
    session = Session(Workspace(Path(sys.argv[1])), Path(sys.argv[1]) / "runs")
    run = session.run()
    # It ignores what can be ignored, has a child, and one that has left its session.
    run.start("stubborn", ["sh", "-c", "trap '' TERM HUP INT; setsid sleep 1000 & sleep 1000"],
              log=run.folder / "log")
    {more}
    print(run.sockets, session.supervisor.pid, session.shared, flush=True)
    time.sleep(1000)
"""


class Harness:
    def __init__(self, folder: Path, more: str = "") -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HARNESS.format(more=more)), str(folder)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, MARK: self.mark})
        assert self.process.stdout
        words = self.process.stdout.readline().split()
        self.sockets, self.supervisor, self.shared = Path(words[0]), int(words[1]), Path(words[2])
        # Harness, supervisor, the shell and its two children.
        wait_for(lambda: len(marked(self.mark)) >= 5, "all processes are there")

    def children_of_supervisor(self) -> list[int]:
        return [pid for pid in marked(self.mark)
                if f"PPid:\t{self.supervisor}\n" in Path(f"/proc/{pid}/status").read_text()]

    def strays(self) -> list[int]:
        """What has left the group that it was started in."""
        return [pid for pid in marked(self.mark)
                if cmdline(pid) == b"sleep\0001000\0" and os.getpgid(pid) == pid]

    def is_gone(self) -> bool:
        self.process.poll()
        return not marked(self.mark)

    def expect_nothing_left(self) -> None:
        wait_for(self.is_gone, f"processes {marked(self.mark)} are gone")
        wait_for(lambda: not self.sockets.exists(), f"{self.sockets} is gone")


def test_harness_is_killed(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    harness.process.kill()
    harness.expect_nothing_left()
    assert not harness.shared.exists()


def test_harness_is_killed_while_a_copy_of_it_runs(tmp_path: Path) -> None:
    """The copy has the other end of the supervisor's socket as well."""
    harness = Harness(tmp_path, "pid = os.fork() or (os.setsid(), time.sleep(1000))")
    # One that is about to run another program has no words for a moment.
    copies = [pid for pid in marked(harness.mark)
              if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [b"-c"]
              and pid != harness.process.pid]
    copies = [pid for pid in copies if Path(f"/proc/{pid}/exe").resolve().name.startswith("python")]
    assert len(copies) == 1
    harness.process.kill()
    harness.process.wait()
    try:
        wait_for(lambda: marked(harness.mark) == copies, "only the copy is left")
        wait_for(lambda: not harness.sockets.exists(), f"{harness.sockets} is gone")
    finally:
        os.kill(copies[0], signal.SIGKILL)


def test_supervisor_is_killed(tmp_path: Path) -> None:
    """The kernel kills its children, the harness what is in their groups. Only what has left the
    groups is nobody's."""
    harness = Harness(tmp_path)
    wait_for(harness.strays, "the one that leaves its group is there")
    # Without the harness's help.
    harness.process.send_signal(signal.SIGSTOP)
    child = harness.children_of_supervisor()
    os.kill(harness.supervisor, signal.SIGKILL)
    strays = harness.strays()
    try:
        assert len(strays) == len(child) == 1
        wait_for(lambda: not Path(f"/proc/{child[0]}").exists(), "the child is gone")
        harness.process.send_signal(signal.SIGCONT)
        wait_for(lambda: sorted(marked(harness.mark)) == sorted([harness.process.pid, *strays]),
                 "only the harness and the one that has left are there")
    finally:
        for pid in marked(harness.mark):
            os.kill(pid, signal.SIGKILL)
    wait_for(harness.is_gone, "the rest is gone")


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_sockets_of_a_supervisor_that_was_killed_go_with_the_next_run(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    monkeypatch.setattr(session, "STALE_SECONDS", 0.0)
    with Session(Workspace(tmp_path), tmp_path / "one") as alive:
        of_alive = alive.run().sockets
        assert is_locked(of_alive)
        assert of_alive.parent == short_path
        stale = short_path / f"{session.SOCKET_PREFIX}stale"
        stale.mkdir()
        other = short_path / "other"
        other.mkdir()
        with Session(Workspace(tmp_path), tmp_path / "two"):
            assert not stale.exists()
            assert of_alive.exists()
            assert other.exists()


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="stale-") as folder:
        yield Path(folder)


def is_locked(folder: Path) -> bool:
    lock = _supervise.lock_folder(str(folder), fcntl.LOCK_EX)
    if lock is None:
        return True
    os.close(lock)
    return False


def test_the_last_session_removes_what_they_share(tmp_path: Path) -> None:
    first = Session(Workspace(tmp_path), tmp_path / "runs")
    second = Session(Workspace(tmp_path), tmp_path / "runs")
    assert first.shared == second.shared
    assert is_locked(first.shared)
    made = []
    for owner in (first, second):
        path = owner.saved("state", lambda path: made.append(path.write_text("x")))
        assert path.read_text() == "x"
    assert len(made) == 1
    first.close()
    assert second.shared.exists()
    second.close()
    assert not second.shared.exists()


def test_one_that_ends_badly_is_a_problem(run: Run) -> None:
    program = shell(run, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", "bad")
    wait_for(lambda: "ready" in program.text(), "it is there")
    assert run.close() == ["bad ended with status 3 on SIGTERM, expected 0"]
