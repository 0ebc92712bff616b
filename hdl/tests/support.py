# SPDX-License-Identifier: Apache-2.0
"""What the tests of pytest share: commands with a log, and what is built once for a run."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from benches import HDL

ROOT = HDL.parent
OUT = ROOT / "build/test-hdl"
# Of a log, below a failure.
TAIL_LINES = 40
# The file with what a test did, for whoever reports it.
LOG = pytest.StashKey[Path]()


def tail(log: Path) -> str:
    """The end of a log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(lines[-TAIL_LINES:])


def file_name(text: str) -> str:
    """A name for what belongs to a test."""
    return re.sub(r"[^\w.=+-]+", "-", text).strip("-")


class Shell:
    """Runs commands for a test, in the top folder, with what they say in its log."""

    def __init__(self, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def note(self, text: str) -> None:
        """Writes into the log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text)

    def status(self, *command: str | Path, timeout: float | None = None,
               env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> tuple[int, str]:
        """How a command ended, and what it said."""
        words = [str(word) for word in command]
        self.note(f"$ {' '.join(words)}\n")
        with subprocess.Popen(words, cwd=cwd, env=None if env is None else {**os.environ, **env},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as process:
            try:
                said, _ = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                said, _ = process.communicate()
                self.note(f"{said}\n(did not end within {timeout} s)\n")
                raise
        self.note(f"{said}\n(status {process.returncode})\n")
        return process.returncode, said

    def run(self, *command: str | Path, timeout: float | None = None,
            env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
        """What a command said, which has to end with status 0."""
        status, said = self.status(*command, timeout=timeout, env=env, cwd=cwd)
        if status != 0:
            pytest.fail(f"{Path(command[0]).name} ended with status {status}; see {self.log}",
                        pytrace=False)
        return said

    def refused(self, *command: str | Path, timeout: float | None = None) -> str:
        """What a command said, which has to end with another status than 0."""
        status, said = self.status(*command, timeout=timeout)
        if status == 0:
            pytest.fail(f"accepted: {' '.join(str(word) for word in command)}", pytrace=False)
        return said


def lint(files: str, top: str, parameters: Sequence[str] = (), *more: Path) -> list[str | Path]:
    """The command that looks at a design with all of Verilator's warnings."""
    return ["verilator", "--lint-only", "-Wall", "--assert", "--timescale", "1ns/1ps",
            "--top-module", top, *(f"-G{each}" for each in parameters), "-F", HDL / files, *more]


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Nobody else is in here meanwhile; the file is where to note what was done."""
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / f"{name}.done"
    with open(OUT / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield file


def once(name: str, build: Callable[[], object]) -> None:
    """Builds something once in a run, whichever process of it comes first."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"process {os.getpid()}")
    with locked(name) as done:
        if done.is_file() and done.read_text(encoding="utf-8") == run:
            return
        build()
        done.write_text(run, encoding="utf-8")
