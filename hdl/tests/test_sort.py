# SPDX-License-Identifier: Apache-2.0
"""The sort example, driven as its Linux driver drives it, against Python's sorted()."""

import struct

from common import PARAMETERS, clocks, start_clock, test
from standin import DMA_WRITE, MSIX, Host

CONTROL, STATUS, IRQ_ENABLE = 0x0C, 0x10, 0x18
BASE_LO, BASE_HI, LOG2, TAIL, HEAD, ERR_INFO = 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34
BLOCKS, IRQS, RD_BYTES, WR_BYTES, CYCLES = 0x40, 0x44, 0x48, 0x50, 0x58

# Above 4 GiB, so that no half of an address is lost.
BASE = 0x7_1234_0000
DONE, FAILED = 1, 2

# The sorter of the example pcie4, behind the ports of the UltraScale+ block: nobody tells it that a
# write has failed, and it looks at what the guest has enabled.
BLOCK = "DataWidth" in PARAMETERS
MSI = PARAMETERS.get("MsiVectors", 0)
WIDTH = PARAMETERS.get("DataWidth", PARAMETERS.get("DmaDataWidth", 128))


def configure(host):
    """What a guest sets in config space, for who looks at it."""
    if BLOCK:
        host.push_function(3 | (256 if MSI else 8), max_payload=256, max_read_request=512,
                           requester_id=0x100, msi_vectors=MSI or 1)


class Sorter:
    """Ring at the start of host memory, blocks from 64 KiB on."""

    def __init__(self, dut, host, log2):
        self.dut = dut
        self.host = host
        self.entries = 1 << log2
        self.log2 = log2
        self.tail = 0
        self.next_block = BASE + 0x10000

    async def start(self, irq=3):
        host = self.host
        host.push_write(BASE_LO, 4, BASE & 0xFFFFFFFF)
        host.push_write(BASE_HI, 4, BASE >> 32)
        host.push_write(LOG2, 4, self.log2)
        host.push_write(IRQ_ENABLE, 4, irq)
        await host.write(CONTROL, 4, 1)

    def place(self, align=64):
        """Room for a block, that may lie across a page boundary."""
        addr = self.next_block
        self.next_block += 4096 + 64 * self.host.random.randrange(8)
        self.next_block = -(-self.next_block // align) * align
        return addr

    def queue(self, keys, *, descending=False, irq=True, src=None, dst=None, count=1024, flags=0):
        """Writes a descriptor; the doorbell comes by ring(). Returns its index and dst."""
        src = self.place() if src is None else src
        dst = self.place() if dst is None else dst
        if keys is not None:
            self.host.write_memory(src, struct.pack("<1024I", *keys))
        index = self.tail
        flags |= int(descending) | int(irq) << 1
        self.host.write_memory(BASE + 32 * index, struct.pack(
            "<QQIIII", src, dst, count, flags, 0xC0DE0000 + index, 0))
        self.tail = (self.tail + 1) % self.entries
        return index, dst

    def ring(self):
        self.host.push_write(TAIL, 4, self.tail)

    def status(self, index):
        words = struct.unpack("<QQIIII", self.host.read_memory(BASE + 32 * index, 32))
        assert words[4] == 0xC0DE0000 + index, "the cookie changed"
        return words[5]

    def result(self, dst):
        return list(struct.unpack("<1024I", self.host.read_memory(dst, 4096)))

    async def idle(self, limit=200000):
        for _ in range(limit):
            if not await self.host.read(STATUS, 4) & 1:
                return
            await clocks(self.dut, 50)
        raise AssertionError("the sorter stays busy")


async def start(dut, log2=4, **settings):
    await start_clock(dut)
    host = Host(dut.aclk, base=BASE, **settings)
    await host.connect(dut.user_resetn)
    configure(host)
    sorter = Sorter(dut, host, log2)
    await sorter.start()
    return host, sorter


def random_keys(rng):
    """Random keys of several kinds: any, few values, ascending, descending, extremes."""
    kind = rng.randrange(5)
    if kind == 0:
        return [rng.getrandbits(32) for _ in range(1024)]
    if kind == 1:
        return [rng.randrange(5) for _ in range(1024)]
    if kind == 2:
        return sorted(rng.getrandbits(32) for _ in range(1024))
    if kind == 3:
        return sorted((rng.getrandbits(32) for _ in range(1024)), reverse=True)
    return [rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)) for _ in range(1024)]


