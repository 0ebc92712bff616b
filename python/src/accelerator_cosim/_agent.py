# SPDX-License-Identifier: MIT OR Apache-2.0
"""The host's end of guest/tools/accel-agent.c, which has the frames."""

from __future__ import annotations

import asyncio
import enum
import struct
import zlib
from pathlib import Path

from .errors import GuestError, WaitTimeout

MAGIC = 0x31414341
VERSION = 1
HEADER = struct.Struct("<5I")
FRAME_BYTES = 16384


class FrameType(enum.IntEnum):
    HELLO = 1
    START = 2
    INPUT = 3
    SIGNAL = 4
    TAKEN = 5
    STARTED = 6
    OUTPUT = 7
    ERRORS = 8
    ENDED = 9
    REFUSED = 10


def encode(kind: FrameType, number: int, payload: bytes = b"") -> bytes:
    """A frame."""
    head = HEADER.pack(MAGIC, kind, number, len(payload), 0)[:16]
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


class Damaged(GuestError):
    """What the guest sent is no frame."""


class Received:
    """Frames in what has come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._data = bytearray()

    async def _need(self, size: int) -> None:
        while len(self._data) < size:
            data = await self._reader.read(65536)
            if not data:
                raise EOFError
            self._data += data

    async def frame(self) -> tuple[FrameType, int, bytes]:
        """Takes a frame: type, number and payload."""
        await self._need(HEADER.size)
        magic, kind, number, length, expected = HEADER.unpack_from(self._data)
        if magic != MAGIC or length > FRAME_BYTES or kind not in FrameType.__members__.values():
            raise Damaged(f"the agent sent no frame: {bytes(self._data[:HEADER.size]).hex()}")
        whole = HEADER.size + length
        await self._need(whole)
        payload = bytes(self._data[HEADER.size : whole])
        crc = zlib.crc32(payload, zlib.crc32(self._data[:16]))
        if crc != expected:
            raise Damaged(f"a frame of the agent was damaged: CRC {crc:#x}, expected {expected:#x}")
        del self._data[:whole]
        return FrameType(kind), number, payload


class Program:
    """A program that runs in the guest."""

    def __init__(self, client: AgentClient, number: int) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._number = number
        self.started: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.taken = asyncio.Event()
        self.stdout = bytearray()
        self.stderr = bytearray()

    async def feed(self, data: bytes) -> None:
        """Gives it its input, and the end of it."""
        for at in range(0, len(data), FRAME_BYTES):
            await self._give(data[at : at + FRAME_BYTES])
        await self._give(b"")

    async def _give(self, data: bytes) -> None:
        if self.ended.done():
            return
        self.taken.clear()
        await self._client.send(FrameType.INPUT, self._number, data)
        await self.taken.wait()

    async def signal(self, number: int) -> None:
        await self._client.send(FrameType.SIGNAL, self._number, struct.pack("<I", number))

    def fail(self, error: GuestError) -> None:
        for future in (self.started, self.ended):
            if not future.done():
                future.set_exception(error)
                # Whether anybody waits for it or not.
                future.exception()
        self.taken.set()


class AgentClient:
    """A connection to the agent of a guest."""

    def __init__(self) -> None:
        self._programs: dict[int, Program] = {}
        self._number = 0
        self._greeted = asyncio.Event()
        self._error: GuestError | None = None
        self._task: asyncio.Task[None] | None = None
        #: The release of the guest's kernel.
        self.release = ""

    async def connect(self, path: Path, timeout: float) -> None:
        """Connects to the socket, and waits until the guest has booted and the agent answers."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if asyncio.get_running_loop().time() > deadline:
                    raise WaitTimeout(f"QEMU does not listen at {path}") from None
                await asyncio.sleep(0.02)
        self._task = asyncio.create_task(self._read(reader))
        # QEMU keeps it until the agent opens its end.
        await self.send(FrameType.HELLO, 0)
        try:
            async with asyncio.timeout_at(deadline):
                await self._greeted.wait()
        except TimeoutError:
            raise WaitTimeout(f"the agent of the guest did not say hello within {timeout:g} s"
                              ) from None
        self._check()

    def _check(self) -> None:
        if self._error:
            raise self._error

    async def send(self, kind: FrameType, number: int, payload: bytes = b"") -> None:
        self._check()
        try:
            self._writer.write(encode(kind, number, payload))
            await self._writer.drain()
        except OSError as e:
            raise GuestError(f"the guest's agent cannot be reached: {e}") from e

    async def start(self, line: str) -> Program:
        """Starts a line of shell."""
        encoded = line.encode()
        if len(encoded) > FRAME_BYTES:
            raise GuestError(f"a command has {len(encoded)} bytes, expected at most {FRAME_BYTES}; "
                             "write it to a file in the guest and run that")
        self._number += 1
        program = self._programs[self._number] = Program(self, self._number)
        await self.send(FrameType.START, self._number, encoded)
        await program.started
        return program

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            received = Received(reader)
            while True:
                self._take(*await received.frame())
        except EOFError:
            self._fail(GuestError("the guest's port is closed: QEMU has ended"))
        except OSError as e:
            self._fail(GuestError(f"the guest's port is closed: {e}"))
        except GuestError as e:
            self._fail(e)

    def _take(self, kind: FrameType, number: int, payload: bytes) -> None:
        if kind is FrameType.HELLO:
            self._greet(payload)
            return
        program = self._programs.get(number)
        if program is None and kind is FrameType.TAKEN and 0 < number <= self._number:
            return  # It has ended before it got that.
        if program is None:
            raise Damaged(f"the agent sent {kind.name} for program {number}, which is none")
        if kind is FrameType.TAKEN:
            program.taken.set()
        elif kind is FrameType.STARTED:
            program.started.set_result(int.from_bytes(payload, "little"))
        elif kind is FrameType.OUTPUT:
            program.stdout += payload
        elif kind is FrameType.ERRORS:
            program.stderr += payload
        elif kind is FrameType.ENDED:
            del self._programs[number]
            program.taken.set()
            program.ended.set_result(int.from_bytes(payload, "little"))
        elif kind is FrameType.REFUSED:
            del self._programs[number]
            program.fail(GuestError(f"the guest cannot start it: {payload.decode()}"))
        else:
            raise Damaged(f"the agent sent {kind.name}, which is the host's")

    def _greet(self, payload: bytes) -> None:
        version = int.from_bytes(payload[:4], "little")
        if version != VERSION:
            raise GuestError(f"the agent in the guest has version {version}, expected {VERSION}: "
                             "build the guest anew with scripts/build-guest.sh")
        self.release = payload[4:].decode(errors="replace")
        self._greeted.set()

    def _fail(self, error: GuestError) -> None:
        self._error = error
        self._greeted.set()
        for program in self._programs.values():
            program.fail(error)
