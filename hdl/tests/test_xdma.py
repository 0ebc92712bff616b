# SPDX-License-Identifier: Apache-2.0
"""accelerator_xdma against a driver's view of PG195, and cocotbext-axi on the card's side."""

import random
import struct
from types import SimpleNamespace

import cocotb
import cocotbext.axi.axi_slave as slave_model
from cocotb.clock import Clock
from cocotb.handle import Immediate
from cocotb.triggers import RisingEdge
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteSlave,
    AxiResp,
    AxiSlave,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
    MemoryRegion,
)
from common import PARAMETERS, pauses, random_bytes, test
from standin import DMA_READ, DMA_WRITE, INTX, MSIX, Host
from xdma_host import (
    ADJACENT,
    ALIGN,
    ALIGNMENTS,
    BUSY,
    C2H,
    C2H_SG,
    CARD_READ_DECODE,
    CARD_READ_SLAVE,
    CARD_WRITE_DECODE,
    CARD_WRITE_SLAVE,
    COMPLETED,
    CONFIG,
    CONTROL,
    CONTROL_CLEAR,
    CONTROL_SET,
    CREDITS,
    D_COMPLETED,
    D_EOP,
    D_STOP,
    DESC_COMPLETED,
    DESC_ERROR,
    DESC_UNSUPPORTED,
    FIRST_HIGH,
    FIRST_LOW,
    H2C,
    H2C_SG,
    IDLE,
    IRQ,
    LENGTH,
    LOG_ALL,
    MAGIC,
    MASK,
    MASK_CLEAR,
    MASK_SET,
    NO_META,
    NON_INC,
    PERF,
    PERF_BEATS,
    PERF_CLOCKS,
    POLL_HIGH,
    POLL_LOW,
    POLL_MODE,
    READ_ERROR,
    RUN,
    SGDMA,
    STATUS,
    STATUS_CLEAR,
    STOPPED,
    UNSUPPORTED,
    WRITE_ERROR,
    Allocator,
    Channel,
    descriptor,
    write_list,
)

WORD = PARAMETERS["DataWidth"] // 8
H2CS = PARAMETERS.get("H2cChannels", 1)
C2HS = PARAMETERS.get("C2hChannels", 1)
STREAM = PARAMETERS.get("Stream", 0)
USERS = PARAMETERS.get("NumUsrIrq", 1)
PIN = PARAMETERS.get("IntxPin", 0)
BURST = PARAMETERS.get("BurstBytes", 512)
AXIL, BYPASS = "AxilBarSize" in PARAMETERS, "BypassBarSize" in PARAMETERS
WIDE = PARAMETERS.get("DmaBarIs64", 0)
AXIL_BAR = 0
DMA_BAR = (2 if WIDE else 1) if AXIL else 0
BYPASS_BAR = DMA_BAR + (2 if WIDE else 1)

# Above 4 GiB, so that no half of an address is lost.
BASE = 0x7_1230_0000
HOST_BYTES = 1 << 22
CARD_BYTES = 1 << 19
# Where the driver's view of a window begins; what is added to it is the translation.
WINDOWS = {0: 0, 1: 1 << 62, 2: 1 << 63}

# What a guest sets that has the card interrupt by messages: of MSI where there is some.
MSI = PARAMETERS.get("MsiVectors", 0)
MESSAGES = {"flags": 2 | 1 << 8, "msi_vectors": MSI} if MSI else {"flags": 2 | 8}


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


    def get(self, address, length):
        return bytes(self.mem[address:address + length])

    def put(self, address, data):
        self.mem[address:address + len(data)] = bytes(data)


class StreamBus(AxiStreamBus):
    """The IP has the number of the channel at the end of a signal's name."""

    def __init__(self, dut, prefix, number):
        self._signals = {"tdata": f"{prefix}_tdata_{number}"}
        self._optional_signals = {n: f"{prefix}_{n}_{number}"
                                  for n in ("tvalid", "tready", "tlast", "tkeep")}
        super().__init__(dut, None)


class Bench:
    def __init__(self, dut, host):
        self.dut = dut
        self.host = host
        self.rng = random.Random(random.random())
        self.alloc = Allocator(BASE, HOST_BYTES)
        args = {"clock": dut.sys_clk, "reset": dut.axi_aresetn, "reset_active_level": False}
        quiet = []
        self.memory = Memory(CARD_BYTES)
        if not STREAM:
            self.card = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), target=self.memory, **args)
            quiet += [self.card.write_if, self.card.read_if]
        else:
            self.sinks = [AxiStreamSink(StreamBus(dut, "m_axis_h2c", n), dut.sys_clk,
                                        dut.axi_aresetn, False) for n in range(H2CS)]
            self.sources = [AxiStreamSource(StreamBus(dut, "s_axis_c2h", n), dut.sys_clk,
                                            dut.axi_aresetn, False) for n in range(C2HS)]
            quiet += self.sinks + self.sources
        self.axil, self.bypass = Memory(1 << 16), Memory(1 << 16)
        if AXIL:
            self.axil_slave = AxiLiteSlave(AxiLiteBus.from_prefix(dut, "m_axil"),
                                           target=self.axil, **args)
            quiet += [self.axil_slave.write_if, self.axil_slave.read_if]
        if BYPASS:
            self.bypass_slave = AxiSlave(AxiBus.from_prefix(dut, "m_axib"), target=self.bypass,
                                         **args)
            quiet += [self.bypass_slave.write_if, self.bypass_slave.read_if]
        for one in quiet:
            one.log.setLevel("ERROR")
        self.h2c = [Channel(host, DMA_BAR, False, n) for n in range(H2CS)]
        self.c2h = [Channel(host, DMA_BAR, True, n) for n in range(C2HS)]

    def stall(self, percent):
        """Random back-pressure on all that is on the card's side."""
        channels = []
        if STREAM:
            channels += self.sinks + self.sources
        else:
            channels += [self.card.write_if.aw_channel, self.card.write_if.w_channel,
                         self.card.write_if.b_channel, self.card.read_if.ar_channel,
                         self.card.read_if.r_channel]
        for one in ([self.axil_slave] if AXIL else []) + ([self.bypass_slave] if BYPASS else []):
            channels += [one.write_if.aw_channel, one.write_if.w_channel, one.write_if.b_channel,
                         one.read_if.ar_channel, one.read_if.r_channel]
        for one in channels:
            one.set_pause_generator(pauses(random.random(), percent))

    async def reg(self, addr, length=4):
        return await self.host.read(addr, length, bar=DMA_BAR)

    def set_reg(self, addr, value, length=4):
        self.host.push_write(addr, length, value, bar=DMA_BAR)

    async def msix(self, on=True):
        """What a guest does that enables messages: each channel and user a vector of its own."""
        self.host.push_function(**(MESSAGES if on else {"flags": 2}))
        for n in range(8):
            self.set_reg(IRQ + 0xA0 + n // 4 * 4 + n % 4, n, 1)
        for n in range(16):
            self.set_reg(IRQ + 0x80 + n, 8 + n, 1)
        self.set_reg(IRQ + 0x14, 0xFF)
        self.set_reg(IRQ + 0x08, 0xFFFF)
        await self.host.quiet()

    def vector(self, channel):
        return channel.number + (H2CS if channel.c2h else 0)

    async def clocks(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.sys_clk)


INPUTS = ([f"{bus}_{n}" for bus in ("m_axi", "m_axib")
           for n in ("awready", "wready", "bvalid", "arready", "rvalid")] +
          [f"m_axil_{n}" for n in ("awready", "wready", "bvalid", "arready", "rvalid")] +
          [f"m_axis_h2c_tready_{n}" for n in range(4)] +
          [f"s_axis_c2h_tvalid_{n}" for n in range(4)] + ["usr_irq_req"])


async def start(dut, **settings):
    dut.sys_rst_n.value = Immediate(0)
    dut.sys_clk.value = Immediate(0)
    cocotb.start_soon(Clock(dut.sys_clk, 4, unit="ns").start())
    for _ in range(2):
        await RisingEdge(dut.sys_clk)
    for name in INPUTS:
        getattr(dut, name).value = 0
    for _ in range(2):
        await RisingEdge(dut.sys_clk)
    dut.sys_rst_n.value = 1
    host = Host(dut.sys_clk, base=BASE, size=HOST_BYTES, seed=random.getrandbits(32), **settings)
    bench = Bench(dut, host)
    await host.connect(dut.axi_aresetn)
    return host, bench


####################
# Identity, ports  #
####################


@test()
async def configuration(dut):
    """BARs and ids as the IP has them."""
    host, _ = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x10EE, 0x9038, 0x10EE, 0x0007, 0x058000, 0]
    sizes = [0] * 6
    if AXIL:
        sizes[AXIL_BAR] = 0x100000
    sizes[DMA_BAR] = 0x10000
    if BYPASS:
        sizes[BYPASS_BAR] = 0x200000
    assert list(config.bar_size) == sizes
    assert [flags & 1 for flags in config.bar_flags] == [
        int(bool(WIDE) and size != 0) for size in sizes]
    assert list(config.msix) == [32, DMA_BAR, 0x8000, DMA_BAR, 0x8FE0]
    assert list(config.link) == [3, 8]
    assert config.intx_pin == PIN
    assert int(dut.user_lnk_up.value) == 1
    assert int(dut.msi_enable.value) == 0
    host.check()


