# SPDX-License-Identifier: Apache-2.0
"""The card of the example vhdl, as it is in GHDL, between cocotbext-axi's master and memory."""

import itertools
import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiRam, AxiResp
from common import begin_in_reset, clocks, pauses, test

ID = int.from_bytes(b"REGS", "little")
SOURCE, DEST, LENGTH, COPY, VECTOR = 0x100, 0x108, 0x110, 0x114, 0x118
BUSY, DONE, FAILED = 1, 2, 4


class Card:
    """The guest and its memory."""

    def __init__(self, dut, stalls=0):
        self.dut = dut
        self.random = random.Random(random.getrandbits(32))
        self.master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, False)
        self.memory = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, False,
                             size=1 << 16)
        self.vectors = []
        if stalls:
            write, read = self.memory.write_if, self.memory.read_if
            ours, theirs = self.master.write_if, self.master.read_if
            for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel,
                            read.r_channel, ours.aw_channel, ours.w_channel, ours.b_channel,
                            theirs.ar_channel, theirs.r_channel):
                channel.set_pause_generator(pauses(self.random.getrandbits(32), stalls))

    async def take_vectors(self):
        while True:
            self.dut.msix_ready.value = self.random.randrange(2)
            await RisingEdge(self.dut.aclk)
            if self.dut.msix_valid.value == 1 and self.dut.msix_ready.value == 1:
                self.vectors.append(self.dut.msix_vector.value.to_unsigned())

    async def read(self, addr, length=4):
        answer = await self.master.read(addr, length)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def write(self, addr, value, length=4):
        answer = await self.master.write(addr, value.to_bytes(length, "little"))
        assert answer.resp == AxiResp.OKAY

    async def copy(self, source, dest, length, vector):
        await self.write(SOURCE, source, 8)
        await self.write(DEST, dest, 8)
        await self.write(LENGTH, length)
        await self.write(VECTOR, vector)
        await self.write(COPY, 1)
        for _ in range(2000):
            status = await self.read(COPY)
            if not status & BUSY:
                return status
        raise AssertionError("the copy does not end")


async def start(dut, stalls=0):
    begin_in_reset(dut.aclk, dut.aresetn)
    dut.msix_ready.value = 0
    card = Card(dut, stalls)
    for _ in range(3):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    cocotb.start_soon(card.take_vectors())
    return card


@test()
async def registers(dut):
    """Every length at every offset, bursts among them, against a model."""
    card = await start(dut, stalls=30)
    assert await card.read(0) == ID
    model = bytearray(128)
    for length, _ in itertools.product((1, 2, 3, 4, 7, 8, 16, 40), range(6)):
        offset = card.random.randrange(129 - length)
        data = card.random.getrandbits(8 * length)
        await card.write(0x10 + offset, data, length)
        model[offset:offset + length] = data.to_bytes(length, "little")
        offset = card.random.randrange(129 - length)
        assert await card.read(0x10 + offset, length) == \
            int.from_bytes(model[offset:offset + length], "little")
    assert await card.read(0x10, 128) == int.from_bytes(model, "little")
    assert await card.read(0x90, 8) == 0


@test()
async def interrupts(dut):
    card = await start(dut)
    vectors = [0, 7, 3, 3, 2047, 1]
    for vector in vectors:
        await card.write(0xC, vector)
    await clocks(dut, 40)
    assert card.vectors == vectors
    assert await card.read(0xC) == 1


@test()
async def copies(dut):
    """Any place and length: the words, no byte beside them, one interrupt each."""
    card = await start(dut, stalls=25)
    vectors = []
    for length in (0, 4, 60, 64, 68, 1024, 4 * card.random.randrange(1, 400)):
        # Across a multiple of 4 KiB, on either side.
        source = 0x1000 * card.random.randrange(1, 4) - 4 * card.random.randrange(20)
        dest = 0x1000 * card.random.randrange(8, 12) - 4 * card.random.randrange(20)
        before = card.random.randbytes(length + 8)
        data = card.random.randbytes(length)
        card.memory.write(dest - 4, before)
        card.memory.write(source, data)
        vectors.append(card.random.randrange(2048))
        assert await card.copy(source, dest, length, vectors[-1]) == DONE
        assert card.memory.read(dest - 4, length + 8) == before[:4] + data + before[-4:]
    await clocks(dut, 40)
    assert card.vectors == vectors


@test()
async def reset_ends_a_copy(dut):
    card = await start(dut, stalls=25)
    card.memory.write(0x1000, card.random.randbytes(4096))
    for _ in range(6):
        await card.write(SOURCE, 0x1000, 8)
        await card.write(DEST, 0x9000, 8)
        await card.write(LENGTH, 4096)
        await card.write(COPY, 1)
        await clocks(dut, card.random.randrange(300))
        dut.aresetn.value = 0
        await clocks(dut, 3)
        dut.aresetn.value = 1
        await clocks(dut, 2)
        assert await card.read(COPY) == 0
        assert await card.read(LENGTH) == 0
    assert await card.copy(0x1000, 0x9000, 4096, 5) == DONE
    assert card.memory.read(0x9000, 4096) == card.memory.read(0x1000, 4096)
