# SPDX-License-Identifier: MIT OR Apache-2.0
"""Both ends of the agent's protocol, over a pseudo terminal in place of the guest's port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from accelerator_cosim import GuestError, WaitTimeout
from accelerator_cosim._agent import (
    FRAME_BYTES,
    AgentClient,
    FrameType,
    Program,
    Received,
    encode,
)

TOOLS = Path(__file__).resolve().parents[2] / "guest/tools"
PATIENCE = 20.0


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, built for this machine as guest/tools/Makefile builds it for the guest."""
    folder = tmp_path_factory.mktemp("agent")
    subprocess.run(
        ["make", "-s", "-C", TOOLS, f"OUT={folder}", f"{folder}/accel-agent"], check=True)
    return folder / "accel-agent"


class Port:
    """A port: the agent at one end, a socket as QEMU has it at the other."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.path = folder / "agent.socket"
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.process = subprocess.Popen(
            [program, os.ttyname(slave)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(slave)
        os.set_blocking(self.master, False)
        #: What is done to the bytes for the agent.
        self.damage: Callable[[bytes], bytes] = bytes
        self._writer: asyncio.StreamWriter | None = None
        self.said: bytes | None = None

    async def listen(self) -> None:
        asyncio.get_running_loop().add_reader(self.master, self._from_agent)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    def _from_agent(self) -> None:
        try:
            data = os.read(self.master, 65536)
        except OSError:
            if self.process.poll() is None:
                return  # It has not opened its end yet.
            asyncio.get_running_loop().remove_reader(self.master)
            if self._writer:
                self._writer.close()
            return
        assert self._writer, "the agent spoke first"
        self._writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        while data := await reader.read(4096):
            data = self.damage(data)
            while data:
                try:
                    data = data[os.write(self.master, data) :]
                except BlockingIOError:
                    await asyncio.sleep(0.001)

    def close(self) -> bytes:
        """Returns what the agent has said about itself."""
        if self.said is not None:
            return self.said
        asyncio.get_running_loop().remove_reader(self.master)
        self._server.close()
        self.process.kill()
        self.said = self.process.communicate()[0]
        os.close(self.master)
        return self.said


@contextlib.asynccontextmanager
async def connected(
    program: Path, folder: Path
) -> AsyncIterator[tuple[Port, AgentClient]]:
    port = Port(program, folder)
    await port.listen()
    client = AgentClient()
    try:
        await client.connect(port.path, PATIENCE)
        yield port, client
        await client.close()
    finally:
        port.close()


def play(program: Path, folder: Path, scene: Callable[[AgentClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(3 * PATIENCE), connected(program, folder) as (_, client):
            await scene(client)

    asyncio.run(run())


async def finish(client: AgentClient, line: str, data: bytes = b"") -> Program:
    program = await client.start(line)
    await program.feed(data)
    await program.ended
    return program


def test_output_errors_and_status(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        assert client.release == os.uname().release
        program = await finish(client, "echo out; echo err >&2; exit 7")
        assert bytes(program.stdout) == b"out\n"
        assert bytes(program.stderr) == b"err\n"
        assert os.waitstatus_to_exitcode(program.ended.result()) == 7

    play(agent, tmp_path, scene)


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, 1 << 20])
def test_every_byte_both_ways(agent: Path, tmp_path: Path, size: int) -> None:
    async def scene(client: AgentClient) -> None:
        data = bytes(range(256)) * (size // 256 + 1)
        program = await finish(client, "cat", data[:size])
        assert program.stdout == data[:size]

    play(agent, tmp_path, scene)


def test_a_program_that_reads_no_input(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        program = await finish(client, "exec <&-; sleep 0.2; echo done", bytes(1 << 20))
        assert program.stdout == b"done\n"
        # Nor one that ends in the middle of it.
        program = await finish(client, "head -c 100000 >/dev/null", bytes(1 << 20))
        assert program.ended.result() == 0

    play(agent, tmp_path, scene)


def test_a_program_that_does_not_read_now_holds_up_no_other(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        slow = await client.start("read go </tmp/nothing-there || sleep 100")
        feeding = asyncio.create_task(slow.feed(bytes(1 << 20)))
        for n in range(20):
            assert (await finish(client, f"echo {n}")).stdout == f"{n}\n".encode()
        assert not feeding.done()
        await slow.signal(signal.SIGKILL)
        assert os.waitstatus_to_exitcode(await slow.ended) == -signal.SIGKILL
        await feeding

    play(agent, tmp_path, scene)


def test_eight_programs_and_no_more(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        programs = [await client.start(f"read line; echo {n} $line") for n in range(8)]
        with pytest.raises(GuestError, match="too many programs"):
            await client.start("true")
        await asyncio.gather(*(program.feed(b"x\n") for program in programs))
        for n, program in enumerate(programs):
            await program.ended
            assert program.stdout == f"{n} x\n".encode()
        assert (await finish(client, "echo again")).stdout == b"again\n"

    play(agent, tmp_path, scene)


def test_a_signal_reaches_what_a_program_has_started(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        program = await client.start("sleep 1000 & echo $!; wait")
        while not program.stdout.endswith(b"\n"):
            await asyncio.sleep(0.01)
        child = int(program.stdout)
        await program.signal(signal.SIGKILL)
        await program.ended
        while Path(f"/proc/{child}/stat").exists():
            if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
                break
            await asyncio.sleep(0.01)

    play(agent, tmp_path, scene)


def test_a_pipe_that_others_have_does_not_hold_up_the_end(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        program = await finish(client, "sleep 1000 & echo started $!")
        assert program.stdout.startswith(b"started ")
        os.kill(int(program.stdout.split()[1]), signal.SIGKILL)
        # Nor one that writes for ever.
        program = await finish(client, "yes & echo $! >&2; sleep 0.1")
        os.kill(int(program.stderr), signal.SIGKILL)
        assert program.ended.result() == 0

    play(agent, tmp_path, scene)


def test_a_command_that_is_too_long(agent: Path, tmp_path: Path) -> None:
    async def scene(client: AgentClient) -> None:
        with pytest.raises(GuestError, match="expected at most 16384"):
            await client.start("#" * (FRAME_BYTES + 1))
        assert (await finish(client, "echo ok #" + "x" * (FRAME_BYTES - 9))).stdout == b"ok\n"

    play(agent, tmp_path, scene)


@pytest.mark.parametrize(("damage", "said"), [
    (lambda data: data[:-1] + bytes([data[-1] ^ 1]), b"was damaged: CRC"),
    (lambda data: b"x" + data[1:], b"the host sent no frame"),
    (lambda data: encode(FrameType.ENDED, 1), b"a frame of type 9"),
])
def test_a_damaged_frame_ends_the_agent(
    agent: Path, tmp_path: Path, damage: Callable[[bytes], bytes], said: bytes
) -> None:
    async def run() -> bytes:
        async with asyncio.timeout(PATIENCE), connected(agent, tmp_path) as (port, client):
            port.damage = damage
            with pytest.raises(GuestError, match="port is closed"):
                await client.start("true")
            return port.close()

    assert said in asyncio.run(run())


@pytest.mark.parametrize(("answer", "said"), [
    (encode(FrameType.HELLO, 0, b"\x02\0\0\0later"), "has version 2, expected 1"),
    (encode(FrameType.HELLO, 0, b"\x01\0\0\0x") + b"garbage that is no frame", "sent no frame"),
    (encode(FrameType.HELLO, 0, b"\x01\0\0\0x") + encode(FrameType.OUTPUT, 5, b"x"),
     "which is none"),
    (encode(FrameType.HELLO, 0, b"\x01\0\0\0x") + encode(FrameType.OUTPUT, 1, b"x")[:-1] + b"y",
     "was damaged"),
])
def test_what_is_not_the_agent_is_refused(tmp_path: Path, answer: bytes, said: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    async def run() -> None:
        path = tmp_path / "socket"
        async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(serve, path):
            with pytest.raises(GuestError, match=said):
                await greet_and_run(path)

    asyncio.run(run())


def test_input_that_was_on_its_way_when_a_program_ended(tmp_path: Path) -> None:
    """The agent answers it, after the last frame of the program."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode(FrameType.HELLO, 0, b"\x01\0\0\0x"))
        received = Received(reader)
        with contextlib.suppress(EOFError):
            while True:
                kind, number, _ = await received.frame()
                if kind is FrameType.START:
                    for answer in (FrameType.STARTED, FrameType.ENDED):
                        writer.write(encode(answer, number, bytes(4)))
                    writer.write(encode(FrameType.TAKEN, number))
        writer.close()

    async def run() -> None:
        path = tmp_path / "socket"
        async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(serve, path):
            client = AgentClient()
            await client.connect(path, PATIENCE)
            for _ in range(3):
                await (await client.start("true")).ended
            await client.close()

    asyncio.run(run())


async def greet_and_run(path: Path, patience: float = PATIENCE) -> None:
    client = AgentClient()
    try:
        await client.connect(path, patience)
        await (await client.start("true")).ended
    finally:
        await client.close()


def test_nobody_answers(tmp_path: Path) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> None:
        with pytest.raises(WaitTimeout, match="does not listen"):
            await greet_and_run(tmp_path / "nobody", 0.1)
        async with await asyncio.start_unix_server(listen, tmp_path / "silent"):
            with pytest.raises(WaitTimeout, match="did not say hello"):
                await greet_and_run(tmp_path / "silent", 0.1)

    asyncio.run(run())