def window(kind, offset):
    """The address that the bridge has for a byte of a BAR."""
    return WINDOWS[kind] + offset


@test(skip=not (AXIL and BYPASS))
async def axil_and_bypass(dut):
    """Every size and alignment of access, with back-pressure, and in turn on both BARs."""
    host, bench = await start(dut)
    bench.stall(40)
    shadow = {1: bytearray(random_bytes(512)), 2: bytearray(random_bytes(512))}
    bench.axil.put(0, bytes(shadow[1]))
    bench.bypass.put(0, bytes(shadow[2]))
    for _ in range(150):
        kind = random.choice((1, 2))
        bar = AXIL_BAR if kind == 1 else BYPASS_BAR
        length = random.choice((1, 2, 3, 4, 4, 4, 5, 7, 8, 8))
        offset = random.randrange(512 - length)
        # A read waits for the writes before it, on the other BAR as well.
        if random.random() < 0.7:
            data = random.getrandbits(8 * length)
            host.push_write(window(kind, offset), length, data, bar=bar)
            shadow[kind][offset:offset + length] = data.to_bytes(length, "little")
        else:
            want = int.from_bytes(shadow[kind][offset:offset + length], "little")
            assert await host.read(window(kind, offset), length, bar=bar) == want
    await host.quiet(100000)
    assert bench.axil.get(0, 512) == bytes(shadow[1])
    assert bench.bypass.get(0, 512) == bytes(shadow[2])
    host.check()


@test(skip=not (AXIL and BYPASS))
async def axil_and_bypass_errors(dut):
    host, bench = await start(dut)
    bench.axil.bad = bench.bypass.bad = 0x44
    for kind, bar in ((1, AXIL_BAR), (2, BYPASS_BAR)):
        assert await host.read(window(kind, 0x44), 4, bar=bar, status=1) is not None
        await host.write(window(kind, 0x44), 4, 0, bar=bar, status=1)
        # The word that is bad has 64 bytes at most.
        await host.read(window(kind, 0x84), 4, bar=bar)
        await host.write(window(kind, 0x84), 4, 0, bar=bar)
        # Half of it is bad.
        await host.read(window(kind, 0x40), 8, bar=bar, status=1)
        await host.write(window(kind, 0x40), 8, 0, bar=bar, status=1)
        await host.read(window(kind, 0x80), 8, bar=bar)
    host.check()


#############
# Registers #
#############


def registers():
    """Address, value after reset, bits that can be written, of every register; None: not looked
    at, since it lives on by itself."""
    for c2h, target, count in ((0, H2C, H2CS), (1, C2H, C2HS)):
        status = 0xF83E7E if c2h else 0xFFFE7E
        for n in range(count):
            regs = target + 0x100 * n
            sg = (C2H_SG if c2h else H2C_SG) + 0x100 * n
            yield regs, 0x1FC00006 | target << 4 | STREAM << 15 | n << 8, 0
            yield regs + CONTROL, 0, 0x0E000000 | status
            yield regs + MASK, 0, status
            yield regs + STATUS, 0, 0
            yield regs + COMPLETED, 0, 0
            yield regs + ALIGNMENTS, 0x00010140, 0
            yield regs + POLL_LOW, 0, 0xFFFFFFFF
            yield regs + POLL_HIGH, 0, 0xFFFFFFFF
            yield regs + PERF, 0, 5
            for reg in (PERF_CLOCKS, PERF_CLOCKS + 4, PERF_BEATS, PERF_BEATS + 4):
                yield regs + reg, 0, 0
            yield sg, 0x1FC00006 | (target >> 12 | 4) << 16 | STREAM << 15 | n << 8, 0
            yield sg + FIRST_LOW, 0, 0xFFFFFFFF
            yield sg + FIRST_HIGH, 0, 0xFFFFFFFF
            yield sg + ADJACENT, 0, 0x3F
            # Without credit mode.
            yield sg + CREDITS, 0, 0
        for n in range(count, 4):
            yield target + 0x100 * n, 0, 0
    users, channels = (1 << USERS) - 1, (1 << H2CS + C2HS) - 1
    yield IRQ, 0x1FC20006, 0
    yield IRQ + 0x04, 0, users
    yield IRQ + 0x10, 0, channels
    for reg in (0x40, 0x44, 0x48, 0x4C):
        yield IRQ + reg, 0, 0
    for reg in (0x80, 0x84, 0x88, 0x8C, 0xA0, 0xA4):
        yield IRQ + reg, 0, 0x1F1F1F1F
    halts = (1 << H2CS) - 1 | ((1 << C2HS) - 1) << 16
    yield CONFIG, 0x1FC30006, 0
    yield CONFIG + 0x10, 0xFF01, 0
    yield CONFIG + 0x14, 0, 0
    yield CONFIG + 0x18, {8: 0, 16: 1, 32: 2, 64: 3}[WORD], 0
    yield CONFIG + 0x1C, 1, 1
    yield CONFIG + 0x60, 0, 0x1F
    yield SGDMA, 0x1FC60006, 0
    yield SGDMA + 0x10, 0, halts
    yield SGDMA + 0x20, 0, halts
    # Nothing is here.
    for addr in (0x7000, 0x6100 + 0x20, 0x2FFC, 0x3FFC, 0x0FFC, IRQ + 0x100, IRQ + 0x20):
        yield addr, 0, 0


