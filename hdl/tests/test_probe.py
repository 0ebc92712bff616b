# SPDX-License-Identifier: Apache-2.0
"""The probe, and with it the promises of the bridge that the end-to-end tests rely on."""

from common import clocks, start_clock, test
from standin import DMA_READ, DMA_WRITE, MSIX, READ_DONE, Host

RD_ADDR, RD_STATUS, RD_DATA, HOLD, RELEASE = 0x10, 0x18, 0x20, 0x28, 0x2C
WR_ADDR, WR_STRB, WR_DATA, WR_GO, WR_STATUS = 0x30, 0x38, 0x40, 0x80, 0x84
LIT_ADDR, LIT_CTRL, LIT_GO, LIT_DONE, LIT_ROUNDS, LIT_ERRORS = 0x90, 0x98, 0x9C, 0xA0, 0xA4, 0xA8
MSIX_GO, MSIX_COUNT, WR_BEATS, LAST_WR_STRB, LAST_WR_ADDR, LAST_RD_ADDR = (
    0xB0, 0xB4, 0xC0, 0xC8, 0xCC, 0xD0)
CFG = 0xD8
RAM = 0x1000

BASE = 0x80_0000_0000


async def start(dut, **settings):
    await start_clock(dut)
    host = Host(dut.aclk, base=BASE, **settings)
    await host.connect(dut.user_resetn)
    return host


@test()
async def identity(dut):
    host = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x10EE, 0x7031, 0x10EE, 0x0007, 0x120000, 1]
    assert list(config.msix) == [8, 2, 0, 2, 0x8000]
    assert await host.read(0, 8) == 0x00000001_424F5250
    await host.write(8, 4, 0xDEADBEEF)
    assert await host.read(8, 4) == 0xDEADBEEF
    host.check()


@test()
async def config_space(dut):
    """A read sees what the guest has set before it."""
    host = await start(dut)
    assert await host.read(CFG, 8) == 0x101_0000_40C0
    for n in range(30):
        host.push_function(n, 3 * (n & 1), 128 << n % 6, 4096 >> n % 6, n << 8, 1 + n % 6,
                           1 << n % 6)
        assert await host.read(CFG, 4) == (
            n << 24 | (5 - n % 6) << 13 | n % 6 << 10 | 3 * (n & 1) << 8 | n)
        assert await host.read(CFG + 4, 4) == 1 << n % 6 + 8 | 1 + n % 6
    host.check()


@test()
async def dma_in_the_middle_of_a_read(dut):
    """The register read is answered with what is in host memory now."""
    host = await start(dut, delay_min=5, delay_max=40)
    for n in range(50):
        addr = BASE + 8 * host.random.randrange(1000)
        value = host.random.getrandbits(64)
        host.write_memory(addr, value.to_bytes(8, "little"))
        host.push_write(RD_ADDR, 8, addr)
        assert await host.read(RD_DATA, 8) == value
        assert await host.read(RD_DATA + 4, 4) == value >> 32
        assert await host.read(RD_STATUS, 4) == (2 * n + 2) << 16
    host.fault(BASE, BASE + 8192)
    await host.read(RD_DATA, 8, status=1)
    assert await host.read(RD_STATUS, 4) == 101 << 16 | 2
    host.check()


@test()
async def dma_completion_passes_waiting_reads(dut):
    """Reads queue up behind one that waits for its DMA; writes go by, and all is answered."""
    host = await start(dut, delay_min=50, delay_max=50)
    host.write_memory(BASE, (0x1234).to_bytes(8, "little"))
    host.push_write(RD_ADDR, 8, BASE)
    first = host.push_read(RD_DATA, 8)
    tags = [host.push_read(8, 4) for _ in range(10)]
    for n in range(20):
        host.push_write(8, 4, n)
    await host.quiet()
    assert host.find(READ_DONE, first)[0].value == 0x1234
    order = [r.tag for r in host.find(READ_DONE)]
    assert order == [first, *tags]
    host.check()


@test()
async def a_write_passes_a_waiting_read(dut):
    host = await start(dut)
    tag = host.push_read(HOLD, 4)
    await clocks(dut, 100)
    assert not host.find(READ_DONE, tag)
    host.push_write(RELEASE, 4, 0x5A5A)
    await host.quiet()
    assert host.find(READ_DONE, tag)[0].value == 0x5A5A
    host.check()


