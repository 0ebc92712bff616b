# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs that a build runs. They inherit what cache.py locks: where a build is killed, nobody
else begins before its programs have ended, too."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from builds.messages import die

Word = str | Path
# How much of a log is shown when a step fails.
LAST_LINES = 40
PATIENCE = 5.0


def have(command: Word) -> bool:
    """Whether a command is installed."""
    if os.sep in str(command):
        return os.path.isfile(command) and os.access(command, os.X_OK)
    return any(os.path.isfile(file) and os.access(file, os.X_OK) for file in
               (os.path.join(folder, command) for folder in os.get_exec_path()))


def _environment(env: Mapping[str, Word] | None) -> dict[str, str] | None:
    return None if env is None else os.environ | {name: str(each) for name, each in env.items()}


@contextmanager
def started(*command: Word, env: Mapping[str, Word] | None = None,
            **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program, which is told to end where it is not waited for to the end."""
    process = subprocess.Popen(command, env=_environment(env), close_fds=False, **how)
    try:
        yield process
    except BaseException:
        # One of sudo's is not ours to end, and does so by itself.
        with suppress(PermissionError):
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with suppress(PermissionError):
                process.kill()
                process.wait()
        raise
    process.wait()


def status_of(*command: Word, **how: Any) -> int:
    """How a program ends, as a shell counts it."""
    try:
        with started(*command, **how) as process:
            status = process.wait()
    except (FileNotFoundError, PermissionError) as error:
        missing = f"{command[0]}: {error.strerror}\n"
        errors = how.get("stderr")
        if errors == subprocess.STDOUT:
            errors = how.get("stdout")
        if isinstance(errors, io.BufferedIOBase):
            errors.write(missing.encode())
        elif errors is None:
            sys.stderr.write(missing)
        return 127 if isinstance(error, FileNotFoundError) else 126
    return 128 - status if status < 0 else status


def do(*command: Word, **how: Any) -> None:
    """Runs a program, which says itself what goes wrong."""
    status = status_of(*command, **how)
    if status:
        die(f"{command[0]} failed with status {status}")


def said(*command: Word, quiet: bool = True, env: Mapping[str, Word] | None = None,
         errors: int | IO[bytes] = subprocess.DEVNULL, timeout: float | None = None) -> (
             tuple[int, str]):
    """How a program ends, and what it says."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, close_fds=False,
                              stdin=subprocess.DEVNULL, env=_environment(env), timeout=timeout,
                              stderr=errors if quiet else None)
    except (FileNotFoundError, PermissionError):
        return 127, ""
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout.decode(errors="surrogateescape")


def output(*command: Word, quiet: bool = False, env: Mapping[str, Word] | None = None) -> str:
    """What a program says, which has to work."""
    status, text = said(*command, quiet=quiet, env=env)
    if status:
        die(f"{shlex.join(map(str, command))} failed with status {status}")
    return text


def lines(*command: Word, quiet: bool = False,
          env: Mapping[str, Word] | None = None) -> list[str]:
    """The lines that a program says; those that it has said where it fails."""
    return said(*command, quiet=quiet, env=env)[1].splitlines()


class Log:
    """The file that programs of a build write to."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def status(self, *command: Word, **how: Any) -> int:
        """How a program ends."""
        with self.file.open("ab") as out:
            return status_of(*command, stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.STDOUT, **how)

    def write(self, text: str) -> None:
        """Adds to it."""
        with self.file.open("ab") as out:
            out.write(text.encode(errors="surrogateescape"))

    def run(self, what: str, *command: Word, cwd: Path | None = None,
            env: Mapping[str, Word] | None = None) -> None:
        """Runs a step. Where it fails the end of the log is shown."""
        self.write(f"\n== {what}\n== {' '.join(map(str, command))}\n")
        status = self.status(*command, cwd=cwd, env=env)
        if status:
            self.show()
            die(f"{what} failed with status {status}; the whole log is {self.file}")

    def show(self) -> None:
        """Shows its end."""
        text = self.file.read_bytes().splitlines(keepends=True)[-LAST_LINES:]
        sys.stderr.flush()
        sys.stderr.buffer.write(b"".join(text))
        sys.stderr.flush()


def piped(first: Sequence[Word], second: Sequence[Word], *, text: bytes | None = None,
          out: IO[bytes] | None = None, errors: int | IO[bytes] | None = None) -> int:
    """The status of two programs of which the second reads what the first writes; that of the
    second, if both fail."""
    with started(*first, stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                 stdout=subprocess.PIPE, stderr=errors) as source, \
            started(*second, stdin=source.stdout, stdout=out, stderr=errors) as sink:
        assert source.stdout is not None
        # The second alone reads: without it the first is not to wait.
        source.stdout.close()
        if text is not None:
            assert source.stdin is not None
            source.stdin.write(text)
            source.stdin.close()
        return sink.wait() or source.wait()
