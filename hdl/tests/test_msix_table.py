# SPDX-License-Identifier: Apache-2.0
"""The probe with its MSI-X table in RTL: interrupts are memory writes of the card."""

from common import clocks, start_clock, test
from standin import DMA_WRITE, MSIX, READ_DONE, Host

LIT_ADDR, LIT_CTRL, LIT_GO, LIT_DONE, MSIX_GO, MSIX_COUNT = 0x90, 0x98, 0x9C, 0xA0, 0xB0, 0xB4
WR_ADDR, WR_STRB, WR_DATA, WR_GO = 0x30, 0x38, 0x40, 0x80
# BAR 2 on m_axi.
TABLE, PBA, VECTORS = 0x1_0000, 0x1_8000, 8
BASE = 0x80_0000_0000
# Where messages go, in memory that the test can look at.
MESSAGES = BASE + 0x8000
# Bits of what the guest has set: memory space, bus master, MSI-X Enable, Function Mask.
AT_WORK, MSIX_ENABLE, FUNCTION_MASK = 3, 8, 16


async def start(dut, enabled=True, **settings):
    await start_clock(dut)
    host = Host(dut.aclk, base=BASE, **settings)
    await host.connect(dut.user_resetn)
    host.push_function(AT_WORK | (MSIX_ENABLE if enabled else 0))
    return host


def address(vector):
    # Two vectors in a word of the bus, and one whose address needs the upper half.
    return MESSAGES + 4 * vector


def program(host, vector, masked=False):
    host.push_write(TABLE + 16 * vector, 4, address(vector) & 0xFFFF_FFFF)
    host.push_write(TABLE + 16 * vector + 4, 4, address(vector) >> 32)
    host.push_write(TABLE + 16 * vector + 8, 4, 0xC0DE_0000 | vector)
    host.push_write(TABLE + 16 * vector + 12, 4, int(masked))


def messages(host):
    """Vectors of the messages that were sent, in order."""
    return [(r.value - MESSAGES) // 4 for r in host.find(DMA_WRITE)
            if MESSAGES <= r.value < MESSAGES + 4 * VECTORS]


@test()
async def told(dut):
    host = await start(dut)
    config = host.config()
    assert list(config.msix) == [8, 2, 0, 2, 0x8000]
    assert config.msix_in_rtl == 1