# The second address sets bits, the third clears them.
TRIPLES = ([target + 0x100 * n + reg for target, count in ((H2C, H2CS), (C2H, C2HS))
            for n in range(count) for reg in (CONTROL, MASK)] +
           [IRQ + 0x04, IRQ + 0x10, SGDMA + 0x10, SGDMA + 0x20])


@test()
async def every_register(dut):
    """Its value after reset and the bits that can be written, by accesses of every size."""
    host, bench = await start(dut)
    everything = list(registers())
    for addr, value, _ in everything:
        assert await bench.reg(addr) == value, f"{addr:#x} after reset"
    values = {}
    for addr, value, bits in everything:
        # With all but Run.
        data = random.getrandbits(32) & ~(1 if addr & 0xFF == CONTROL and addr < IRQ else 0)
        if addr & 0xFF == PERF:
            data &= ~2
        bench.set_reg(addr, data)
        values[addr] = value & ~bits | data & bits
    for addr, value in values.items():
        if addr & 0xFF in (PERF_CLOCKS, PERF_CLOCKS + 4) and addr < IRQ:
            continue
        want = value
        if addr & 0xFF == ALIGNMENTS and addr < IRQ:
            unit = WORD if values[addr - ALIGNMENTS + CONTROL] & NON_INC else 1
            want = unit << 16 | unit << 8 | 64
        assert await bench.reg(addr) == want, f"{addr:#x} after a write"
    # Bytes, halves, and two at once.
    for addr in (H2C + POLL_LOW, C2H + POLL_HIGH, H2C_SG + FIRST_LOW):
        data = random.getrandbits(32)
        for n in range(4):
            bench.set_reg(addr + n, data >> 8 * n & 0xFF, 1)
        assert await bench.reg(addr) == data
        assert await bench.reg(addr + 2, 2) == data >> 16
        assert await bench.reg(addr + 1, 1) == data >> 8 & 0xFF
    data = random.getrandbits(64)
    bench.set_reg(C2H_SG + FIRST_LOW, data, 8)
    assert await bench.reg(C2H_SG + FIRST_LOW, 8) == data
    assert await bench.reg(C2H_SG + FIRST_HIGH) == data >> 32
    bits = {addr: bits for addr, _, bits in everything}
    for addr in TRIPLES:
        value = values[addr]
        for _ in range(3):
            data = random.getrandbits(32) & ~1
            bench.set_reg(addr + 4, data)
            value |= data & bits[addr]
            assert await bench.reg(addr) == value, f"{addr:#x} after set"
            assert await bench.reg(addr + 4) == value
            assert await bench.reg(addr + 8) == value
            data = random.getrandbits(32)
            bench.set_reg(addr + 8, data)
            value &= ~data
            assert await bench.reg(addr) == value, f"{addr:#x} after clear"
    # FLR: all as it was.
    host.push_reset()
    for addr, value, _ in everything:
        assert await bench.reg(addr) == value, f"{addr:#x} after a reset"
    host.check()


@test()
async def config_block(dut):
    """What the guest sets in config space."""
    host, bench = await start(dut)
    host.push_function(**MESSAGES, max_payload=256, max_read_request=4096, requester_id=0x1234)
    await host.quiet()
    assert await bench.reg(CONFIG + 0x04) == 0x1234
    assert await bench.reg(CONFIG + 0x08) == 1
    assert await bench.reg(CONFIG + 0x0C) == 5
    assert await bench.reg(CONFIG + 0x14) == (1 if MSI else 2)
    assert int(dut.msi_enable.value) == (MSI != 0)
    assert int(dut.msix_enable.value) == (MSI == 0)
    # Of what the user lets be and what there is, the smaller one is in effect.
    assert await bench.reg(CONFIG + 0x40) == 0x15
    bench.set_reg(CONFIG + 0x40, 0)
    assert await bench.reg(CONFIG + 0x40) == 0x00
    assert await bench.reg(CONFIG + 0x44) == 0x55
    bench.set_reg(CONFIG + 0x44, 2)
    assert await bench.reg(CONFIG + 0x44) == 0x22
    host.push_function(2)
    await host.quiet()
    assert await bench.reg(CONFIG + 0x14) == 0
    assert int(dut.msix_enable.value) == 0
    host.check()


#######################
# Data: memory mapped #
#######################


def random_length(rng, most):
    return min(most, rng.choice((
        rng.randrange(1, 2 * WORD + 2), rng.randrange(1, 2 * WORD + 2), rng.randrange(1, 300),
        rng.randrange(1, 3 * BURST), WORD * rng.randrange(1, 9), 4096, BURST)))


def random_moves(bench, count, c2h, longest=4500):
    """Descriptors (length, src, dst, control), all alignments."""
    rng = bench.rng
    moves = []
    for _ in range(count):
        length = random_length(rng, longest)
        host_addr = bench.alloc.take(length, rng.choice((1, WORD, 4096)), rng.randrange(3 * WORD))
        card_addr = rng.randrange(CARD_BYTES - length)
        if rng.random() < 0.3:
            card_addr = card_addr // WORD * WORD
        pair = (card_addr, host_addr) if c2h else (host_addr, card_addr)
        moves.append((length, *pair, rng.choice((0, 0, D_COMPLETED, D_EOP))))
    return moves


def expected_h2c(bench, moves):
    card = bytearray(bench.memory.get(0, CARD_BYTES))
    for length, src, dst, _ in moves:
        card[dst:dst + length] = bench.host.read_memory(src, length)
    return bytes(card)


async def moved(bench, h2c=(), c2h=()):
    """Runs a list on each of these channels at once: [(channel, moves)], and looks at all of the
    card's memory, and at all of the host's."""
    host = bench.host
    for _, moves in h2c:
        for length, src, _, _ in moves:
            host.write_memory(src, host.random.randbytes(length))
    lists = [(channel, moves, write_list(host, bench.alloc, moves, rng=bench.rng))
             for channel, moves in (*h2c, *c2h)]
    card = bench.memory.get(0, CARD_BYTES)
    for _, moves in h2c:
        card = expected_h2c(bench, moves)
    before = host.read_memory(BASE, HOST_BYTES)
    memory = bytearray(before)
    for _, moves in c2h:
        for length, src, dst, _ in moves:
            memory[dst - BASE:dst - BASE + length] = card[src:src + length]
    for channel, _, (first, adjacent) in lists:
        channel.start(first, adjacent)
    for channel, moves, _ in lists:
        status = await channel.idle(20000)
        completed = any(m[3] & D_COMPLETED for m in moves)
        assert status == STOPPED | (DESC_COMPLETED if completed else 0), f"{status:#x}"
        assert await channel.read(COMPLETED) == len(moves)
        await channel.stop()
    await host.quiet()
    if h2c:
        assert bench.memory.get(0, CARD_BYTES) == card, "memory of the card"
    after = host.read_memory(BASE, HOST_BYTES)
    assert after == bytes(memory), "memory of the host"


@test(skip=STREAM)
async def h2c_random(dut):
    host, bench = await start(dut, delay_max=30)
    bench.memory.put(0, random_bytes(CARD_BYTES))
    bench.stall(30)
    await moved(bench, h2c=[(bench.h2c[0], random_moves(bench, 70, False, 1500))])
    host.check()


