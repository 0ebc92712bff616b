# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/processes.py says of a process."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from processes import is_over
from shell import wait_until

# The first thread ends and the second goes on, as in a process that was killed, for a moment.
LASTS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print("begun", flush=True)
ctypes.CDLL(None).syscall({exit}, 0)
"""
# asm/unistd.h: exit, which ends one thread.
EXIT = {"x86_64": 60, "aarch64": 93}[platform.machine()]


def state(pid: int) -> str:
    """That of its first thread."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return stat.rpartition(")")[2].split()[0]


def test_a_process_is_over_with_its_last_thread() -> None:
    with subprocess.Popen([sys.executable, "-c", LASTS.format(exit=EXIT)],
                          stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            wait_until("the end of the first thread", lambda: state(process.pid) == "Z")
            assert not is_over(process.pid)
            process.kill()
            # Nobody waits for it yet.
            wait_until("the end of the other", lambda: is_over(process.pid))
            assert state(process.pid) == "Z"
        finally:
            process.kill()
    assert is_over(process.pid)


@pytest.mark.parametrize(("states", "over"), [
    ("Z", True), ("ZX", True), ("ZR", False), ("S", False), ("ZSX", False)])
def test_each_thread_counts(states: str, over: bool, tmp_path: Path) -> None:
    for number, letter in enumerate(states):
        task = tmp_path / f"7/task/{7 + number}"
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{7 + number} (a) name) {letter} 1 7 7 0\n")
    assert is_over(7, tmp_path) is over
