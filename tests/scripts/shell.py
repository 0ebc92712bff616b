# SPDX-License-Identifier: MIT OR Apache-2.0
"""Scripts as a user calls them: what they say, how they end, and waiting for that."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Without these a process ignores what whoever started it did.
DEFAULT_SIGNALS = ["env", "--default-signal=HUP,INT,TERM"]

Word = str | Path


def wait_until(what: str, condition: Callable[[], object], patience: float = 30,
               is_over: Callable[[], object] = lambda: False) -> None:
    """Waits for something that is to become true before another thing does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert not is_over(), f"{what}: that is over"
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.1)


def start(*command: Word, out: Path, env: Mapping[str, Word] | None = None) -> (
        subprocess.Popen[bytes]):
    """A program in the background with its output in a file, which every signal ends."""
    with out.open("wb") as file:
        return subprocess.Popen([*DEFAULT_SIGNALS, *command], cwd=ROOT, stdin=subprocess.DEVNULL,
                                stdout=file, stderr=subprocess.STDOUT,
                                env={**os.environ, **(env or {})})


def status_of(*command: Word, cwd: Path = ROOT, timeout: float | None = None,
              env: Mapping[str, Word] | None = None) -> tuple[int, str]:
    """How a program ends, and what it says."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout,
                          env={**os.environ, **(env or {})}, check=False)
    print("$", *command)
    print(done.stdout, flush=True)
    return done.returncode, done.stdout


def run(*command: Word, cwd: Path = ROOT, timeout: float | None = None,
        env: Mapping[str, Word] | None = None) -> str:
    """What a program says, which has to end with status 0."""
    status, said = status_of(*command, cwd=cwd, timeout=timeout, env=env)
    assert status == 0, f"status {status} of {' '.join(map(str, command))}"
    return said


def refused(text: str, *command: Word, status: int | None = None,
            env: Mapping[str, Word] | None = None) -> str:
    """What a program says, which has to fail, and to say that."""
    ended, said = status_of(*command, env=env)
    assert ended != 0, f"not refused: {' '.join(map(str, command))}"
    assert status in (None, ended)
    assert text in said
    return said


def in_cargo() -> Path:
    """The folder of what cargo builds."""
    said = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], check=True,
                          cwd=ROOT, stdout=subprocess.PIPE).stdout
    return Path(json.loads(said)["target_directory"])


@cache
def python_of(environment: str = "") -> str:
    """The interpreter of an environment that scripts/python-env.sh makes."""
    made = subprocess.run([ROOT / "scripts/python-env.sh", *environment.split()], check=True,
                          text=True, stdout=subprocess.PIPE)
    return f"{made.stdout.strip()}/bin/python"


def script(path: Path, text: str) -> Path:
    """Makes a program of a text."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path