@test(skip=STREAM)
async def c2h_random(dut):
    host, bench = await start(dut, delay_max=30)
    bench.memory.put(0, random_bytes(CARD_BYTES))
    bench.stall(30)
    await moved(bench, c2h=[(bench.c2h[-1], random_moves(bench, 70, True, 1500))])
    host.check()


@test(skip=STREAM)
async def every_alignment(dut):
    """Every offset of source and destination within a word, both ways."""
    host, bench = await start(dut)
    bench.memory.put(0, random_bytes(CARD_BYTES))
    offsets = range(WORD) if WORD <= 16 else sorted({0, 1, WORD // 2, WORD - 1,
                                                     *random.sample(range(WORD), 6)})
    for channel, c2h in ((bench.h2c[0], False), (bench.c2h[0], True)):
        moves = []
        card = 0
        for src in offsets:
            for dst in offsets:
                length = bench.rng.randrange(1, 3 * WORD)
                host_addr = bench.alloc.take(length, WORD, dst if c2h else src)
                card_addr = card + (src if c2h else dst)
                card += 4 * WORD
                moves.append((length, *((card_addr, host_addr) if c2h
                                        else (host_addr, card_addr)), 0))
        await moved(bench, **{"c2h" if c2h else "h2c": [(channel, moves)]})
    host.check()


@test(skip=STREAM)
async def lengths_up_to_64_kib(dut):
    host, bench = await start(dut)
    bench.memory.put(0, random_bytes(CARD_BYTES))
    for length in (65536, 65536 - 1, 32768 + 3):
        h2c = (length, bench.alloc.take(length, 4096, bench.rng.randrange(4096)),
               bench.rng.randrange(CARD_BYTES - length), 0)
        await moved(bench, h2c=[(bench.h2c[-1], [h2c])])
        c2h = (length, bench.rng.randrange(CARD_BYTES - length),
               bench.alloc.take(length, 4096, bench.rng.randrange(4096)), 0)
        await moved(bench, c2h=[(bench.c2h[0], [c2h])])
    host.check()


@test(skip=STREAM)
async def all_channels_at_once(dut):
    """Each with a list of its own, in parts of the card's memory that lie apart."""
    host, bench = await start(dut, delay_max=60)
    bench.memory.put(0, random_bytes(CARD_BYTES))
    bench.stall(20)
    part = CARD_BYTES // 16
    jobs = {"h2c": [], "c2h": []}
    for channel in bench.h2c + bench.c2h:
        moves = []
        for _ in range(25):
            length = random_length(bench.rng, 1200)
            host_addr = bench.alloc.take(length, 1, bench.rng.randrange(64))
            # What is written by one is read by none.
            slot = channel.number + (8 if channel.c2h else 0)
            card_addr = slot * part + bench.rng.randrange(part - length)
            moves.append((length, *((card_addr, host_addr) if channel.c2h
                                    else (host_addr, card_addr)), 0))
        jobs["c2h" if channel.c2h else "h2c"].append((channel, moves))
    memory = bytearray(bench.memory.get(0, CARD_BYTES))
    lists = []
    for channel, moves in jobs["h2c"] + jobs["c2h"]:
        for length, src, _, _ in moves:
            if not channel.c2h:
                host.write_memory(src, host.random.randbytes(length))
        lists.append((channel, write_list(host, bench.alloc, moves, rng=bench.rng)))
    for _, moves in jobs["h2c"]:
        for length, src, dst, _ in moves:
            memory[dst:dst + length] = host.read_memory(src, length)
    for channel, (first, adjacent) in lists:
        channel.start(first, adjacent)
    for channel, _ in lists:
        assert await channel.idle(20000) == STOPPED
        assert await channel.read(COMPLETED) == 25
    await host.quiet()
    assert bench.memory.get(0, CARD_BYTES) == bytes(memory)
    for _, moves in jobs["c2h"]:
        for length, src, dst, _ in moves:
            assert host.read_memory(dst, length) == bytes(memory[src:src + length])
    host.check()


@test(skip=STREAM)
async def fixed_address(dut):
    """Each beat at the same address, as a FIFO behind m_axi has it."""
    host, bench = await start(dut)
    count = 20
    src = bench.alloc.take(count * WORD, WORD)
    data = random_bytes(count * WORD)
    host.write_memory(src, data)
    seen = []

    async def write(address, chunk, **_):
        seen.append((address, bytes(chunk)))

    async def read(address, length, **_):
        seen.append((address, length))
        return data[(len(seen) - 1) * WORD:][:length]

    bench.memory._write, bench.memory._read = write, read
    first = write_list(host, bench.alloc, [(len(data), src, 0x400, 0)], rng=bench.rng)
    bench.h2c[0].start(*first, LOG_ALL | NON_INC)
    assert await bench.h2c[0].idle() == STOPPED
    assert seen == [(0x400, data[n * WORD:(n + 1) * WORD]) for n in range(count)]
    seen.clear()
    dst = bench.alloc.take(count * WORD, 1, 3)
    first = write_list(host, bench.alloc, [(len(data), 0x800, dst, 0)], rng=bench.rng)
    bench.c2h[0].start(*first, LOG_ALL | NON_INC)
    assert await bench.c2h[0].idle() == STOPPED
    await host.quiet()
    assert seen == [(0x800, WORD)] * count
    assert host.read_memory(dst, len(data)) == data
    # What is not a multiple of the bus cannot be.
    for channel, length, addr in ((bench.h2c[0], WORD, 1), (bench.h2c[0], WORD + 1, 0),
                                  (bench.c2h[0], WORD, 1), (bench.c2h[0], WORD - 1, 0)):
        pair = (addr, dst) if channel.c2h else (src, addr)
        await channel.stop()
        channel.start(*write_list(host, bench.alloc, [(length, *pair, 0)], rng=bench.rng),
                      LOG_ALL | NON_INC)
        assert await channel.idle() == ALIGN
        assert await channel.read(COMPLETED) == 0
    host.check()


##########
# Errors #
##########


async def one_error(bench, channel, first, want, *, control=LOG_ALL, completed=0):
    """A list that ends with an error, and the same channel again after it."""
    await channel.stop()
    channel.start(*first, control)
    status = await channel.idle()
    assert status == want, f"status {status:#x}, not {want:#x}"
    assert await channel.read(COMPLETED) == completed


def harmless(bench, channel):
    """A move of the channel that works."""
    host_addr = bench.alloc.take(64, 64)
    pair = (0x100, host_addr) if channel.c2h else (host_addr, 0x100)
    return (64, *pair, 0)


async def works(bench, channel):
    bench.host.fault(0, 0)
    bench.memory.bad = -1
    await channel.stop()
    channel.start(*write_list(bench.host, bench.alloc, [harmless(bench, channel)] * 3,
                              rng=bench.rng))
    assert await channel.idle() == STOPPED
    assert await channel.read(COMPLETED) == 3


