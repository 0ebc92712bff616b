# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs that end when we do, whichever way that is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import _supervise
from ._loop import LoopThread
from .errors import CosimError, WaitTimeout

# What the supervisor answers at once.
ANSWER_SECONDS = 60.0


class Process:
    """A program that the supervisor has started."""

    def __init__(self, supervisor: Supervisor, number: int, name: str, log: Path) -> None:
        self._supervisor = supervisor
        self._number = number
        self._ended = threading.Event()
        self._status: int | None = None
        self.name = name
        self.log = log
        self.pid = 0
        #: Whether it may end: somebody has asked for it.
        self.may_end = False
        #: A file that has it end in order once it is there, if it heeds one.
        self.stop_file: Path | None = None

    @property
    def status(self) -> int | None:
        """None while it runs, then as subprocess has it: a signal is its number with a minus."""
        return self._status

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def signal(self, number: int) -> None:
        """Sends a signal to its process group, if it runs."""
        self._supervisor.send({"op": "signal", "id": self._number, "signal": int(number)})

    def wait(self, timeout: float) -> int:
        if not self._ended.wait(timeout):
            raise WaitTimeout(f"{self.name} did not end within {timeout:g} s")
        assert self._status is not None
        return self._status

    def kill(self) -> None:
        """As `kill -9` does."""
        self.may_end = True
        self.signal(signal.SIGKILL)
        self.wait(ANSWER_SECONDS)

    def end(self, timeout: float = 10.0) -> int:
        """Ends it by SIGTERM, and if that does not help by SIGKILL; returns its status."""
        self.may_end = True
        if self.stop_file and self.running:
            self.stop_file.touch()
            self.signal(signal.SIGCONT)
            with contextlib.suppress(WaitTimeout):
                return self.wait(timeout)
        if self.running:
            self.signal(signal.SIGTERM)
            # One that is stopped would not see it.
            self.signal(signal.SIGCONT)
        try:
            return self.wait(timeout)
        except WaitTimeout:
            self.kill()
            return self.wait(ANSWER_SECONDS)

    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_words(self) -> str:
        lines = self.text().splitlines()[-10:]
        said = "\n".join(f"  | {line}" for line in lines) or "  | (nothing)"
        return f"with status {describe_status(self._status)}; the last that it said:\n{said}"

    def _finish(self, status: int) -> None:
        self._status = status
        self._ended.set()


def describe_status(status: int | None) -> str:
    if status is not None and status < 0:
        try:
            return f"{status} ({signal.Signals(-status).name})"
        except ValueError:
            pass
    return str(status)


class Supervisor:
    """The other end of `_supervise.py`."""

    def __init__(self, loop: LoopThread, log: Path) -> None:
        self._loop = loop
        self._number = 0
        self._processes: dict[int, Process] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._lock = threading.Lock()
        self._gone = self._closing = False
        ours, theirs = socket.socketpair()
        with theirs, open(log, "ab") as err:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", _supervise.__file__,
                    str(theirs.fileno()), str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._writer = loop.call(self._connect(ours))

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends an order; from any thread, in order."""
        if self._gone:
            raise CosimError(f"the supervisor, process {self.pid}, is gone")
        line = json.dumps(message).encode() + b"\n"
        self._loop.loop.call_soon_threadsafe(self._writer.write, line)

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
        nice: int = 0,
    ) -> Process:
        """Starts a program with no input. Its output goes to the end of `log`."""
        number = self._next()
        process = Process(self, number, name, log)
        self._processes[number] = process
        try:
            process.pid = self._loop.call(self._ask(number, {
                "op": "start", "argv": [str(word) for word in argv], "cwd": str(cwd),
                "env": dict(env), "stdout": str(log), "stderr": str(errors or log), "nice": nice,
            }))
        except CosimError as e:
            self._processes.pop(number, None)
            raise CosimError(f"{name} cannot be started: {e}") from e
        return process

    def make_folder(self, prefix: str) -> Path:
        """Makes a folder with a name that begins so; it goes with the supervisor."""
        return Path(self._loop.call(self._ask(self._next(), {"op": "own", "prefix": prefix})))

    def remove_folder(self, path: Path) -> None:
        """Removes it before that."""
        self.send({"op": "remove", "path": str(path)})

    def share_folder(self, path: Path) -> None:
        """Makes a folder, if it is not there, that goes with the last supervisor that has it."""
        self._loop.call(self._ask(self._next(), {"op": "share", "path": str(path)}))

    def _next(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    async def _ask(self, number: int, message: Mapping[str, Any]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self.send({**message, "id": number})
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            raise CosimError(f"the supervisor, process {self.pid}, does not answer") from None
        finally:
            del self._answers[number]

    async def _connect(self, ours: socket.socket) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader))
        return writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            if "ended" in message:
                self._processes.pop(message["ended"])._finish(message["status"])
                continue
            number = next(message[key] for key in ("started", "made", "failed") if key in message)
            answer = self._answers.get(number)
            if answer is None or answer.done():
                continue  # Who asked has gone.
            if "failed" in message:
                answer.set_exception(CosimError(message["error"]))
            else:
                answer.set_result(message["pid"] if "started" in message else message["path"])
        # It is gone, and so are its children: the kernel sees to that. What they have started
        # goes here, if it was not us who ended the supervisor.
        self._gone = True
        for process in self._processes.values():
            if not self._closing:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process._finish(-signal.SIGKILL)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(CosimError(f"the supervisor, process {self.pid}, has ended"))

    def close(self) -> None:
        """Ends whatever still runs."""
        self._closing = True
        self._loop.loop.call_soon_threadsafe(self._writer.close)
        self._process.wait(_supervise.PATIENCE + ANSWER_SECONDS)