@test()
async def every_pattern_of_holes(dut):
    """All 256 patterns in every beat of a burst, against untouched memory."""
    host = await start(dut, delay_max=10)
    rng = host.random
    patterns = list(range(256)) * 2
    rng.shuffle(patterns)
    for group in range(0, 512, 8):
        strobes = patterns[group:group + 8]
        beats = 8 if group % 64 else rng.randrange(1, 9)
        data = rng.randbytes(64)
        before = rng.randbytes(256)
        at = 8 * rng.randrange(0, 24)
        host.write_memory(BASE + 0x1000, before)
        host.push_write(WR_ADDR, 8, BASE + 0x1000 + at)
        host.push_write(WR_STRB, 8, int.from_bytes(bytes(strobes), "little"))
        for i in range(8):
            host.push_write(WR_DATA + 8 * i, 8, int.from_bytes(data[8 * i:8 * i + 8], "little"))
        host.push_write(WR_GO, 4, beats)
        while await host.read(WR_STATUS, 4) & 1:
            pass
        want = bytearray(before)
        for i in range(8 * beats):
            if strobes[i // 8] >> i % 8 & 1:
                want[at + i] = data[i]
        assert host.read_memory(BASE + 0x1000, 256) == bytes(want)
    assert await host.read(WR_STATUS, 4) == 64 << 16
    assert await host.read(LIT_ERRORS, 4) == 0
    host.check()


async def rounds(dut, control, **settings):
    host = await start(dut, **settings)
    words = 8
    host.push_write(LIT_ADDR, 8, BASE + 0x40)
    host.push_write(LIT_CTRL, 4, control | (words - 1) << 16)
    seen = 0
    for n in range(1, 101):
        host.push_write(LIT_GO, 4, n)
    await host.until(lambda: len(host.find(DMA_WRITE)) >= 1)
    while seen < 100:
        done = await host.read(LIT_DONE, 4)
        assert done >= seen
        seen = done
        memory = host.read_memory(BASE + 0x40, 8 * words)
        numbers = {int.from_bytes(memory[i:i + 4], "little") for i in range(0, 8 * words, 4)}
        assert len(numbers) == 1, f"{numbers} after {done}"
        assert min(numbers) >= done, f"{numbers} after {done}"
    assert await host.read(LIT_ROUNDS, 4) == 100
    await host.quiet()
    return host


@test()
async def done_is_never_ahead_of_the_data(dut):
    host = await rounds(dut, 0, delay_max=30)
    assert not host.find(MSIX)
    host.check()


@test()
async def done_after_the_response(dut):
    host = await rounds(dut, 1, delay_max=30)
    host.check()


@test()
async def interrupt_is_never_ahead_of_the_data(dut):
    host = await rounds(dut, 2 | 5 << 8, delay_max=30, again_percent=30)
    order = [r.what for r in host.log if r.what in (DMA_WRITE, MSIX)]
    assert order == [DMA_WRITE, MSIX] * 100
    assert {r.tag for r in host.find(MSIX)} == {5}
    assert await host.read(MSIX_COUNT, 4) == 100
    host.check()


@test()
async def interrupts(dut):
    host = await start(dut, again_percent=50)
    vectors = [host.random.randrange(8) for _ in range(50)]
    for vector in vectors:
        host.push_write(MSIX_GO, 4, vector)
    await host.quiet()
    await host.until(lambda: len(host.find(MSIX)) == 50)
    assert [r.tag for r in host.find(MSIX)] == vectors
    host.check()


@test()
async def bytes_and_strobes(dut):
    """Every length at every offset, with exactly its strobes on the bus."""
    host = await start(dut)
    model = bytearray(4096)
    for at in range(0, 4096, 8):
        host.push_write(RAM + at, 8, 0)
    for length in range(1, 9):
        for offset in range(0, 17):
            data = host.random.getrandbits(8 * length)
            await host.write(RAM + offset, length, data)
            model[offset:offset + length] = data.to_bytes(length, "little")
            last = (offset + length - 1) // 8 * 8
            strobes = sum(1 << i for i in range(8) if offset <= last + i < offset + length)
            assert await host.read(LAST_WR_STRB, 4) == strobes
            assert await host.read(LAST_WR_ADDR, 4) == RAM + last
            assert await host.read(RAM + offset, length) == int.from_bytes(
                model[offset:offset + length], "little")
            assert await host.read(LAST_RD_ADDR, 4) < RAM + offset + length
    for at in range(0, 64, 8):
        assert await host.read(RAM + at, 8) == int.from_bytes(model[at:at + 8], "little")
    host.check()


@test()
async def reset_while_a_read_waits(dut):
    host = await start(dut)
    tag = host.push_read(HOLD, 4)
    await clocks(dut, 20)
    host.push_reset()
    assert await host.read(0, 4) == 0x424F5250
    assert not host.find(READ_DONE, tag)
    host.check()


@test()
async def link_goes_while_a_read_waits(dut):
    host = await start(dut, hold=1)
    host.push_write(RD_ADDR, 8, BASE)
    tag = host.push_read(RD_DATA, 8)
    await host.until(lambda: host.find(DMA_READ))
    host.push_link(False)
    await clocks(dut, 20)
    host.set(hold=0)
    host.push_link(True)
    assert await host.read(0, 4) == 0x424F5250
    assert not host.find(READ_DONE, tag)
    host.check()
