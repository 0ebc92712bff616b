# SPDX-License-Identifier: MIT OR Apache-2.0
"""QMP for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, EventListener, ExecuteError, QMPClient, QMPError

from ._loop import LoopThread
from .errors import QmpError, WaitTimeout


class Qmp:
    """A connection to a QEMU's monitor.

    `client` is the `qemu.qmp.QMPClient` below it, whose loop is that of a thread of ours.
    """

    def __init__(
        self, loop: LoopThread, name: str, path: Path, look: Callable[[], None], timeout: float
    ) -> None:
        self._loop = loop
        self._look = look
        self._timeout = timeout
        self.client = QMPClient(name)
        self._events = EventListener()
        self.client.register_listener(self._events)
        loop.call(self._connect(path), look)

    async def _connect(self, path: Path) -> None:
        # The library tells the log of each attempt that fails, so it gets one that has not.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        monitor = socket.socket(socket.AF_UNIX)
        monitor.setblocking(False)
        # QEMU makes the socket when it has read its command line.
        while True:
            try:
                await loop.sock_connect(monitor, str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if loop.time() > deadline:
                    monitor.close()
                    raise QmpError(f"QEMU made no monitor at {path} within {self._timeout:g} s"
                                   ) from None
                await asyncio.sleep(0.01)
        try:
            async with asyncio.timeout_at(deadline):
                await self.client.connect(monitor)
        except (ConnectError, TimeoutError) as e:
            raise QmpError(f"QEMU's monitor does not answer at {path}: {e}") from e

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs a command and returns what it returns."""
        limit = self._timeout if timeout is None else timeout

        async def run() -> object:
            async with asyncio.timeout(limit):
                return await self.client.execute(command, arguments)

        try:
            return self._loop.call(run(), self._look)
        except ExecuteError as e:
            raise QmpError(f"{command}: {e}") from e
        except QMPError as e:
            self._look()
            raise QmpError(f"{command}: QEMU does not answer: {e}") from e
        except TimeoutError:
            raise WaitTimeout(f"{command} was not answered within {limit:g} s") from None

    def get(self, path: str, name: str) -> Any:
        """A property of an object of QEMU's."""
        return self.execute("qom-get", {"path": path, "property": name})

    def set(self, path: str, name: str, value: object) -> None:
        self.execute("qom-set", {"path": path, "property": name, "value": value})

    def wait_event(self, name: str, timeout: float | None = None) -> dict[str, Any]:
        """Waits for an event, which may have come already, and takes it and what came before."""
        limit = self._timeout if timeout is None else timeout

        async def wait() -> dict[str, Any]:
            async with asyncio.timeout(limit):
                while True:
                    event = dict(await self._events.get())
                    if event["event"] == name:
                        return event

        try:
            return self._loop.call(wait(), self._look)
        except TimeoutError:
            raise WaitTimeout(f"no event {name} came within {limit:g} s") from None

    def close(self) -> None:
        async def disconnect() -> None:
            # QEMU may have ended before.
            with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
                await asyncio.wait_for(self.client.disconnect(), 5)

        self._loop.call(disconnect())