@test(skip=STREAM)
async def bad_descriptors(dut):
    host, bench = await start(dut)
    for channel in (bench.h2c[0], bench.c2h[-1]):
        good = harmless(bench, channel)
        for place in (0, 1, 5):
            # A magic that is not one, whether it is logged or not.
            for control, want in ((LOG_ALL, MAGIC), (LOG_ALL & ~MAGIC, 0)):
                first, adjacent = write_list(host, bench.alloc, [good] * 8, rng=bench.rng, blocks=8)
                host.write_memory(first + 32 * place + 2, struct.pack("<H", 0xAD4A))
                await one_error(bench, channel, (first, adjacent), want, control=control,
                                completed=place)
            # No length: an error if it is to be logged, else nothing is moved.
            moves = [good] * 8
            moves[place] = (0, *good[1:])
            first = write_list(host, bench.alloc, moves, rng=bench.rng)
            await one_error(bench, channel, first, LENGTH, completed=place)
            await one_error(bench, channel, first, STOPPED, control=LOG_ALL & ~LENGTH, completed=8)
        # Memory that is not there: a descriptor, and the second block.
        await one_error(bench, channel, (BASE - 4096, 0), DESC_UNSUPPORTED)
        first = bench.alloc.take(32, 32)
        host.write_memory(first, descriptor(*good, 3, BASE - 0x2000))
        await one_error(bench, channel, (first, 0), DESC_UNSUPPORTED, completed=1)
        # Without a log of it there is no descriptor either.
        await one_error(bench, channel, (first, 0), MAGIC, control=LOG_ALL & ~DESC_ERROR,
                        completed=1)
        await works(bench, channel)
    host.check()


@test(skip=STREAM)
async def host_does_not_answer(dut):
    """Reads of H2C that fail: an error, and from there on nothing is written to the card."""
    host, bench = await start(dut, delay_max=20)
    channel = bench.h2c[0]
    src = bench.alloc.take(8192, 4096)
    host.write_memory(src, b"\x55" * 8192)
    for begin in (0, BURST, 4096 - 4, 8191):
        bench.memory.put(0, b"\xAA" * 0x4000)
        host.fault(src + begin, src + begin + 1, kinds=1)
        first = write_list(host, bench.alloc, [(8192, src, 0x1000, 0), harmless(bench, channel)],
                           rng=bench.rng)
        await one_error(bench, channel, first, UNSUPPORTED)
        card = bench.memory.get(0x1000, 8192)
        written = len(card.rstrip(b"\xAA"))
        assert card == b"\x55" * written + b"\xAA" * (8192 - written)
        assert written <= begin // BURST * BURST, f"{written} bytes of {begin}"
        # Nobody wants to know: it is completed, with anything for data.
        await one_error(bench, channel, first, STOPPED, control=LOG_ALL & ~READ_ERROR, completed=2)
        await works(bench, channel)
    host.check()


@test(skip=STREAM)
async def card_answers_with_errors(dut):
    """SLVERR and DECERR of m_axi, in both directions."""
    host, bench = await start(dut)
    for decode in (False, True):
        slave_model.AxiResp = SimpleNamespace(
            OKAY=AxiResp.OKAY, SLVERR=AxiResp.DECERR if decode else AxiResp.SLVERR)
        try:
            for bad in (0, 700, 4095):
                for channel in (bench.h2c[0], bench.c2h[0]):
                    bench.memory.bad = 0x1000 + bad
                    buffer = bench.alloc.take(4096, 64, 5)
                    host.write_memory(buffer, b"\xAA" * 4096)
                    pair = (0x1000, buffer) if channel.c2h else (buffer, 0x1000)
                    first = write_list(host, bench.alloc,
                                       [(4096, *pair, 0), harmless(bench, channel)], rng=bench.rng)
                    want = {(True, False): CARD_READ_SLAVE, (True, True): CARD_READ_DECODE,
                            (False, False): CARD_WRITE_SLAVE,
                            (False, True): CARD_WRITE_DECODE}[channel.c2h, decode]
                    await one_error(bench, channel, first, want)
                    await one_error(bench, channel, first, STOPPED, completed=2,
                                    control=LOG_ALL & ~(READ_ERROR | WRITE_ERROR))
                    await works(bench, channel)
        finally:
            slave_model.AxiResp = AxiResp
    host.check()


@test(skip=STREAM)
async def writes_that_the_host_refuses(dut):
    """PCI Express has no answer to a write: nothing is known of it here."""
    host, bench = await start(dut)
    channel = bench.c2h[0]
    first = write_list(host, bench.alloc, [(2000, 0, BASE - 0x10000, 0)], rng=bench.rng)
    await one_error(bench, channel, first, STOPPED, completed=1)
    await works(bench, channel)
    host.check()


#######################
# Run, halt, credits  #
#######################


@test(skip=STREAM)
async def run_is_cleared(dut):
    """The descriptor under way is finished, and Run begins at the first one again."""
    host, bench = await start(dut, delay_min=20, delay_max=60)
    channel = bench.h2c[0]
    src = bench.alloc.take(4096, 4096)
    moves = [(512, src, 512 * n, 0) for n in range(60)]
    first = write_list(host, bench.alloc, moves, rng=bench.rng, blocks=20)
    for wait in (0, 50, 333, 1200):
        bench.memory.put(0, bytes(0x8000))
        host.write_memory(src, b"\x77" * 512)
        channel.start(*first)
        await bench.clocks(wait)
        status = await channel.stop()
        done = await channel.read(COMPLETED)
        assert status == IDLE, f"{status:#x}, {done} completed"
        assert done < 60, f"{status:#x}, {done} completed"
        assert bench.memory.get(0, 0x8000) == (b"\x77" * 512 * done).ljust(0x8000, b"\0")
        assert await channel.read(STATUS_CLEAR) == IDLE
        assert await channel.read(STATUS) == 0
    # Set anew while the old list is at work: from the first one on.
    channel.start(*first)
    await bench.clocks(500)
    channel.write(CONTROL_CLEAR, RUN)
    channel.write(CONTROL_SET, RUN)
    assert await channel.idle(20000) == STOPPED
    assert await channel.read(COMPLETED) == 60
    # After the end of a list nothing goes on, with Run still set.
    await bench.clocks(500)
    assert await channel.read(COMPLETED) == 60
    assert await channel.read(CONTROL) & RUN
    # Without ie_idle_stopped nobody is told.
    await channel.stop()
    channel.start(*first, LOG_ALL & ~IDLE)
    await bench.clocks(300)
    assert await channel.stop() == 0
    host.check()


@test(skip=STREAM)
async def status_is_cleared(dut):
    """By a write of ones, by a read at the other address, by Run."""
    host, bench = await start(dut)
    channel = bench.h2c[0]
    first = write_list(host, bench.alloc, [harmless(bench, channel)], rng=bench.rng,
                       last=D_COMPLETED)
    channel.start(*first)
    assert await channel.idle() == STOPPED | DESC_COMPLETED
    channel.write(STATUS, DESC_COMPLETED)
    assert await channel.read(STATUS) == STOPPED
    assert await channel.read(STATUS_CLEAR) == STOPPED
    assert await channel.read(STATUS) == 0
    await channel.stop()
    channel.start(*first, LOG_ALL & ~STOPPED)
    assert await channel.idle() == DESC_COMPLETED
    await channel.stop()
    channel.start(*first, 0)
    assert await channel.idle() == 0
    assert await channel.read(COMPLETED) == 1
    host.check()