@test()
async def table(dut):
    """All of it can be written in any width; it begins masked."""
    host = await start(dut)
    for vector in range(VECTORS):
        assert await host.read(TABLE + 16 * vector, 8) == 0
        assert await host.read(TABLE + 16 * vector + 8, 8) == 1 << 32
    model = bytearray(16 * VECTORS)
    for vector in range(VECTORS):
        model[16 * vector + 12] = 1
    for _ in range(300):
        length = host.random.choice((1, 2, 4, 8))
        at = length * host.random.randrange(len(model) // length)
        data = host.random.randbytes(length)
        host.push_write(TABLE + at, length, int.from_bytes(data, "little"))
        model[at:at + length] = data
        for vector in range(VECTORS):
            model[16 * vector] &= ~3
            model[16 * vector + 12:16 * vector + 16] = bytes((model[16 * vector + 12] & 1, 0, 0, 0))
    for at in range(0, len(model), 8):
        assert await host.read(TABLE + at, 8) == int.from_bytes(model[at:at + 8], "little")
    # Nothing else is there, and pending bits are not written.
    host.push_write(PBA, 8, (1 << 64) - 1)
    host.push_write(TABLE + 16 * VECTORS, 8, (1 << 64) - 1)
    assert await host.read(PBA, 8) == 0
    assert await host.read(TABLE + 16 * VECTORS, 8) == 0
    host.check()


@test()
async def a_vector_is_a_write_of_four_bytes(dut):
    host = await start(dut, again_percent=30)
    host.write_memory(MESSAGES, bytes(4 * VECTORS))
    for vector in range(VECTORS):
        program(host, vector)
    sent = [host.random.randrange(VECTORS) for _ in range(40)]
    for vector in sent:
        host.push_write(MSIX_GO, 4, vector)
    await host.until(lambda: len(messages(host)) == 40)
    # Of what waits for the bus, each vector has its turn.
    assert sorted(messages(host)) == sorted(sent)
    assert {r.bytes for r in host.find(DMA_WRITE)} == {4}
    assert not host.find(MSIX)
    await host.quiet()
    for vector in set(sent):
        found = int.from_bytes(host.read_memory(address(vector), 4), "little")
        assert found == 0xC0DE_0000 | vector
    for vector in set(range(VECTORS)) - set(sent):
        assert host.read_memory(address(vector), 4) == bytes(4)
    assert await host.read(MSIX_COUNT, 4) == 40
    host.check()


@test()
async def what_is_masked_is_pending(dut):
    """By a vector's mask, by Function Mask, and while MSI-X is not enabled."""
    host = await start(dut)
    for vector in range(VECTORS):
        program(host, vector, masked=vector in (2, 5))
    for vector in (2, 3, 5, 2, 5):
        host.push_write(MSIX_GO, 4, vector)
    assert await host.read(PBA, 8) == 1 << 2 | 1 << 5
    assert messages(host) == [3]
    host.push_write(TABLE + 16 * 5 + 12, 4, 0)
    assert await host.read(PBA, 8) == 1 << 2
    assert messages(host) == [3, 5]

    for flags in (AT_WORK | MSIX_ENABLE | FUNCTION_MASK, AT_WORK):
        before = messages(host)
        host.push_function(flags)
        for vector in (7, 0, 2):
            host.push_write(MSIX_GO, 4, vector)
        assert await host.read(PBA, 8) == 1 << 7 | 1 << 2 | 1
        await clocks(dut, 50)
        assert messages(host) == before
        host.push_function(AT_WORK | MSIX_ENABLE)
        assert await host.read(PBA, 8) in (1 << 7 | 1 << 2 | 1, 1 << 7 | 1 << 2, 1 << 2 | 1, 1 << 2)
        await host.until(lambda: sorted(messages(host)[len(before):]) == [0, 7])
        assert await host.read(PBA, 8) == 1 << 2
    host.check()


@test()
async def nothing_comes_after_a_mask_that_was_read(dut):
    """As the kernel does it: mask, read, change the address, unmask."""
    host = await start(dut, again_percent=50)
    program(host, 1)
    moved, places = 0, (MESSAGES, MESSAGES + 4 * 7)
    for n in range(200):
        host.push_write(MSIX_GO, 4, 1)
        for _ in range(host.random.randrange(8)):
            host.push_write(8, 4, n)
        host.push_write(TABLE + 28, 4, 1)
        place = places[n & 1]
        tag = host.push_read(TABLE + 28, 4)
        await host.until(lambda tag=tag: host.find(READ_DONE, tag))
        sent = len(messages(host))
        await clocks(dut, host.random.randrange(20))
        assert len(messages(host)) == sent, f"a message after the mask of round {n}"
        host.push_write(TABLE + 16, 4, place & 0xFFFF_FFFF)
        host.push_write(TABLE + 28, 4, 0)
        await host.until(lambda n=n: len(messages(host)) == n + 1, text="the message")
        moved += sent == n
    assert 0 < moved < 200, f"{moved} of 200 waited for the mask"
    host.check()


@test()
async def a_message_is_behind_its_data(dut):
    """Of rounds that write a buffer and interrupt, while other vectors are raised."""
    host = await start(dut, delay_max=30, again_percent=30)
    for vector in range(VECTORS):
        program(host, vector)
    host.push_write(LIT_ADDR, 8, BASE + 0x2000)
    host.push_write(LIT_CTRL, 4, 2 | 6 << 8 | 31 << 16)
    for n in range(1, 101):
        host.push_write(LIT_GO, 4, n)
        if n & 1:
            host.push_write(MSIX_GO, 4, n % 6)
        while await host.read(LIT_DONE, 4) != n:
            pass
        await host.until(lambda n=n: messages(host).count(6) == n, text="the message of a round")
        assert host.read_memory(BASE + 0x2000, 256) == n.to_bytes(4, "little") * 64
    order = [r.value for r in host.find(DMA_WRITE) if r.value in (BASE + 0x2000, address(6))]
    assert order == [BASE + 0x2000, address(6)] * 100
    assert len(messages(host)) == 150
    host.check()


@test()
async def without_bus_master_it_is_lost(dut):
    """The host refuses the write, and the card goes on."""
    host = await start(dut)
    program(host, 0)
    host.fault(MESSAGES, MESSAGES + 4, status=1, skip=0)
    host.push_write(MSIX_GO, 4, 0)
    await host.until(lambda: len(messages(host)) == 1)
    await host.quiet()
    assert await host.read(PBA, 8) == 0
    program(host, 1)
    host.push_write(MSIX_GO, 4, 1)
    await host.until(lambda: len(messages(host)) == 2)
    # Of its own write the probe knows how it went.
    host.push_write(WR_ADDR, 8, BASE)
    host.push_write(WR_STRB, 8, 0xFF)
    host.push_write(WR_DATA, 8, 0x1234)
    host.push_write(WR_GO, 4, 1)
    await host.quiet()
    assert await host.read(0xA8, 4) == 0
    host.check()


@test()
async def a_reset_masks_all(dut):
    host = await start(dut)
    program(host, 4)
    host.push_write(MSIX_GO, 4, 4)
    await host.until(lambda: len(messages(host)) == 1)
    host.push_reset()
    await host.until(lambda: host.outstanding()[3] == 0)
    await clocks(dut, 40)
    assert await host.read(TABLE + 16 * 4, 8) == 0
    assert await host.read(TABLE + 16 * 4 + 12, 4) == 1
    assert await host.read(PBA, 8) == 0
    host.check()