@test()
async def identity(dut):
    host, _ = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x10EE, 0x7024, 0x10EE, 0x0007, 0x120000, 1]
    assert list(config.bar_size) == [0x10000, 0, 0x10000, 0, 0, 0]
    assert list(config.bar_flags)[:3:2] == [1, 3]
    assert list(config.msix) == ([0] * 5 if MSI else [4, 2, 0, 2, 0x8000])
    assert list(config.link) == [3, 8]
    assert await host.read(0x0, 4) == int.from_bytes(b"SORT", "little")
    assert await host.read(0x4, 4) == 0x00010000
    assert await host.read(0x8, 4) == 0x020A0400
    assert await host.read(0x0, 8) == 0x00010000_54524F53
    await host.write(0x14, 4, 0x11223344)
    await host.write(0x15, 2, 0xAABB)
    assert await host.read(0x14, 4) == 0x11AABB44
    assert await host.read(0x800, 4) == 0
    host.check()


@test()
async def sorts(dut):
    """A ring that wraps, both orders, delays of every length, in place and not."""
    host, sorter = await start(dut, log2=3, delay_max=60, again_percent=10, reorder=1)
    blocks = 24
    queued, irqs = [], 0
    for n in range(blocks):
        keys = random_keys(host.random)
        descending = bool(host.random.randrange(2))
        irq = bool(host.random.randrange(2))
        src = sorter.place()
        dst = src if host.random.randrange(4) == 0 else sorter.place()
        irqs += irq
        index, dst = sorter.queue(keys, descending=descending, irq=irq, src=src, dst=dst)
        queued.append((index, dst, sorted(keys, reverse=descending)))
        if len(queued) == sorter.entries - 1 or n == blocks - 1:
            sorter.ring()
            await sorter.idle()
            for index, dst, want in queued:
                assert sorter.status(index) == DONE
                assert sorter.result(dst) == want
            queued.clear()
            sorter.next_block = BASE + 0x10000
    assert await host.read(HEAD, 4) == blocks % sorter.entries
    assert await host.read(BLOCKS, 4) == blocks
    assert await host.read(IRQS, 4) == irqs
    assert [r.tag for r in host.find(MSIX)] == [0] * irqs
    assert await host.read(RD_BYTES, 4) == blocks * (4096 + 32)
    assert await host.read(RD_BYTES + 4, 4) == 0
    assert await host.read(WR_BYTES, 8) == blocks * (4096 + 16)
    host.check()


@test()
async def order_of_what_the_host_sees(dut):
    """Data, then status, then interrupt."""
    host, sorter = await start(dut)
    index, dst = sorter.queue(random_keys(host.random))
    sorter.ring()
    await host.until(lambda: host.find(MSIX))
    seen = [r for r in host.log if r.what in (DMA_WRITE, MSIX)]
    assert seen[-1].what == MSIX
    assert seen[-2].value == BASE + 32 * index + 16
    assert seen[-2].bytes == 16
    assert all(dst <= r.value < dst + 4096 for r in seen[:-2])
    assert sum(r.bytes for r in seen[:-2]) == 4096
    host.check()


@test()
async def bad_descriptors(dut):
    host, sorter = await start(dut)
    good = random_keys(host.random)
    src = sorter.place()
    bad = [sorter.queue(good, count=1023)[0], sorter.queue(good, count=2048)[0],
           sorter.queue(None, src=src + 4)[0], sorter.queue(None, src=src, dst=src + 32)[0]]
    index, dst = sorter.queue(good, irq=False)
    sorter.ring()
    await sorter.idle()
    assert [sorter.status(i) for i in bad] == [FAILED] * 4
    assert sorter.status(index) == DONE
    assert sorter.result(dst) == sorted(good)
    assert await host.read(STATUS, 4) == 2
    assert await host.read(ERR_INFO, 4) == bad[0] << 16 | 1
    assert await host.read(BLOCKS, 4) == 1
    assert [r.tag for r in host.find(MSIX)] == [0, 1] * 4
    await host.write(STATUS, 4, 2)
    assert await host.read(STATUS, 4) == 0
    assert await host.read(ERR_INFO, 4) == 0
    host.check()


async def one_failure(dut, code, begin, end, kinds, skip=0):
    """One block that fails between two that do not."""
    host, sorter = await start(dut, delay_max=20)
    keys = [random_keys(host.random) for _ in range(3)]
    queued = [sorter.queue(k) for k in keys]
    src = struct.unpack_from("<Q", host.read_memory(BASE + 32, 32))[0]
    dst = queued[1][1]
    origin = {3: src, 4: dst}[code]
    host.fault(origin + begin, origin + end, kinds=kinds, skip=skip)
    before = host.read_memory(dst, 4096)
    sorter.ring()
    await sorter.idle()
    assert [sorter.status(i) for i, _ in queued] == [DONE, FAILED, DONE]
    for n in (0, 2):
        assert sorter.result(queued[n][1]) == sorted(keys[n])
    if code == 3:
        assert host.read_memory(dst, 4096) == before
    assert await host.read(ERR_INFO, 4) == 1 << 16 | code
    assert await host.read(BLOCKS, 4) == 2
    assert [r.tag for r in host.find(MSIX)] == [0, 0, 1, 0]
    host.check()