@test(skip=STREAM)
async def halt_and_credits(dut):
    """No descriptor is fetched beyond the credits, or while fetching is halted."""
    host, bench = await start(dut)
    for channel, bit in ((bench.h2c[0], 0), (bench.c2h[0], 16)):
        first = write_list(host, bench.alloc, [harmless(bench, channel)] * 40, rng=bench.rng)
        bench.set_reg(SGDMA + 0x24, 1 << bit)
        channel.start(*first)
        total = 0
        for given in (1, 2, 13, 5):
            await bench.clocks(1500)
            assert await channel.read(COMPLETED) == total
            assert await channel.read_list(CREDITS) == 0
            channel.write_list(CREDITS, given)
            total += given
        await bench.clocks(1500)
        assert await channel.read(COMPLETED) == total
        assert await channel.read(STATUS) == BUSY
        channel.write_list(CREDITS, 1000)
        assert await channel.idle() == STOPPED
        assert await channel.read(COMPLETED) == 40
        # Those that are left are gone when Run falls.
        assert await channel.read_list(CREDITS) == 1000 - (40 - total)
        await channel.stop()
        assert await channel.read_list(CREDITS) == 0
        bench.set_reg(SGDMA + 0x28, 1 << bit)

        bench.set_reg(SGDMA + 0x14, 1 << bit)
        reads = len(host.find(DMA_READ))
        channel.start(*first)
        await bench.clocks(400)
        assert await channel.read(STATUS) == BUSY
        assert len(host.find(DMA_READ)) == reads
        bench.set_reg(SGDMA + 0x18, 1 << bit)
        assert await channel.idle() == STOPPED
        assert await channel.read(COMPLETED) == 40
        await channel.stop()
    host.check()


@test(skip=STREAM)
async def endless_list(dut):
    """A ring without Stop goes on until Run falls."""
    host, bench = await start(dut)
    channel = bench.h2c[0]
    first = bench.alloc.take(32 * 3, 4096)
    src = bench.alloc.take(64, 64)
    host.write_memory(first, b"".join(
        descriptor(64, src, 64 * n, D_COMPLETED, 2, first) for n in range(3)))
    channel.start(first, 2)
    await bench.clocks(4000)
    status = await channel.stop()
    done = await channel.read(COMPLETED)
    assert status == IDLE | DESC_COMPLETED, f"{status:#x}, {done}"
    assert done > 20, f"{status:#x}, {done}"
    host.check()


@test(skip=STREAM)
async def performance(dut):
    host, bench = await start(dut)
    channel = bench.h2c[0]
    src = bench.alloc.take(4096, 4096)
    first = write_list(host, bench.alloc, [(4096, src, 0, 0)], rng=bench.rng)
    for auto in (0, 1):
        channel.write(PERF, 2)
        channel.write(PERF, 4 | auto)
        assert await channel.read(PERF_CLOCKS) == 0
        for times in (1, 2):
            channel.start(*first)
            assert await channel.idle() == STOPPED
            await channel.stop()
            beats = await channel.read(PERF_BEATS)
            assert beats == 4096 // WORD * (1 if auto else times)
            clocks = await channel.read(PERF_CLOCKS)
            assert clocks >= beats
    channel.write(PERF, 0)
    channel.start(*first)
    assert await channel.idle() == STOPPED
    assert await channel.read(PERF_BEATS) == beats
    host.check()


#########################
# Poll mode, interrupts #
#########################


@test(skip=STREAM)
async def poll_mode(dut):
    """The count goes to the host behind the data, for descriptors with Completed, and with
    errors."""
    host, bench = await start(dut, late_writes=1)
    for channel in (bench.h2c[0], bench.c2h[0]):
        place = bench.alloc.take(64, 64, 4 * bench.rng.randrange(8))
        host.write_memory(place - place % 64, b"\xCC" * 64)
        channel.write(POLL_LOW, place & 0xFFFFFFFF)
        channel.write(POLL_HIGH, place >> 32)
        moves = [harmless(bench, channel) for _ in range(10)]
        moves[3] = (*moves[3][:3], D_COMPLETED)
        moves[9] = (*moves[9][:3], D_COMPLETED)
        first, adjacent = write_list(host, bench.alloc, moves, rng=bench.rng, blocks=10)
        seen = len(host.find(DMA_WRITE))
        channel.start(first, adjacent, LOG_ALL & ~DESC_COMPLETED | POLL_MODE)
        await host.until(lambda: struct.unpack("<I", host.read_memory(place, 4))[0] == 10)
        backs = [r.value for r in host.find(DMA_WRITE)[seen:] if r.value == place]
        assert len(backs) == 2
        assert host.read_memory(place - place % 64, 64) == (
            b"\xCC" * (place % 64) + b"\x0A\0\0\0").ljust(64, b"\xCC")
        await channel.idle()
        # An error is told as well.
        await channel.stop()
        host.write_memory(first + 32 * 6 + 2, b"\0\0")
        channel.start(first, adjacent, LOG_ALL | POLL_MODE)
        await host.until(
            lambda: struct.unpack("<I", host.read_memory(place, 4))[0] == 1 << 31 | 6)
        assert await channel.idle() == MAGIC | DESC_COMPLETED
        await channel.stop()
    host.check()


@test(skip=STREAM)
async def channel_interrupts(dut):
    """Each channel has its own vector, its message comes behind its data, and again only after
    the status fell."""
    host, bench = await start(dut, delay_max=10)
    await bench.msix()
    bench.memory.put(0, random_bytes(4096))
    for channel in bench.h2c + bench.c2h:
        vector = bench.vector(channel)
        channel.write(MASK_SET, LOG_ALL)
        first = write_list(host, bench.alloc, [harmless(bench, channel)] * 3, rng=bench.rng)
        for _ in range(3):
            before = len(host.find(MSIX))
            channel.start(*first)
            await host.until(lambda: len(host.find(MSIX)) > before)
            assert host.find(MSIX)[-1].tag == vector
            if channel.c2h:
                writes = [i for i, r in enumerate(host.pull()) if r.what == DMA_WRITE]
                (interrupt,) = [i for i, r in enumerate(host.log) if r is host.find(MSIX)[-1]]
                assert writes[-1] < interrupt
            bit = 1 << vector
            assert await bench.reg(IRQ + 0x44) == bit
            assert await bench.reg(IRQ + 0x4C) == bit
            assert await channel.read(STATUS_CLEAR) == STOPPED
            assert await bench.reg(IRQ + 0x44) == 0
            assert await bench.reg(IRQ + 0x4C) == 0
            await channel.stop()
            await channel.read(STATUS_CLEAR)
            await host.quiet()
            # One for the end of the list, one for Idle.
            assert len(host.find(MSIX)) - before <= 2
    host.check()


