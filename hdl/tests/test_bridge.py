# SPDX-License-Identifier: Apache-2.0
"""The bridge between a scripted host and cocotbext-axi, an AXI model that is not ours."""

import itertools
import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBurstType, AxiBus, AxiMaster, AxiResp, AxiSlave, MemoryRegion
from cocotbext.axi.axi_channels import (
    AxiARBus,
    AxiARSource,
    AxiAWBus,
    AxiAWSource,
    AxiBBus,
    AxiBSink,
    AxiRBus,
    AxiRSink,
    AxiWBus,
    AxiWSource,
)
from common import PARAMETERS, clocks, pauses, random_bytes, start_clock, test
from standin import (
    DELIVERED,
    DMA_READ,
    DMA_WRITE,
    INTX,
    MSIX,
    READ_DONE,
    RESET_DONE,
    WRITE_DONE,
    Host,
)

MMIO_BYTES = PARAMETERS["MmioDataWidth"] // 8
DMA_BYTES = PARAMETERS["DmaDataWidth"] // 8
MMIO_WRITES = PARAMETERS.get("MmioWrites", 8)
MMIO_READS = PARAMETERS.get("MmioReads", 4)
DMA_WRITES = PARAMETERS.get("DmaWrites", 16)
DMA_READS = PARAMETERS.get("DmaReads", 16)
RESET_CLOCKS = PARAMETERS.get("ResetClocks", 16)

CAPABILITIES = PARAMETERS.get("capabilities", ())

# Enough for several bursts and 4 KiB boundaries, few enough clocks on a narrow bus.
LONG = min(9000, 320 * DMA_BYTES)

BASE = 0xFEDC_0000_0000 if PARAMETERS.get("DmaAddrWidth", 64) == 64 else 0xFEDC_0000
BAR_BYTES = 1 << 16


class Watch:
    """Records the handshakes of one channel, and that what is offered stays until taken."""

    def __init__(self, dut, bus, channel, fields):
        self.name = f"{bus}_{channel}"
        self.valid = getattr(dut, self.name + "valid")
        self.ready = getattr(dut, self.name + "ready")
        self.fields = [(f, getattr(dut, self.name + f)) for f in fields]
        self.seen = []
        self.waiting = None

    def sample(self):
        now = {f: int(s.value) for f, s in self.fields} if self.valid.value else None
        if self.waiting is not None:
            assert now == self.waiting, f"{self.name}: {self.waiting} became {now} before ready"
        self.waiting = None
        if now is not None:
            if self.ready.value:
                self.seen.append(now)
            else:
                self.waiting = now


async def watch(dut, watches):
    """One task for all of them: waking one up costs more than what it does."""
    edge = RisingEdge(dut.aclk)
    while True:
        await edge
        if dut.user_resetn.value:
            for one in watches:
                one.sample()
        else:
            for one in watches:
                one.waiting = None


class Memory(MemoryRegion):
    """Memory with a word that answers with an error."""

    bad = -1

    async def _read(self, address, length, **kwargs):
        if address <= self.bad < address + length:
            raise RuntimeError("a bad word")
        return await super()._read(address, length, **kwargs)

    async def _write(self, address, data, **kwargs):
        if address <= self.bad < address + len(data):
            raise RuntimeError("a bad word")
        await super()._write(address, data, **kwargs)


class Bench:
    """A bridge with memory on m_axi, and a master or nothing yet on s_axi."""

    def __init__(self, dut, host):
        self.dut = dut
        self.host = host
        bus = AxiBus.from_prefix(dut, "m_axi")
        self.memory = Memory(BAR_BYTES)
        self.slave = AxiSlave(bus, dut.aclk, dut.user_resetn, self.memory,
                              reset_active_level=False)
        self.aw = Watch(dut, "m_axi", "aw", ["addr", "len", "size", "burst", "id"])
        self.w = Watch(dut, "m_axi", "w", ["data", "strb", "last"])
        self.ar = Watch(dut, "m_axi", "ar", ["addr", "len", "size", "burst", "id"])
        self.b = Watch(dut, "s_axi", "b", ["id", "resp"])
        self.r = Watch(dut, "s_axi", "r", ["id", "data", "resp", "last"])
        cocotb.start_soon(watch(dut, (self.aw, self.w, self.ar, self.b, self.r)))

    def master(self):
        bus = AxiBus.from_prefix(self.dut, "s_axi")
        master = AxiMaster(bus, self.dut.aclk, self.dut.user_resetn, reset_active_level=False)
        for part in (master.write_if, master.read_if):
            part.log.setLevel("WARNING")
        return master

    def stall_slave(self, percent):
        """Random back-pressure on every channel of m_axi."""
        for n, channel in enumerate((
                self.slave.write_if.aw_channel, self.slave.write_if.w_channel,
                self.slave.write_if.b_channel, self.slave.read_if.ar_channel,
                self.slave.read_if.r_channel)):
            channel.set_pause_generator(pauses(random.random() + n, percent))

    def written(self, since=0):
        """Address and value of every byte that the bridge wrote on m_axi, in order."""
        out = []
        w = iter(self.w.seen)
        for aw in self.aw.seen:
            assert aw["burst"] == 1
            assert aw["id"] == 0
            size = 1 << aw["size"]
            first = aw["addr"]
            assert first // 4096 == (first // size * size + size * (aw["len"] + 1) - 1) // 4096
            for n in range(aw["len"] + 1):
                beat = next(w)
                low = first if n == 0 else first // size * size + n * size
                high = first // size * size + (n + 1) * size
                word = low // MMIO_BYTES * MMIO_BYTES
                assert beat["last"] == (n == aw["len"])
                for i in range(MMIO_BYTES):
                    if beat["strb"] >> i & 1:
                        assert low <= word + i < high, "a strobe outside of the transfer"
                        out.append((word + i, beat["data"] >> 8 * i & 0xFF))
        assert next(w, None) is None
        return out[since:]

    def asked(self):
        """Every byte address that the bridge read on m_axi, in order."""
        out = []
        for ar in self.ar.seen:
            assert ar["burst"] == 1
            assert ar["id"] == 0
            size = 1 << ar["size"]
            assert ar["addr"] % size == 0, "a read that is not aligned"
            out += range(ar["addr"], ar["addr"] + size * (ar["len"] + 1))
        return out


