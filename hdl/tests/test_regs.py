# SPDX-License-Identifier: Apache-2.0
"""The regs example, as a guest sees it."""

from common import clocks, start_clock, test
from standin import MSIX, Host


async def start(dut):
    await start_clock(dut)
    host = Host(dut.aclk)
    await host.connect(dut.user_resetn)
    return host


@test()
async def identity(dut):
    host = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x10EE, 0x7011, 0x10EE, 0x0007, 0x120000, 1]
    assert list(config.bar_size) == [0x1000, 0x1000, 0, 0, 0, 0]
    assert list(config.msix) == [8, 1, 0, 1, 0x800]
    assert config.started
    assert await host.read(0x0, 4) == int.from_bytes(b"REGS", "little")
    host.check()


@test()
async def counter_counts_clocks(dut):
    host = await start(dut)
    first = await host.read(0x8, 4)
    polls = host.log[-1].poll
    await clocks(dut, 1000)
    second = await host.read(0x8, 4)
    assert second - first == host.log[-1].poll - polls
    host.check()


@test()
async def bytes_of_every_access(dut):
    """Every length at every offset, on SCRATCH and RAM, against a model."""
    host = await start(dut)
    model = bytearray(128)
    for length in range(1, 9):
        for offset in [*range(0, 17), 128 - length]:
            data = host.random.getrandbits(8 * length)
            host.push_write(0x10 + offset, length, data)
            model[offset:offset + length] = data.to_bytes(length, "little")
            other = host.random.randrange(128 - length)
            want = int.from_bytes(model[other:other + length], "little")
            assert await host.read(0x10 + other, length) == want
    await host.write(0x4, 4, 0x11223344)
    await host.write(0x5, 1, 0xAA)
    await host.write(0x6, 2, 0xBBCC)
    assert await host.read(0x4, 4) == 0xBBCCAA44
    assert await host.read(0x90, 8) == 0
    host.check()


@test()
async def interrupts(dut):
    host = await start(dut)
    for vector in [0, 7, 3, 3, 1]:
        host.push_write(0xC, 4, vector)
    await host.quiet()
    assert [r.tag for r in host.find(MSIX)] == [0, 7, 3, 3, 1]
    assert await host.read(0xC, 4) == 1
    host.check()


@test()
async def reset_clears(dut):
    host = await start(dut)
    await host.write(0x4, 4, 0xFFFFFFFF)
    await host.write(0x10, 8, (1 << 64) - 1)
    host.push_reset()
    assert await host.read(0x4, 4) == 0
    assert await host.read(0x10, 8) == 0
    host.check()