@test(skip=STREAM)
async def interrupt_masks(dut):
    """What is masked waits: in the channel, in the IRQ block, and without MSI-X."""
    host, bench = await start(dut)
    channel = bench.h2c[0]
    first = write_list(host, bench.alloc, [harmless(bench, channel)], rng=bench.rng)

    async def again():
        await channel.stop()
        await channel.read(STATUS_CLEAR)
        before = len(host.find(MSIX))
        channel.start(*first)
        assert await channel.idle() == STOPPED
        await bench.clocks(100)
        return before, len(host.find(MSIX))

    await bench.msix()
    before, now = await again()
    assert before == now, "no bit of the channel is enabled"
    channel.write(MASK_SET, STOPPED)
    await host.until(lambda: len(host.find(MSIX)) == now + 1)
    # A driver masks in its handler and lets it through after its work: what is there comes again.
    channel.write(MASK_CLEAR, STOPPED)
    channel.write(MASK_SET, STOPPED)
    await host.until(lambda: len(host.find(MSIX)) == now + 2)
    bench.set_reg(IRQ + 0x18, 1)
    before, now = await again()
    assert before == now
    assert await bench.reg(IRQ + 0x44) == 0
    bench.set_reg(IRQ + 0x14, 1)
    await host.until(lambda: len(host.find(MSIX)) == now + 1)
    host.push_function(2)
    await host.quiet()
    before, now = await again()
    if not PIN:
        assert before == now
        host.push_function(**MESSAGES)
        await host.until(lambda: len(host.find(MSIX)) == now + 1)
    host.check()


@test(skip=STREAM)
async def clear_and_event_at_once(dut):
    """A driver that clears the status by reading it, at any time, loses no interrupt."""
    host, bench = await start(dut)
    await bench.msix()
    channel = bench.h2c[0]
    channel.write(MASK_SET, DESC_COMPLETED | STOPPED)
    first = bench.alloc.take(32 * 40, 4096)
    src = bench.alloc.take(64, 64)
    host.write_memory(first, b"".join(
        descriptor(8, src, 64, D_COMPLETED | (D_STOP if n == 39 else 0)) for n in range(40)))
    # A handler that reads until there is nothing more: it must be called for what came after.
    for wait in range(12):
        channel.start(first, 39)
        taken = 0
        got = 0
        while not got & STOPPED:
            await host.until(lambda: len(host.find(MSIX)) > taken, text="an interrupt")
            taken = len(host.find(MSIX))
            await bench.clocks(wait)
            got = await channel.read(STATUS_CLEAR)
        await channel.idle()
        await channel.stop()
        await channel.read(STATUS_CLEAR)
        await host.quiet()
    host.check()


async def acknowledged(bench, bit, text):
    """Waits for usr_irq_ack of a bit, and sees that it lasts a clock."""
    for _ in range(300):
        await RisingEdge(bench.dut.sys_clk)
        if int(bench.dut.usr_irq_ack.value) >> bit & 1:
            await RisingEdge(bench.dut.sys_clk)
            assert not int(bench.dut.usr_irq_ack.value) >> bit & 1
            return
    raise AssertionError(f"no usr_irq_ack[{bit}]: {text}")


async def not_acknowledged(bench, clocks=100):
    for _ in range(clocks):
        await RisingEdge(bench.dut.sys_clk)
        assert int(bench.dut.usr_irq_ack.value) == 0


@test()
async def user_interrupts(dut):
    """A request gets one message and one acknowledgement, and is pending until it falls."""
    host, bench = await start(dut)
    await bench.msix()
    for bit in range(USERS):
        for _ in range(2):
            before = len(host.find(MSIX))
            dut.usr_irq_req.value = 1 << bit
            await acknowledged(bench, bit, "for the message")
            await host.until(lambda: len(host.find(MSIX)) == before + 1)
            assert host.find(MSIX)[-1].tag == 8 + bit
            assert await bench.reg(IRQ + 0x40) == 1 << bit
            assert await bench.reg(IRQ + 0x48) == 1 << bit
            await not_acknowledged(bench)
            assert len(host.find(MSIX)) == before + 1
            dut.usr_irq_req.value = 0
            await not_acknowledged(bench, 20)
            assert await bench.reg(IRQ + 0x48) == 0
    # All at once.
    before = len(host.find(MSIX))
    acks = 0
    dut.usr_irq_req.value = (1 << USERS) - 1
    for _ in range(200):
        await RisingEdge(dut.sys_clk)
        now = int(dut.usr_irq_ack.value)
        assert not acks & now, "twice"
        acks |= now
    assert acks == (1 << USERS) - 1
    await host.quiet()
    assert sorted(r.tag for r in host.find(MSIX)[before:]) == [8 + n for n in range(USERS)]
    dut.usr_irq_req.value = 0
    await bench.clocks(5)
    # Masked ones wait.
    bench.set_reg(IRQ + 0x0C, 1)
    await host.quiet()
    before = len(host.find(MSIX))
    dut.usr_irq_req.value = 1
    await not_acknowledged(bench)
    assert await bench.reg(IRQ + 0x40) == 0
    assert len(host.find(MSIX)) == before
    bench.set_reg(IRQ + 0x08, 1)
    await host.until(lambda: len(host.find(MSIX)) == before + 1)
    # And so does what comes before the guest has enabled MSI-X.
    dut.usr_irq_req.value = 0
    await bench.clocks(5)
    if not PIN:
        host.push_function(2)
        await host.quiet()
        dut.usr_irq_req.value = 1
        await not_acknowledged(bench)
        host.push_function(**MESSAGES)
        await host.until(lambda: len(host.find(MSIX)) == before + 2)
    dut.usr_irq_req.value = 0
    await bench.clocks(5)
    host.check()


@test(skip=not PIN)
async def legacy_interrupts(dut):
    """The pin has the level of all requests; an acknowledgement for each of its ends."""
    host, bench = await start(dut)
    await bench.msix(on=False)
    for bit in range(USERS):
        before = len(host.find(INTX))
        dut.usr_irq_req.value = 1 << bit
        await acknowledged(bench, bit, "for the assertion")
        await host.until(lambda: len(host.find(INTX)) == before + 1)
        assert host.find(INTX)[-1].value == 1 or host.find(INTX)[-1].tag == 1
        await not_acknowledged(bench, 50)
        dut.usr_irq_req.value = 0
        await acknowledged(bench, bit, "for the end")
        await host.until(lambda: len(host.find(INTX)) == before + 2)
        await not_acknowledged(bench, 50)
    assert not host.find(MSIX)
    host.check()


###########
# Streams #
###########


def packets(bench, count, longest):
    return [random_bytes(random_length(bench.rng, longest)) for _ in range(count)]