class RawMaster:
    """s_axi by hand: any strobes, any burst, right or wrong."""

    def __init__(self, dut):
        args = (dut.aclk, dut.user_resetn, False)
        self.aw = AxiAWSource(AxiAWBus.from_prefix(dut, "s_axi"), *args)
        self.w = AxiWSource(AxiWBus.from_prefix(dut, "s_axi"), *args)
        self.b = AxiBSink(AxiBBus.from_prefix(dut, "s_axi"), *args)
        self.ar = AxiARSource(AxiARBus.from_prefix(dut, "s_axi"), *args)
        self.r = AxiRSink(AxiRBus.from_prefix(dut, "s_axi"), *args)

    def stall(self, percent):
        for n, channel in enumerate((self.aw, self.w, self.b, self.ar, self.r)):
            channel.set_pause_generator(pauses(random.random() + n, percent))

    async def write(self, addr, beats, *, size=None, burst=AxiBurstType.INCR, ident=0):
        """beats is a list of (data, strobes) on the whole bus."""
        size = (DMA_BYTES - 1).bit_length() if size is None else size
        await self.aw.send(self.aw._transaction_obj(
            awid=ident, awaddr=addr, awlen=len(beats) - 1, awsize=size, awburst=burst))
        for n, (data, strb) in enumerate(beats):
            await self.w.send(self.w._transaction_obj(
                wdata=data, wstrb=strb, wlast=n == len(beats) - 1))

    async def read(self, addr, length, *, size=None, burst=AxiBurstType.INCR, ident=0):
        size = (DMA_BYTES - 1).bit_length() if size is None else size
        await self.ar.send(self.ar._transaction_obj(
            arid=ident, araddr=addr, arlen=length - 1, arsize=size, arburst=burst))

    async def response(self):
        b = await self.b.recv()
        return int(b.bid), int(b.bresp)

    async def data(self, length):
        beats = [await self.r.recv() for _ in range(length)]
        assert [int(b.rlast) for b in beats] == [0] * (length - 1) + [1]
        return beats


INPUTS = ([f"s_axi_{n}" for n in ("awvalid", "wvalid", "bready", "arvalid", "rready")] +
          [f"m_axi_{n}" for n in ("awready", "wready", "bvalid", "arready", "rvalid")] +
          ["msix_valid", "msix_vector", "intx"])


async def start(dut, **settings):
    await start_clock(dut, INPUTS)
    host = Host(dut.aclk, base=BASE, **settings)
    bench = Bench(dut, host)
    await host.connect(dut.user_resetn)
    return host, bench


####################
# Identity, resets #
####################


@test()
async def configuration(dut):
    host, _ = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x10EE, 0x7011, 0x10EE, 0x0007, 0x120000, 0]
    assert list(config.bar_size) == [0x1000, 0, 0, 0, 0, 0]
    has_msix = PARAMETERS.get("MsixVectors", 1)
    assert list(config.msix) == ([1, 1, 0, 1, 0x800] if has_msix else [0] * 5)
    assert list(config.msi) == [PARAMETERS.get("MsiVectors", 0), PARAMETERS.get("MsiMasking", 0)]
    assert list(config.link) == [3, 8]
    assert config.intx_pin == PARAMETERS.get("IntxPin", 0)
    assert config.clock_ps == 4000
    assert config.started == 1
    host.check()


@test()
async def capabilities(dut):
    """Those of the parameters, in their order, each at its place with its body."""
    host, _ = await start(dut)
    config = host.config()
    assert config.capabilities() == list(CAPABILITIES)
    space = config.config_space()
    for cap_id, place, body in CAPABILITIES:
        if place:
            # As lspci shows them: id, pointer to the next, body.
            assert space[place] == cap_id
            assert space[place + 2:place + 2 + len(body)] == body


@test()
async def reset_length(dut):
    """user_resetn is low for the stated clocks, and QEMU is told when it is over."""
    host, _ = await start(dut)
    for kind in (1, 2, 3):
        host.push_reset(kind)
        done = len(host.find(RESET_DONE))
        await host.until(lambda: not int(dut.user_resetn.value))
        low = 0
        while not int(dut.user_resetn.value):
            assert len(host.find(RESET_DONE)) == done, "told too early"
            for name in ("m_axi_awvalid", "m_axi_wvalid", "m_axi_arvalid", "s_axi_bvalid",
                         "s_axi_rvalid"):
                assert low == 0 or not int(getattr(dut, name).value), name
            low += 1
            await RisingEdge(dut.aclk)
        assert low == RESET_CLOCKS, f"{low} clocks, not {RESET_CLOCKS}"
        assert len(host.find(RESET_DONE)) == done + 1
    host.check()


@test()
async def reset_again_before_it_is_over(dut):
    host, _ = await start(dut)
    host.push_reset(1)
    await host.until(lambda: not int(dut.user_resetn.value))
    host.push_reset(2)
    await clocks(dut, 3 * RESET_CLOCKS)
    assert int(dut.user_resetn.value)
    assert len(host.find(RESET_DONE)) == 1
    await host.write(0, 4, 5)
    host.check()


##################
# Guest accesses #
##################