@test()
async def block_read_fails_at_the_start(dut):
    await one_failure(dut, 3, 0, 4, kinds=1)


@test()
async def block_read_fails_at_the_end(dut):
    await one_failure(dut, 3, 4092, 4096, kinds=1)


@test(skip=BLOCK)
async def write_back_fails_at_the_start(dut):
    await one_failure(dut, 4, 0, 4, kinds=2)


@test(skip=BLOCK)
async def write_back_fails_at_the_end(dut):
    await one_failure(dut, 4, 4092, 4096, kinds=2)


@test(skip=BLOCK)
async def status_write_fails(dut):
    host, sorter = await start(dut)
    keys = random_keys(host.random)
    index, dst = sorter.queue(keys)
    host.fault(BASE, BASE + 512, kinds=2)
    sorter.ring()
    await sorter.idle()
    assert sorter.status(index) == 0
    assert sorter.result(dst) == sorted(keys)
    assert await host.read(ERR_INFO, 4) == index << 16 | 4
    assert await host.read(BLOCKS, 4) == 0
    assert [r.tag for r in host.find(MSIX)] == [0, 1]
    host.check()


@test()
async def fetch_fails_and_is_tried_again(dut):
    host, sorter = await start(dut)
    keys = random_keys(host.random)
    index, dst = sorter.queue(keys)
    host.fault(BASE, BASE + 512)
    sorter.ring()
    await host.until(lambda: host.find(MSIX))
    await clocks(dut, 2000)
    assert await host.read(STATUS, 4) == 2
    assert await host.read(ERR_INFO, 4) == 2
    assert await host.read(HEAD, 4) == 0
    assert [r.tag for r in host.find(MSIX)] == [1]
    host.fault(0, 0)
    await host.write(STATUS, 4, 2)
    await sorter.idle()
    assert sorter.status(index) == DONE
    assert sorter.result(dst) == sorted(keys)
    host.check()


@test()
async def soft_reset_at_any_time(dut):
    """In every phase of a block: it stops, forgets, and sorts again."""
    host, sorter = await start(dut, delay_max=30)
    for wait in range(0, 1800 if WIDTH < 128 else 900, 45):
        keys = random_keys(host.random)
        sorter.next_block = BASE + 0x10000
        for _ in range(3):
            sorter.queue(keys, irq=False)
        sorter.ring()
        await clocks(dut, wait)
        host.push_write(CONTROL, 4, 3)
        while await host.read(CONTROL, 4) & 2:
            pass
        assert await host.read(CONTROL, 4) == 0
        assert await host.read(STATUS, 4) == 0
        assert await host.read(HEAD, 4) == 0
        assert await host.read(TAIL, 4) == 0
        assert await host.read(BLOCKS, 4) == 0
        assert await host.read(CYCLES, 4) < 200
        await host.quiet()
        sorter.tail = 0
        await sorter.start()
    index, dst = sorter.queue(keys)
    sorter.ring()
    await sorter.idle()
    assert sorter.status(index) == DONE
    assert sorter.result(dst) == sorted(keys)
    host.check()


@test()
async def function_reset_at_any_time(dut):
    """A reset by the guest, with everything under way."""
    host, sorter = await start(dut, delay_max=30)
    for wait in range(0, 900, 61):
        sorter.next_block = BASE + 0x10000
        keys = random_keys(host.random)
        for _ in range(3):
            sorter.queue(keys, irq=False)
        sorter.ring()
        await clocks(dut, wait)
        host.push_reset()
        configure(host)
        assert await host.read(TAIL, 4) == 0
        assert await host.read(BLOCKS, 4) == 0
        sorter.tail = 0
        await sorter.start()
    index, dst = sorter.queue(keys)
    sorter.ring()
    await sorter.idle()
    assert sorter.status(index) == DONE
    assert sorter.result(dst) == sorted(keys)
    host.check()


@test()
async def disabled_and_masked(dut):
    """Without ENABLE nothing happens; without IRQ_ENABLE no interrupt comes."""
    host, sorter = await start(dut)
    await host.write(CONTROL, 4, 0)
    index, _ = sorter.queue(random_keys(host.random))
    bad, _ = sorter.queue(None, src=BASE + 0x10000, count=5)
    sorter.ring()
    await clocks(dut, 500)
    assert sorter.status(index) == 0
    assert await host.read(STATUS, 4) == 0
    await host.write(IRQ_ENABLE, 4, 0)
    await host.write(CONTROL, 4, 1)
    await sorter.idle()
    assert sorter.status(index) == DONE
    assert sorter.status(bad) == FAILED
    assert not host.find(MSIX)
    assert await host.read(IRQS, 4) == 0
    host.check()