@test(skip=not STREAM)
async def h2c_stream(dut):
    """Packets of one descriptor and of several, from every alignment."""
    host, bench = await start(dut, delay_max=30)
    bench.stall(30)
    channel = bench.h2c[-1]
    sink = bench.sinks[-1]
    moves, want = [], []
    for data in packets(bench, 25, 1500):
        parts = bench.rng.choice((1, 1, 2, 3))
        at = 0
        while at < len(data):
            # Each descriptor begins a beat: but for the last of a packet they are whole beats.
            length = len(data) - at
            if parts > 1:
                parts -= 1
                length = min(length, max(WORD, length // 2 // WORD * WORD))
            addr = bench.alloc.take(length, WORD, bench.rng.randrange(WORD))
            host.write_memory(addr, data[at:at + length])
            at += length
            moves.append((length, addr, bench.rng.getrandbits(64), D_EOP if at == len(data) else 0))
        want.append(data)
    channel.start(*write_list(host, bench.alloc, moves, rng=bench.rng))
    for data in want:
        frame = await sink.recv()
        assert bytes(frame.tdata) == data
    assert await channel.idle(20000) == STOPPED
    assert await channel.read(COMPLETED) == len(moves)
    assert sink.empty()
    host.check()


def metas(host, results, count):
    return [struct.unpack("<II", host.read_memory(results + 32 * n, 8)) for n in range(count)]


@test(skip=not STREAM)
async def c2h_stream(dut):
    """Packets fill descriptors; each tells its length and whether a packet ends with it."""
    host, bench = await start(dut, delay_max=30, late_writes=1)
    bench.stall(30)
    channel, source = bench.c2h[-1], bench.sources[-1]
    size = 64 * bench.rng.randrange(1, 9)
    data = packets(bench, 25, 1500)
    pieces = [piece for one in data for piece in
              [(one[at:at + size], at + size >= len(one)) for at in range(0, len(one), size)]]
    results = bench.alloc.take(32 * len(pieces), 4096)
    host.write_memory(results, b"\xCC" * 32 * len(pieces))
    moves = [(size, results + 32 * n, bench.alloc.take(size, 64, bench.rng.randrange(64)), 0)
             for n in range(len(pieces))]
    for _, _, dst, _ in moves:
        host.write_memory(dst, b"\xEE" * size)
    channel.start(*write_list(host, bench.alloc, moves, rng=bench.rng))
    for one in data:
        await source.send(AxiStreamFrame(one))
    assert await channel.idle(20000) == STOPPED
    await host.quiet()
    for n, ((piece, eop), (_, _, dst, _)) in enumerate(zip(pieces, moves, strict=True)):
        assert metas(host, results, n + 1)[n] == (0x52B4 << 16 | int(eop), len(piece)), n
        assert host.read_memory(results + 32 * n + 8, 24) == b"\xCC" * 24
        assert host.read_memory(dst, size) == piece + b"\xEE" * (size - len(piece)), n
    assert await channel.read(COMPLETED) == len(pieces)
    # Without the results.
    await channel.stop()
    host.write_memory(results, b"\xCC" * 32)
    channel.start(*write_list(host, bench.alloc, moves[:1], rng=bench.rng), LOG_ALL | NO_META)
    await source.send(AxiStreamFrame(b"\x31" * WORD))
    assert await channel.idle(20000) == STOPPED
    await host.quiet()
    assert host.read_memory(results, 32) == b"\xCC" * 32
    assert host.read_memory(moves[0][2], WORD) == b"\x31" * WORD
    host.check()


@test(skip=not STREAM)
async def c2h_stream_waits_for_a_descriptor(dut):
    """Without one nothing is taken, and without a beat Run can end it."""
    host, bench = await start(dut)
    channel, source = bench.c2h[0], bench.sources[0]
    await source.send(AxiStreamFrame(b"\x42" * WORD * 4))
    await bench.clocks(200)
    assert not int(dut.s_axis_c2h_tready_0.value)
    dst, results = bench.alloc.take(4096, 64), bench.alloc.take(32, 32)
    first = write_list(host, bench.alloc, [(4096, results, dst, 0)], rng=bench.rng)
    channel.start(*first)
    assert await channel.idle() == STOPPED
    await host.quiet()
    assert metas(host, results, 1) == [(0x52B4 << 16 | 1, WORD * 4)]
    assert host.read_memory(dst, WORD * 4) == b"\x42" * WORD * 4
    await channel.stop()
    channel.start(*first)
    await bench.clocks(300)
    assert await channel.read(STATUS) == BUSY
    assert await channel.stop() == IDLE
    assert await channel.read(COMPLETED) == 0
    # What comes after that waits for the next one.
    await source.send(AxiStreamFrame(b"\x43" * 3))
    await bench.clocks(100)
    channel.start(*first)
    assert await channel.idle() == STOPPED
    await host.quiet()
    assert metas(host, results, 1) == [(0x52B4 << 16 | 1, 3)]
    # A length that is no multiple of the bus.
    await channel.stop()
    channel.start(*write_list(host, bench.alloc, [(WORD + 1, results, dst, 0)], rng=bench.rng))
    assert await channel.idle() == LENGTH
    host.check()


@test(skip=not STREAM)
async def stream_loop(dut):
    """All channels at once, each H2C with its C2H behind it: nobody waits for another one's
    beats. The card's side waits now and then."""
    host, bench = await start(dut, delay_max=30)
    pairs = min(H2CS, C2HS)
    jobs = []
    for n in range(pairs):
        data = random_bytes(6000)
        src, dst = bench.alloc.take(6000, 1, 1 + n), bench.alloc.take(6016, 64, 3 * n)
        results = bench.alloc.take(32, 32)
        host.write_memory(src, data)
        # The last one is stuck until the others are done.
        if n == pairs - 1 and pairs > 1:
            bench.sinks[n].pause = True
        bench.h2c[n].start(*write_list(host, bench.alloc, [(6000, src, 0, D_EOP)], rng=bench.rng))
        bench.c2h[n].start(*write_list(host, bench.alloc, [(6016 // 64 * 64, results, dst, 0)],
                                       rng=bench.rng))
        jobs.append((n, data, dst, results))
    for n, data, dst, results in jobs:
        bench.sinks[n].pause = False
        frame = await bench.sinks[n].recv()
        await bench.sources[n].send(frame)
        assert await bench.c2h[n].idle(20000) == STOPPED
        assert await bench.h2c[n].idle(20000) == STOPPED
        await host.quiet()
        assert metas(host, results, 1) == [(0x52B4 << 16 | 1, 6000)]
        assert host.read_memory(dst, 6000) == data
    host.check()


@test(skip=not STREAM)
async def stream_read_fails(dut):
    """The host does not answer: an error, and no beat of what is not there."""
    host, bench = await start(dut)
    channel = bench.h2c[0]
    src = bench.alloc.take(4096, 4096)
    host.write_memory(src, b"\x55" * 4096)
    host.fault(src + 2048, src + 2049, kinds=1)
    channel.start(*write_list(host, bench.alloc, [(4096, src, 0, D_EOP)], rng=bench.rng))
    assert await channel.idle() == UNSUPPORTED
    assert bench.sinks[0].empty()
    host.fault(0, 0)
    await channel.stop()
    channel.start(*write_list(host, bench.alloc, [(64, src, 0, D_EOP)], rng=bench.rng))
    assert await channel.idle() == STOPPED
    frame = await bench.sinks[0].recv()
    assert bytes(frame.tdata[-64:]) == b"\x55" * 64
    host.check()


#########
# Reset #
#########


@test(skip=STREAM)
async def function_reset_at_any_time(dut):
    """A reset by the guest with all channels at work; then all of it again."""
    host, bench = await start(dut, delay_max=30)
    src = bench.alloc.take(4096, 4096)
    for wait in range(0, 900, 101):
        for channel in bench.h2c + bench.c2h:
            pair = (0x100, src) if channel.c2h else (src, 0x100)
            channel.start(*write_list(host, bench.alloc, [(700, *pair, 0)] * 10, rng=bench.rng))
        await bench.clocks(wait)
        host.push_reset()
        for channel in bench.h2c + bench.c2h:
            assert await channel.read(CONTROL) == 0
            assert await channel.read(STATUS) == 0
            assert await channel.read(COMPLETED) == 0
        # What the model of the card has begun is over as well.
        await host.quiet()
    for channel in bench.h2c + bench.c2h:
        await works(bench, channel)
    host.check()