@test()
async def every_size_and_alignment(dut):
    """Writes and reads of 1 to 8 bytes at every offset, without and with back-pressure."""
    host, bench = await start(dut)
    model = bytearray(random_bytes(BAR_BYTES))
    bench.memory.mem[:] = model
    offsets = [*range(0, 2 * max(MMIO_BYTES, 8)), *range(4096 - 9, 4096 + 3)]
    for stall in (0, 50):
        bench.stall_slave(stall)
        for length, offset in itertools.product(range(1, 9), offsets):
            data = random.getrandbits(8 * length)
            bench.aw.seen.clear()
            bench.w.seen.clear()
            bench.ar.seen.clear()
            await host.write(offset, length, data)
            want = data.to_bytes(length, "little")
            model[offset:offset + length] = want
            assert bench.written() == [(offset + i, b) for i, b in enumerate(want)]
            aligned = length in (1, 2, 4, 8) and offset % length == 0
            if aligned and length <= MMIO_BYTES:
                (aw,) = bench.aw.seen
                assert (1 << aw["size"], aw["len"]) == (length, 0)
            elif aligned:
                (aw,) = bench.aw.seen
                assert (1 << aw["size"], aw["len"]) == (MMIO_BYTES, length // MMIO_BYTES - 1)
            assert await host.read(offset, length) == int.from_bytes(want, "little")
            assert bench.asked() == [offset + i for i in range(length)]
            if aligned:
                (ar,) = bench.ar.seen
                assert 1 << ar["size"] == min(length, MMIO_BYTES)
    assert bytes(bench.memory.mem) == bytes(model)
    host.check()


@test()
async def stream_of_writes(dut):
    """Posted writes, many under way, arrive in order; reads see all writes before them."""
    host, bench = await start(dut)
    model = bytearray(BAR_BYTES)
    for stall in (0, 30, 80):
        bench.stall_slave(stall)
        for _ in range(20):
            bench.aw.seen.clear()
            bench.w.seen.clear()
            want = []
            tags = []
            for _ in range(random.randrange(1, 20)):
                length = random.randrange(1, 9)
                offset = random.randrange(0, 48) + random.choice((0, 4096 - 24))
                data = random.getrandbits(8 * length).to_bytes(length, "little")
                tags.append(host.push_write(offset, length, int.from_bytes(data, "little")))
                model[offset:offset + length] = data
                want += [(offset + i, b) for i, b in enumerate(data)]
            reads = []
            for _ in range(random.randrange(0, 6)):
                length = random.randrange(1, 9)
                offset = random.randrange(0, 48) + random.choice((0, 4096 - 24))
                reads.append((host.push_read(offset, length),
                              int.from_bytes(model[offset:offset + length], "little")))
            await host.quiet()
            assert bench.written() == want
            done = [r for r in host.log if r.what == WRITE_DONE][-len(tags):]
            assert [r.tag for r in done] == tags
            assert not any(r.status for r in done)
            for tag, value in reads:
                (read,) = host.find(READ_DONE, tag)
                assert (read.status, read.value) == (0, value)
    host.check()


@test()
async def writes_pass_a_waiting_read(dut):
    host, bench = await start(dut)
    bench.slave.read_if.r_channel.pause = True
    tag = host.push_read(0x20, 4)
    await host.until(lambda: bench.ar.seen)
    for n in range(5):
        await host.write(0x40 + 4 * n, 4, n)
    assert not host.find(READ_DONE, tag)
    bench.slave.read_if.r_channel.pause = False
    await host.quiet()
    assert host.find(READ_DONE, tag)
    host.check()


@test()
async def a_write_across_4_kib_is_taken_as_a_whole(dut):
    """DMA read data behind a write waits for both of its bursts, and so does a read for both
    responses. The RTL is played by hand, to stop between the two."""
    await start_clock(dut, INPUTS)
    host = Host(dut.aclk, base=BASE)
    raw = RawMaster(dut)
    await host.connect(dut.user_resetn)
    wr = [getattr(dut, f"m_axi_{n}") for n in ("awvalid", "wvalid")]

    # The data is on its way when the guest writes, and behind that write from then on.
    host.set(hold=1)
    await raw.read(BASE, 1)
    await host.until(lambda: host.find(DMA_READ), text="the DMA read")
    tag = host.push_write(4096 - 4, 8, 0x8877_6655_4433_2211)
    behind = host.push_read(0, 4)
    await host.until(lambda: all(int(v.value) for v in wr), text="the first burst")
    assert int(dut.m_axi_awaddr.value) == 4096 - 4
    host.set(hold=0)

    # One handshake on each channel, and then no ready for the second burst.
    dut.m_axi_awready.value = 1
    dut.m_axi_wready.value = 1
    await RisingEdge(dut.aclk)
    dut.m_axi_awready.value = 0
    dut.m_axi_wready.value = 0
    for n in range(60):
        await RisingEdge(dut.aclk)
        assert not int(dut.s_axi_rvalid.value), "read data passed half of a write"
        if n == 3:
            assert all(int(v.value) for v in wr), "the second burst is not there"
            assert int(dut.m_axi_awaddr.value) == 4096
            # The first burst has its response.
            dut.m_axi_bvalid.value = 1
        if n == 4:
            dut.m_axi_bvalid.value = 0
        assert not host.find(WRITE_DONE), "the response of half of a write"

    dut.m_axi_awready.value = 1
    dut.m_axi_wready.value = 1
    await RisingEdge(dut.aclk)
    dut.m_axi_awready.value = 0
    dut.m_axi_wready.value = 0
    await raw.data(1)
    for _ in range(60):
        await RisingEdge(dut.aclk)
        assert not int(dut.m_axi_arvalid.value), "a read passed half of a write's responses"
        assert not host.find(WRITE_DONE), "the response of half of a write"
    dut.m_axi_bvalid.value = 1
    await RisingEdge(dut.aclk)
    dut.m_axi_bvalid.value = 0
    await host.until(lambda: host.find(WRITE_DONE, tag), text="the write's response")
    await host.until(lambda: int(dut.m_axi_arvalid.value), text="the read")
    dut.m_axi_arready.value = 1
    await RisingEdge(dut.aclk)
    dut.m_axi_arready.value = 0
    dut.m_axi_rvalid.value = 1
    dut.m_axi_rlast.value = 1
    await RisingEdge(dut.aclk)
    dut.m_axi_rvalid.value = 0
    await host.until(lambda: host.find(READ_DONE, behind), text="the read's answer")
    await host.quiet()
    host.check()


@test()
async def outstanding_limits(dut):
    """As many as the parameters say, and one write in front of the bus."""
    host, bench = await start(dut)
    bench.slave.write_if.b_channel.pause = True
    # The model buffers few responses by itself.
    bench.slave.write_if.b_channel.queue_occupancy_limit = -1
    for n in range(MMIO_WRITES + 10):
        host.push_write(8 * n, 4, n)
    await clocks(dut, 20 * MMIO_WRITES + 200)
    assert len(bench.aw.seen) == MMIO_WRITES
    assert len(host.find(DELIVERED)) == MMIO_WRITES + 1
    assert not host.find(WRITE_DONE)
    bench.slave.write_if.b_channel.pause = False
    await host.quiet()
    assert len(bench.aw.seen) == MMIO_WRITES + 10

    bench.slave.read_if.r_channel.pause = True
    bench.slave.read_if.r_channel.queue_occupancy_limit = -1
    before = len(host.find(DELIVERED))
    for n in range(MMIO_READS + 10):
        host.push_read(8 * n, 4)
    await clocks(dut, 20 * MMIO_READS + 200)
    assert len(host.find(DELIVERED)) - before == MMIO_READS
    assert len(bench.ar.seen) == MMIO_READS
    bench.slave.read_if.r_channel.pause = False
    await host.quiet()
    assert [r.value for r in host.find(READ_DONE)] == list(range(MMIO_WRITES + 10))[
        :MMIO_READS + 10] + [0] * max(0, MMIO_READS - MMIO_WRITES)
    host.check()


@test()
async def errors_of_the_slave(dut):
    """SLVERR reaches QEMU, of the access that it belongs to."""
    host, bench = await start(dut)
    for part in (bench.slave.write_if, bench.slave.read_if):
        part.log.setLevel("ERROR")
    for length in range(1, 9):
        await host.write(BAR_BYTES + 64, length, 1, status=1)
        await host.read(BAR_BYTES + 64, length, status=1)
        await host.write(BAR_BYTES - 64, length, 1)
        assert await host.read(BAR_BYTES - 64, length) == 1
    # An access of two transactions, of which one fails, fails.
    await host.write(BAR_BYTES - 3, 8, 1, status=1)
    await host.read(BAR_BYTES - 3, 8, status=1)
    # The page boundary is one between transactions on every bus.
    for bad in (4096 - 1, 4096):
        bench.memory.bad = bad
        await host.write(4096 - 3, 8, 1, status=1)
        await host.read(4096 - 3, 8, status=1)
    await host.write(BAR_BYTES - 64, 8, 0x1122334455667788)
    assert await host.read(BAR_BYTES - 64, 8) == 0x1122334455667788
    host.check()


#######
# DMA #
#######


@test()
async def dma_reads(dut):
    """Random lengths, offsets, sizes, delays, order of completion, back-pressure."""
    host, bench = await start(dut, delay_max=50, reorder=1)
    master = bench.master()
    memory = random_bytes(host.size)
    host.write_memory(BASE, memory)

    async def one():
        at = random.randrange(host.size - LONG)
        length = random.choice((random.randrange(1, 70), random.randrange(1, LONG)))
        size = random.randrange((DMA_BYTES - 1).bit_length() + 1) if length < 300 else None
        got = await master.read(BASE + at, length, size=size)
        assert got.resp == AxiResp.OKAY
        assert got.data == memory[at:at + length]

    for stall, again in ((0, 0), (40, 0), (80, 0), (30, 30)):
        host.set(again_percent=again)
        for n, channel in enumerate((master.read_if.ar_channel, master.read_if.r_channel)):
            channel.set_pause_generator(pauses(random.random() + n, stall))
        tasks = [cocotb.start_soon(one()) for _ in range(24)]
        for task in tasks:
            await task
    assert host.outstanding()[0] == 0
    host.check()


@test()
async def dma_writes(dut):
    """The same for writes; each has a place of its own in host memory."""
    host, bench = await start(dut, delay_max=50, reorder=1)
    master = bench.master()
    memory = bytearray(random_bytes(host.size))
    host.write_memory(BASE, memory)
    places = iter(range(0, host.size, 6200))

    async def one():
        at = next(places) + random.randrange(100)
        length = random.choice((random.randrange(1, 70), random.randrange(1, min(LONG, 6000))))
        size = random.randrange((DMA_BYTES - 1).bit_length() + 1) if length < 300 else None
        data = random_bytes(length)
        memory[at:at + length] = data
        got = await master.write(BASE + at, data, size=size)
        assert got.resp == AxiResp.OKAY
        # The response says that the data is there.
        assert host.read_memory(BASE + at, length) == data

    for stall, again in ((0, 0), (40, 0), (80, 0), (30, 30)):
        host.set(again_percent=again)
        for n, channel in enumerate((master.write_if.aw_channel, master.write_if.w_channel,
                                     master.write_if.b_channel)):
            channel.set_pause_generator(pauses(random.random() + n, stall))
        tasks = [cocotb.start_soon(one()) for _ in range(24)]
        for task in tasks:
            await task
    assert host.read_memory(BASE, host.size) == bytes(memory)
    assert host.outstanding()[0] == 0
    host.check()


@test()
async def strobes_with_holes(dut):
    """Random holes in every beat, beats without any strobe, bursts without any, all sizes."""
    host, _ = await start(dut, delay_max=10)
    raw = RawMaster(dut)
    raw.stall(20)
    memory = bytearray(random_bytes(host.size))
    host.write_memory(BASE, memory)
    jobs = []
    for n in range(100):
        size = random.randrange((DMA_BYTES - 1).bit_length() + 1) if n % 2 else (
            DMA_BYTES - 1).bit_length()
        step = 1 << size
        at = 8192 * n + random.randrange(64)
        beats = []
        low = at
        most = min(256 if n % 8 == 1 else 32, 4000 // step)
        for _ in range(random.randrange(1, most + 1) if n % 3 else 1):
            high = low // step * step + step
            word = low // DMA_BYTES * DMA_BYTES
            mask = sum(1 << i - word for i in range(low, high))
            strobes = random.getrandbits(DMA_BYTES) & random.choice((0, mask, mask, mask))
            data = random.getrandbits(8 * DMA_BYTES)
            beats.append((data, strobes))
            for i in range(DMA_BYTES):
                if strobes >> i & 1:
                    memory[word + i] = data >> 8 * i & 0xFF
            low = high
        jobs.append((at, size, beats))

    async def send():
        for n, (at, size, beats) in enumerate(jobs):
            await raw.write(BASE + at, beats, size=size, ident=n % 16)

    cocotb.start_soon(send())
    for n in range(len(jobs)):
        assert await raw.response() == (n % 16, 0)
    assert host.read_memory(BASE, host.size) == bytes(memory)
    host.check()


@test()
async def every_pattern_in_a_beat(dut):
    """All 256 patterns of 8 neighbouring strobes, at every place on the bus."""
    host, _ = await start(dut)
    raw = RawMaster(dut)
    places = max(1, DMA_BYTES // 8)
    bits = min(8, DMA_BYTES)
    jobs = [(place, pattern) for place in range(places) for pattern in range(1 << bits)]
    background = random_bytes(host.size)
    host.write_memory(BASE, background)
    memory = bytearray(background)
    beats = []
    for n, (place, pattern) in enumerate(jobs):
        data = random.getrandbits(8 * DMA_BYTES)
        beats.append((data, pattern << bits * place))
        for i in range(bits):
            if pattern >> i & 1:
                memory[n * DMA_BYTES + bits * place + i] = data >> 8 * (bits * place + i) & 0xFF
    per_burst = min(256, 4096 // DMA_BYTES)

    async def send():
        for n in range(0, len(beats), per_burst):
            await raw.write(BASE + n * DMA_BYTES, beats[n:n + per_burst])

    cocotb.start_soon(send())
    for _ in range(0, len(beats), per_burst):
        assert await raw.response() == (0, 0)
    assert host.read_memory(BASE, host.size) == bytes(memory)
    host.check()


@test()
async def responses_keep_their_order(dut):
    """IDs come back as they came, in order, while the host answers out of order."""
    host, _ = await start(dut, delay_max=200, reorder=1)
    raw = RawMaster(dut)
    raw.stall(10)
    memory = random_bytes(4096)
    host.write_memory(BASE, memory)
    idents = [random.randrange(16) for _ in range(60)]

    async def send():
        for n, ident in enumerate(idents):
            await raw.read(BASE + n * DMA_BYTES % 4096, 1, ident=ident)

    async def send_writes():
        for ident in idents:
            await raw.write(BASE + 8192, [(1, 1)], ident=ident)

    cocotb.start_soon(send())
    cocotb.start_soon(send_writes())
    for n, ident in enumerate(idents):
        (beat,) = await raw.data(1)
        at = n * DMA_BYTES % 4096
        assert int(beat.rid) == ident
        assert int(beat.rdata) == int.from_bytes(memory[at:at + DMA_BYTES], "little")
        assert await raw.response() == (ident, 0)
    host.check()


@test()
async def dma_limits(dut):
    """As many requests under way as the parameters say."""
    host, bench = await start(dut, hold=1)
    master = bench.master()
    reads = [cocotb.start_soon(master.read(BASE + 4096 * n, 16)) for n in range(DMA_READS + 8)]
    writes = [cocotb.start_soon(master.write(BASE + 4096 * n, bytes(16)))
              for n in range(DMA_WRITES + 8)]
    await clocks(dut, 2000)
    assert len(host.find(DMA_READ)) == DMA_READS
    assert len(host.find(DMA_WRITE)) == DMA_WRITES
    host.set(hold=0)
    for task in reads + writes:
        assert (await task).resp == AxiResp.OKAY
    host.check()


@test()
async def throughput(dut):
    """4 KiB requests, as many under way as fit: at least 0.95 beats per clock both ways."""
    host, bench = await start(dut)
    master = bench.master()
    for part in (master.read_if, master.write_if):
        for name in ("ar_channel", "r_channel", "aw_channel", "w_channel", "b_channel"):
            if hasattr(part, name):
                getattr(part, name).queue_occupancy_limit = -1
    total = 32 * 4096
    if DMA_BYTES == 4:
        total //= 4
    data = random_bytes(total)
    host.write_memory(BASE, data)
    figures = []
    for write in (False, True):
        valid = dut.s_axi_wvalid if write else dut.s_axi_rvalid
        ready = dut.s_axi_wready if write else dut.s_axi_rready
        task = cocotb.start_soon(master.write(BASE, data) if write else master.read(BASE, total))
        first = last = beats = clock = 0
        while not task.done():
            await RisingEdge(dut.aclk)
            clock += 1
            if int(valid.value) and int(ready.value):
                beats += 1
                first = first or clock
                last = clock
        assert beats == total // DMA_BYTES
        figures.append(beats / (last - first + 1))
    dut._log.info("beats per clock: read %.3f, write %.3f", *figures)
    # Two requests under way cannot hide the host's delay.
    if DMA_READS >= 16:
        assert min(figures) >= 0.95, figures
    host.check()


@test()
async def refused_bursts(dut):
    """FIXED, WRAP, wider than the bus, across 4 KiB: SLVERR, and nothing reaches the host."""
    host, _ = await start(dut)
    raw = RawMaster(dut)
    full = (DMA_BYTES - 1).bit_length()
    before = host.read_memory(BASE, host.size)
    bad = [{"addr": BASE, "length": 4, "burst": AxiBurstType.FIXED},
           {"addr": BASE, "length": 4, "burst": AxiBurstType.WRAP},
           {"addr": BASE + 4096 - DMA_BYTES, "length": 2},
           {"addr": BASE + 4096 - 1, "length": 2, "size": 0}]
    if full < 6:
        bad.append({"addr": BASE, "length": 2, "size": full + 1})
    for n, case in enumerate(bad):
        addr, length = case.pop("addr"), case.pop("length")
        await raw.read(addr, length, ident=n, **case)
        for beat in await raw.data(length):
            assert (int(beat.rresp), int(beat.rid), int(beat.rdata)) == (2, n, 0)
        ones = [((1 << 8 * DMA_BYTES) - 1, (1 << DMA_BYTES) - 1)] * length
        await raw.write(addr, ones, ident=n, **case)
        assert await raw.response() == (n, 2)
        # A good one right behind it.
        await raw.write(BASE + 8192, [(n, 1)])
        assert await raw.response() == (0, 0)
    assert not host.find(DMA_READ)
    assert len(host.find(DMA_WRITE)) == len(bad)
    assert host.read_memory(BASE, 8192) == before[:8192]
    host.check()


@test()
async def refused_by_the_host(dut):
    """A fault of the host is SLVERR of its own request only."""
    host, bench = await start(dut, delay_max=20)
    master = bench.master()
    data = random_bytes(4096)
    host.write_memory(BASE + 4096, data)
    for status in (1, 2, 3):
        host.fault(BASE + 8192, BASE + 12288, status=status)
        tasks = [cocotb.start_soon(master.read(BASE + at, 4096)) for at in (4096, 8192, 4096)]
        tasks += [cocotb.start_soon(master.write(BASE + at, bytes(4096)))
                  for at in (12288, 8192, 12288)]
        got = [(await t).resp for t in tasks]
        assert got == [AxiResp.OKAY, AxiResp.SLVERR, AxiResp.OKAY] * 2
    # No memory there at all.
    assert (await master.read(BASE + host.size, 64)).resp == AxiResp.SLVERR
    host.check()


@test()
async def everything_at_once(dut):
    """Guest accesses, DMA both ways and interrupts together, all with back-pressure."""
    host, bench = await start(dut, delay_max=30, again_percent=10, reorder=1)
    master = bench.master()
    memory = bytearray(random_bytes(host.size))
    host.write_memory(BASE, memory)
    bench.stall_slave(30)
    for n, channel in enumerate((master.read_if.ar_channel, master.read_if.r_channel,
                                 master.write_if.aw_channel, master.write_if.w_channel,
                                 master.write_if.b_channel)):
        channel.set_pause_generator(pauses(random.random() + n, 30))
    model = bytearray(BAR_BYTES)

    async def reader():
        for _ in range(40):
            at = random.randrange(host.size // 2 - 600)
            length = random.randrange(1, 600)
            got = await master.read(BASE + at, length)
            assert (got.resp, got.data) == (AxiResp.OKAY, bytes(memory[at:at + length]))

    async def writer():
        for n in range(40):
            at = host.size // 2 + 1024 * n + random.randrange(100)
            data = random_bytes(random.randrange(1, 600))
            memory[at:at + len(data)] = data
            assert (await master.write(BASE + at, data)).resp == AxiResp.OKAY

    async def guest():
        for _ in range(60):
            length = random.randrange(1, 9)
            offset = random.randrange(200)
            data = random.getrandbits(8 * length)
            host.push_write(offset, length, data)
            model[offset:offset + length] = data.to_bytes(length, "little")
            offset = random.randrange(200)
            want = int.from_bytes(model[offset:offset + length], "little")
            assert await host.read(offset, length) == want

    async def interrupts():
        for _ in range(40):
            await clocks(dut, random.randrange(1, 60))
            dut.msix_valid.value = 1
            await RisingEdge(dut.aclk)
            while not int(dut.msix_ready.value):
                await RisingEdge(dut.aclk)
            dut.msix_valid.value = 0

    tasks = [cocotb.start_soon(t) for t in (reader(), reader(), writer(), guest(), interrupts())]
    for task in tasks:
        await task
    await host.quiet()
    assert host.read_memory(BASE, host.size) == bytes(memory)
    # The last one may still wait for the host to take it.
    await host.until(lambda: len(host.find(MSIX)) >= 40)
    await clocks(dut, 200)
    assert len(host.find(MSIX)) == 40
    host.check()


##############
# Interrupts #
##############


@test()
async def msix_never_overtakes_data(dut):
    """A vector that is asked for once B came is sent behind the write."""
    host, bench = await start(dut, delay_max=40, again_percent=30)
    master = bench.master()
    for n in range(50):
        assert (await master.write(BASE + 64 * n, random_bytes(random.randrange(1, 200)))
                ).resp == AxiResp.OKAY
        dut.msix_valid.value = 1
        await RisingEdge(dut.aclk)
        while not int(dut.msix_ready.value):
            await RisingEdge(dut.aclk)
        dut.msix_valid.value = 0
        await host.until(lambda: len(host.find(MSIX)) == n + 1)
        assert host.log[-1].what == MSIX
    host.check()


@test(skip=not PARAMETERS.get("MsiVectors"))
async def msi_vectors(dut):
    """Each vector of MSI reaches the library as it is, however many the guest has granted."""
    host, _ = await start(dut, again_percent=30)
    vectors = range(PARAMETERS["MsiVectors"])
    host.push_function(0x106, msi_vectors=1)
    await host.until(lambda: int(dut.cfg_msi_enable.value))
    for vector in vectors:
        dut.msix_valid.value = 1
        dut.msix_vector.value = vector
        await RisingEdge(dut.aclk)
        while not int(dut.msix_ready.value):
            await RisingEdge(dut.aclk)
        dut.msix_valid.value = 0
    await host.until(lambda: len(host.find(MSIX)) == len(vectors))
    assert [r.tag for r in host.find(MSIX)] == list(vectors)
    host.check()


@test(skip=not PARAMETERS.get("IntxPin"))
async def intx_level(dut):
    host, _ = await start(dut)
    await clocks(dut, 10)
    assert not host.find(INTX)
    for n, level in enumerate((1, 0, 1)):
        dut.intx.value = level
        await clocks(dut, 5)
        assert [r.tag for r in host.find(INTX)] == [1, 0, 1][:n + 1]
    # A reset of the function ends it; RTL that still asks is told of again.
    host.push_reset()
    await host.until(lambda: len(host.find(INTX)) == 4)
    assert host.find(INTX)[-1].tag == 1
    host.check()


#########################
# Resets and lost links #
#########################


def traffic(host, master):
    """Everything at once, without an end. What it starts may be cut off."""
    async def reads():
        while True:
            await master.read(BASE + random.randrange(host.size - LONG),
                              random.randrange(1, LONG))

    async def writes():
        while True:
            await master.write(BASE + random.randrange(host.size - LONG),
                               random_bytes(random.randrange(1, LONG)))

    for part in (master.write_if, master.read_if):
        part.log.setLevel("ERROR")
    tasks = [cocotb.start_soon(t()) for t in (reads, reads, writes, writes)]
    for _ in range(30):
        length = random.randrange(1, 9)
        if random.randrange(2):
            host.push_write(random.randrange(200), length, random.getrandbits(8 * length))
        else:
            host.push_read(random.randrange(200), length)
    return tasks


ROUGH = {"delay_max": 60, "reorder": 1, "again_percent": 10}
SMOOTH = {"delay_max": 0, "reorder": 0, "again_percent": 0}


async def works(host, bench, master):
    """Afterwards everything works as if nothing had been."""
    host.set(**SMOOTH)
    bench.stall_slave(0)
    await host.write(0x100, 8, 0x0123456789ABCDEF)
    assert await host.read(0x101, 4) == 0x6789ABCD
    data = random_bytes(min(LONG, 5000))
    assert (await master.write(BASE + 3, data)).resp == AxiResp.OKAY
    assert host.read_memory(BASE + 3, len(data)) == data
    got = await master.read(BASE + 3, len(data))
    assert (got.resp, got.data) == (AxiResp.OKAY, data)
    assert host.outstanding() == (0, 0, 0, 0)
    host.check()


def answers(host):
    return {r.tag: r.status for r in host.pull() if r.what in (READ_DONE, WRITE_DONE)}


@test()
async def reset_in_full_flight(dut):
    host, bench = await start(dut)
    master = bench.master()
    for n in range(8):
        host.set(**ROUGH)
        bench.stall_slave(40)
        tasks = traffic(host, master)
        await clocks(dut, random.randrange(5, 600))
        host.push_reset(1 + n % 3)
        await host.until(lambda: host.outstanding()[3] == 0)
        answered = set(answers(host))
        for task in tasks:
            task.cancel()
        await host.until(lambda: len(host.find(RESET_DONE)) == n + 1)
        await clocks(dut, 300)
        late = set(answers(host)) - answered
        assert not late, f"accesses from before the reset were answered: {late}"
        await works(host, bench, master)


@test()
async def link_down_in_full_flight(dut):
    """RTL gets an answer to everything, SLVERR from then on, and a reset when QEMU is back."""
    host, bench = await start(dut)
    master = bench.master()
    for part in (master.write_if, master.read_if):
        part.log.setLevel("ERROR")
    for _ in range(8):
        host.set(**ROUGH)
        bench.stall_slave(40)
        longest = min(LONG, 4096)
        tasks = [cocotb.start_soon(master.read(BASE + 8192 * n, random.randrange(1, longest)))
                 for n in range(12)]
        tasks += [cocotb.start_soon(master.write(BASE + 8192 * n,
                                                 random_bytes(
                      random.randrange(1, min(LONG, 4096)))))
                  for n in range(12)]
        for n in range(20):
            host.push_write(4 * n, 4, n)
            host.push_read(4 * n, 4)
        await clocks(dut, random.randrange(5, 1500))
        host.push_link(False)
        await host.until(lambda: host.outstanding()[3] == 0)
        await RisingEdge(dut.aclk)
        at = len(host.pull())
        for task in tasks:
            assert (await task).resp in (AxiResp.OKAY, AxiResp.SLVERR)
        assert not int(dut.user_link_up.value)
        assert int(dut.user_resetn.value), "RTL goes on while there is no link"
        assert (await master.read(BASE, 100)).resp == AxiResp.SLVERR
        assert (await master.write(BASE, bytes(100))).resp == AxiResp.SLVERR
        dut.msix_valid.value = 1
        await clocks(dut, 2)
        dut.msix_valid.value = 0
        await clocks(dut, 300)
        assert not host.pull()[at:], f"calls without a link: {host.log[at:]}"
        host.push_link(True)
        await host.until(lambda: not int(dut.user_resetn.value))
        await host.until(lambda: int(dut.user_resetn.value))
        await works(host, bench, master)


@test()
async def late_answers_are_swallowed(dut):
    """RTL answers an access after the link went: neither read nor write is told of."""
    host, bench = await start(dut)
    for write, channel in ((0, bench.slave.read_if.r_channel), (1, bench.slave.write_if.b_channel)):
        channel.pause = True
        if write:
            host.push_write(0x20, 4, 7)
        else:
            host.push_read(0x20, 4)
        await host.until(lambda: host.outstanding()[3] == 0)
        await clocks(dut, 20)
        host.push_link(False)
        await host.until(lambda: host.outstanding()[3] == 0)
        channel.pause = False
        await clocks(dut, 40)
        assert not answers(host)
        host.push_link(True)
        await host.until(lambda: not int(dut.user_resetn.value))
        await host.until(lambda: int(dut.user_resetn.value))
    assert await host.read(0x20, 4) == 7
    host.check()


@test()
async def link_lost_and_back_in_full_flight(dut):
    """QEMU is back before RTL answered anything of the session before."""
    host, bench = await start(dut)
    master = bench.master()
    for _ in range(8):
        host.set(**ROUGH)
        bench.stall_slave(40)
        tasks = traffic(host, master)
        await clocks(dut, random.randrange(5, 600))
        host.push_link(False)
        host.push_link(True)
        await host.until(lambda: host.outstanding()[3] == 0)
        await RisingEdge(dut.aclk)
        answered = set(answers(host))
        for task in tasks:
            task.cancel()
        await host.until(lambda: int(dut.user_resetn.value))
        await clocks(dut, 300)
        assert set(answers(host)) == answered, "the new session got answers of the old one"
        await works(host, bench, master)


@test()
async def aresetn_in_full_flight(dut):
    """A testbench that pulls aresetn: the guest gets errors instead of waiting."""
    host, bench = await start(dut)
    master = bench.master()
    for _ in range(8):
        host.set(**ROUGH)
        bench.stall_slave(40)
        tasks = traffic(host, master)
        await clocks(dut, random.randrange(5, 600))
        dut.aresetn.value = 0
        await clocks(dut, 4)
        for task in tasks:
            task.cancel()
        delivered = {r.tag for r in host.find(DELIVERED)}
        assert delivered <= set(answers(host)), "the guest waits for ever"
        dut.aresetn.value = 1
        bench.stall_slave(0)
        await host.quiet()
        await works(host, bench, master)


@test()
async def aresetn_with_full_windows(dut):
    """As many accesses as fit wait when aresetn comes: each gets its error."""
    host, bench = await start(dut)
    for write, most, channel in (
            (1, MMIO_WRITES + 1, bench.slave.write_if.b_channel),
            (0, MMIO_READS, bench.slave.read_if.r_channel)):
        channel.pause = True
        channel.queue_occupancy_limit = -1
        for n in range(most):
            if write:
                host.push_write(8 * n, 4, n)
            else:
                host.push_read(8 * n, 4)
        await clocks(dut, 20 * most + 100)
        assert host.outstanding()[3] == 0
        assert not answers(host)
        dut.aresetn.value = 0
        await clocks(dut, 4)
        assert list(answers(host).values()) == [1] * most
        host.log.clear()
        dut.aresetn.value = 1
        channel.pause = False
        await host.until(lambda: int(dut.user_resetn.value))
    host.check()


CFG_FLAGS = ("memory_space_enable", "bus_master_enable", "intx_disable", "msix_enable",
             "msix_mask", "extended_tag_enable", "relaxed_ordering_enable", "no_snoop_enable",
             "msi_enable")


def function(dut):
    """What the cfg_ ports show, as Host.push_function takes it."""
    def port(name):
        return int(getattr(dut, "cfg_" + name).value)
    flags = sum(port(name) << bit for bit, name in enumerate(CFG_FLAGS))
    return (flags, port("power_state"), 128 << port("max_payload"), 128 << port("max_read_req"),
            port("requester_id"), port("current_speed"), port("negotiated_width"),
            port("msi_vectors"), port("msi_mask"))


@test()
async def config_space_is_shown(dut):
    """The cfg_ ports follow what the guest sets, through resets and the loss of the link."""
    host, _ = await start(dut)
    assert function(dut) == (0xC0, 0, 128, 512, 0, 1, 1, 1, 0)
    for bit in range(9):
        state = (1 << bit, 3 * (bit & 1), 128 << bit % 6, 4096 >> bit % 6, 0xA5A5 >> bit,
                 1 + bit % 6, (1, 2, 4, 8, 12, 16, 32, 1, 2)[bit], 1 << bit % 6,
                 0xA5A5_5A5A >> bit)
        host.push_function(*state)
        await host.until(lambda: function(dut) == state, text=f"state {state}")
    # What a reset leaves is there before RTL comes out of it.
    host.push_reset(1)
    host.push_function(0xC0, requester_id=0x100)
    await host.until(lambda: not int(dut.user_resetn.value))
    await host.until(lambda: int(dut.user_resetn.value))
    assert function(dut) == (0xC0, 0, 128, 512, 0x100, 1, 1, 1, 0)
    host.push_function(0xC7, requester_id=0x100)
    await host.until(lambda: function(dut)[0] == 0xC7)
    # aresetn is none of the guest's.
    dut.aresetn.value = 0
    await clocks(dut, 3)
    assert function(dut)[0] == 0xC7
    dut.aresetn.value = 1
    host.push_link(False)
    await host.until(lambda: not int(dut.user_link_up.value))
    assert function(dut) == (0xC0, 0, 128, 512, 0, 1, 1, 1, 0), "nobody has enabled anything"
    host.check()


@test()
async def config_space_is_in_order(dut):
    """A change is behind the writes before it and before the accesses after it."""
    host, bench = await start(dut)
    for _ in range(20):
        host.push_function(0)
        await host.until(lambda: function(dut)[0] == 0)
        bench.slave.write_if.aw_channel.pause = True
        bench.slave.write_if.w_channel.pause = True
        # From when it stops, which is not at once.
        await host.until(lambda: not int(dut.m_axi_awready.value)
                         and not int(dut.m_axi_wready.value))
        tags = [host.push_write(0x10, 4, 1)]
        host.push_function(2)
        read = host.push_read(0x20, 4)
        await clocks(dut, random.randrange(20, 60))
        assert function(dut)[0] == 0, "ahead of a write that RTL has not taken"
        assert not host.find(READ_DONE, read)
        bench.slave.write_if.aw_channel.pause = False
        bench.slave.write_if.w_channel.pause = False
        await host.until(lambda: int(dut.m_axi_arvalid.value) or host.find(READ_DONE, read))
        assert function(dut)[0] == 2, "behind a read that came after it"
        await host.quiet()
        assert host.find(WRITE_DONE, tags[0])
    host.check()


@test()
async def power_on_without_a_link(dut):
    """RTL is released from reset although no QEMU is there, and gets SLVERR."""
    host, bench = await start(dut)
    host.push_link(False)
    await host.until(lambda: not int(dut.user_link_up.value))
    dut.aresetn.value = 0
    await clocks(dut, 3)
    dut.aresetn.value = 1
    await clocks(dut, RESET_CLOCKS + 2)
    assert int(dut.user_resetn.value)
    master = bench.master()
    master.read_if.log.setLevel("ERROR")
    assert (await master.read(BASE, 8)).resp == AxiResp.SLVERR
    host.check()
