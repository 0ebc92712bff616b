# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is known of a process that is not ours to wait for."""

from __future__ import annotations

from pathlib import Path


def is_over(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process has ended, with each of its threads: nobody may have picked up its
    status yet. One that was killed has its files and sockets until the last thread has gone,
    which may be after the first, whose state is the process's own."""
    try:
        stats = [task.read_text(errors="replace") for task in proc.glob(f"{pid}/task/*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        # A thread has ended while we read. What is true of the rest is seen next time.
        return not (proc / str(pid)).exists()
    return all(stat.rpartition(")")[2].split()[0] in "ZX" for stat in stats)
