# SPDX-License-Identifier: Apache-2.0
"""accelerator_pcie4 between a guest (standin) and RTL (cocotbext-pcie's drivers of the block's
streams, which know the layouts of PG213 on their own)."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.handle import Immediate
from cocotb.triggers import RisingEdge, with_timeout
from cocotbext.pcie.core.tlp import CplStatus, TlpType
from cocotbext.pcie.xilinx.us.tlp import ErrorCode
from common import PARAMETERS, test
from pcie4_rtl import Completer, Requester, Streams
from standin import DMA_WRITE, INTX, MSIX, READ_DONE, RESET_DONE, Host

WIDTH = PARAMETERS.get("DataWidth", 256)
RCB = PARAMETERS.get("RcbBytes", 64)
MOST = PARAMETERS.get("CompletionBytes", 0)
PARITY = bool(PARAMETERS.get("Parity", 0))
CLIENT = PARAMETERS.get("EnableClientTag", 1)
FLR = PARAMETERS.get("EnableFlr", 0)
PIN = PARAMETERS.get("IntxPin", 0)
MSIX_VECTORS = PARAMETERS.get("MsixVectors", 0)
IN_RTL = PARAMETERS.get("MsixInRtl", 0)
MSI_VECTORS = PARAMETERS.get("MsiVectors", 0)
REQUESTS = int(os.environ.get("PCIE4_REQUESTS", "0")) or 150

SIZES = {0: 0x1000, 2: 0x10000, 4: 1 << 33}
# Above 4 GiB, so that no half of an address is lost.
BASE = 0x7_1230_0000
HOST_BYTES = 1 << 20

MEMORY, MASTER, MSIX_ON, EXTENDED, MSI_ON = 1, 2, 8, 32, 256
CODES = {128: 0, 256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5}

INPUTS = ("s_axis_cc_tvalid", "s_axis_rq_tvalid", "m_axis_cq_tready", "m_axis_rc_tready",
          "cfg_interrupt_int", "cfg_interrupt_msi_int", "cfg_interrupt_msix_int",
          "cfg_interrupt_msix_address", "cfg_interrupt_msix_data", "cfg_interrupt_msix_vec_pending",
          "cfg_mgmt_read", "cfg_mgmt_write", "cfg_flr_done",
          "cfg_msg_transmit", "cfg_power_state_change_ack", "cfg_fc_sel",
          "cfg_interrupt_msi_select", "cfg_mgmt_function_number", "cfg_mgmt_addr")


class Bench:
    def __init__(self, dut, host, payload, read_request, extended):
        self.dut = dut
        self.host = host
        self.payload = payload
        self.read_request = read_request
        self.streams = Streams(
            dut, dut.sys_clk, dut.user_reset, cq=1 + PARAMETERS.get("CqStraddle", 0),
            cc=1 + PARAMETERS.get("CcStraddle", 0), rq=1 + PARAMETERS.get("RqStraddle", 0),
            rc=PARAMETERS.get("RcStraddle", 1))
        self.completer = Completer(self.streams, dut.sys_clk, SIZES, boundary=RCB, parity=PARITY)
        self.requester = Requester(
            self.streams, dut.sys_clk, told=None if CLIENT else self.told_tags,
            tags=256 if extended else 32, boundary=RCB, parity=PARITY,
            most=min(payload, MOST) if MOST else payload)

    def told_tags(self):
        return [int(getattr(self.dut, f"pcie_rq_tag{port}").value) for port in "01"
                if int(getattr(self.dut, f"pcie_rq_tag_vld{port}").value)]

    async def clocks(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.sys_clk)

    async def pulse(self, name, value=1):
        signal = getattr(self.dut, name)
        signal.value = value
        await RisingEdge(self.dut.sys_clk)
        signal.value = 0

    async def edge(self, name, clocks=200):
        """Waits until it is high at a clock edge."""
        for _ in range(clocks):
            await RisingEdge(self.dut.sys_clk)
            if int(getattr(self.dut, name).value):
                return
        raise AssertionError(f"{name} stays low")


async def start(dut, *, payload=256, read_request=512, flags=MEMORY | MASTER | MSIX_ON | EXTENDED,
                credits=1, function=None, **settings):
    dut.sys_reset.value = Immediate(0)
    dut.sys_clk.value = Immediate(0)
    cocotb.start_soon(Clock(dut.sys_clk, 4, unit="ns").start())
    for _ in range(2):
        await RisingEdge(dut.sys_clk)
    for name in INPUTS:
        getattr(dut, name).value = 0
    dut.pcie_cq_np_req.value = credits
    for _ in range(2):
        await RisingEdge(dut.sys_clk)
    dut.sys_reset.value = 1
    host = Host(dut.sys_clk, base=BASE, size=HOST_BYTES, seed=random.getrandbits(32), **settings)
    bench = Bench(dut, host, payload, read_request, flags & EXTENDED)
    host.push_link(True)
    await host.until(lambda: host.outstanding()[3] == 0, text="link up")
    await RisingEdge(dut.sys_clk)
    await host.until(lambda: int(dut.user_reset.value) == 0, text="user_reset")
    host.push_function(flags, max_payload=payload, max_read_request=read_request,
                       requester_id=0x4200, link_speed=3, link_width=8,
                       **(function or {}))
    await host.quiet()
    await bench.clocks(2)
    return host, bench


@test(skip="StallClocks" not in PARAMETERS)
async def stalls(dut):
    """What nothing moves for is told; run.py looks for it in the log. First of all, since such
    lines are limited and other tests wait for long, too."""
    host, bench = await start(dut)
    host.set(hold=1)
    read = await bench.requester.ask(BASE, 4)
    await bench.clocks(500)
    bench.streams.rc.pause = True
    host.set(hold=0)
    await bench.clocks(500)
    bench.streams.rc.pause = False
    await read.done.wait()
    bench.streams.cq.pause = True
    await bench.clocks(2)
    host.push_write(0, 4, 1)
    await bench.clocks(5)
    read = await bench.requester.ask(BASE, 4)
    await bench.clocks(500)
    bench.streams.cq.pause = False
    await read.done.wait()
    host.check()


@test()
async def configuration(dut):
    host, _ = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x10EE, 0x9038, 0x10EE, 0x0007, 0x058000, 0]
    assert list(config.bar_size) == [SIZES.get(bar, 0) for bar in range(6)]
    assert list(config.bar_flags) == [0, 0, 0, 0, 3, 0]
    assert config.msix[0] == MSIX_VECTORS
    assert config.msix_in_rtl == IN_RTL
    assert config.msi[0] == MSI_VECTORS
    assert list(config.link) == [3, 8]
    assert config.intx_pin == PIN
    assert int(dut.user_lnk_up.value) == 1
    assert int(dut.phy_rdy_out.value) == 1
    host.check()


##########
# CQ, CC #
##########


def access():
    bar = random.choice(tuple(SIZES))
    length = random.choice((1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8))
    size = min(SIZES[bar], 8192)
    # Often where a Dword, the completion boundary or a page ends.
    offset = random.choice((random.randrange(size - length), 64 - random.randrange(1, 9),
                            min(size, 4096) - random.randrange(length, 9),
                            max(0, size - 4096 - random.randrange(1, 9)) % (size - 8)))
    return bar, offset, length


@test()
async def guest_accesses(dut):
    """Every size and alignment, with back-pressure; completions split and out of order."""
    host, bench = await start(dut)
    reads = []

    async def answered():
        for tag, value in reads:
            (done,) = await host.until(lambda t=tag: host.find(READ_DONE, t))
            assert done.status == 0
            assert done.value == value
        reads.clear()

    for stall, shuffle in ((0, False), (60, True), (30, False)):
        bench.streams.stall(stall)
        bench.completer.shuffle = shuffle
        for _ in range(120):
            bar, offset, length = access()
            memory = bench.completer.memory[bar]
            if random.random() < 0.3:
                # The memory may change once they are answered.
                await answered()
                data = random.getrandbits(8 * length)
                await host.write(offset, length, data, bar=bar)
                assert memory[offset:offset + length] == data.to_bytes(length, "little")
            else:
                want = int.from_bytes(memory[offset:offset + length], "little")
                reads.append((host.push_read(offset, length, bar), want))
                if not shuffle or len(reads) == 12:
                    await answered()
        await answered()
    host.check()


@test()
async def writes_in_a_row(dut):
    """A row of writes, which may share beats, comes in its order."""
    host, bench = await start(dut)
    bench.streams.stall(50)
    for n in range(60):
        host.push_write(0x100 + 4 * (n % 7), 4, n, bar=2)
    await host.quiet()
    values = [int.from_bytes(tlp.data, "little") for tlp in bench.completer.seen]
    assert values == list(range(60))
    host.check()


@test()
async def addresses_of_bars(dut):
    """Requests have the address that the guest has given the BAR, from when it is told: what comes
    before has the one before, and a BAR that is not mapped has one that it might have."""
    flags = MEMORY | MASTER | EXTENDED
    host, bench = await start(dut, function={"bars": {0: 0xFE80_1000, 4: 0x38_0000_0000}})

    async def address(bar, offset):
        await host.write(offset, 4, 1, bar=bar)
        return bench.completer.seen[-1].address

    assert await address(0, 0x84) == 0xFE80_1084
    assert await address(4, 0x1_2345_6788) == 0x39_2345_6788
    assert await address(2, 0x10) == 0xA000_0010
    # Read and write, and a write that waits while the BAR moves.
    await host.read(0x10, 4, bar=4)
    assert bench.completer.seen[-1].address == 0x38_0000_0010
    bench.streams.cq.pause = True
    host.push_write(0, 4, 2, bar=0)
    host.push_function(flags, bars={0: 0xC000_0000, 2: 0xFFFF_0000})
    host.push_write(0, 4, 3, bar=0)
    await bench.clocks(50)
    bench.streams.cq.pause = False
    await host.quiet()
    assert [tlp.address for tlp in bench.completer.seen[-2:]] == [0xFE80_1000, 0xC000_0000]
    assert await address(2, 0xFFFC) == 0xFFFF_FFFC
    assert await address(4, 0) == 5 << 44
    # A reset takes the BARs away.
    host.push_reset(2)
    await host.until(lambda: host.find(RESET_DONE))
    host.push_function(flags, bars={2: 0x1234_0000})
    await host.quiet()
    assert await address(2, 4) == 0x1234_0004
    host.check()


@test()
async def address_and_credits(dut):
    """Reads come one for each credit, writes pass them, and the count is shown."""
    host, bench = await start(dut, credits=0)
    await bench.clocks(50)
    assert int(dut.pcie_cq_np_req_count.value) == 0
    tags = [host.push_read(8 * n, 8, bar=4) for n in range(3)]
    await bench.clocks(50)
    assert not bench.completer.seen
    await host.write(0x80, 4, 0x12345678, bar=4)
    assert [tlp.fmt_type for tlp in bench.completer.seen] == [TlpType.MEM_WRITE_64]
    # The BAR has an address, which RTL has to cut off.
    assert bench.completer.seen[0].address == (5 << 44) + 0x80
    for n in range(3):
        await bench.pulse("pcie_cq_np_req")
        await host.until(lambda t=tags[n]: host.find(READ_DONE, t))
        await bench.clocks(50)
        assert len(bench.completer.seen) == n + 2
    # A credit for each part of a read that crosses 4 KiB.
    tag = host.push_read(0xFFC, 8, bar=2)
    await bench.pulse("pcie_cq_np_req")
    await bench.clocks(50)
    assert len(bench.completer.seen) == 5
    assert not host.find(READ_DONE, tag)
    await bench.pulse("pcie_cq_np_req")
    await host.until(lambda: host.find(READ_DONE, tag))
    dut.pcie_cq_np_req.value = 2
    await bench.clocks(10)
    assert 16 <= int(dut.pcie_cq_np_req_count.value) <= 20
    await bench.clocks(20)
    assert int(dut.pcie_cq_np_req_count.value) == 32
    host.check()


@test()
async def completions_that_fail(dut):
    """UR, CA and poison are an error for the guest; so is what a completion may not be."""
    host, bench = await start(dut)
    errors = []

    async def watch():
        while True:
            await RisingEdge(dut.sys_clk)
            if int(dut.cfg_local_error_valid.value):
                errors.append(int(dut.cfg_local_error_out.value))

    cocotb.start_soon(watch())

    def status(value):
        def spoil(cpl):
            cpl.fmt_type = TlpType.CPL
            cpl.length = 0
            cpl.data = bytearray()
            cpl.status = value
            return cpl
        return spoil

    def change(**fields):
        def spoil(cpl):
            for name, value in fields.items():
                setattr(cpl, name, value)
            return cpl
        return spoil

    for spoil, dropped in (
            (status(CplStatus.UR), 0), (status(CplStatus.CA), 0), (change(ep=True), 0),
            (change(byte_count=5), 1), (change(lower_address=4), 1), (change(discontinue=True), 1),
            (change(length=2), 1)):
        errors.clear()
        bench.completer.spoil = spoil
        await host.read(0x10, 4, bar=0, status=1)
        await bench.clocks(4)
        assert errors == [0b10101] * dropped
        want = int.from_bytes(bench.completer.memory[0][0x10:0x14], "little")
        assert await host.read(0x10, 4, bar=0) == want
    # One of a tag that no read has: nobody gets it, and the read its own.
    errors.clear()
    cpl = None

    def keep(one):
        nonlocal cpl
        cpl = one

    bench.completer.spoil = keep
    tag = host.push_read(0x10, 4)
    await host.until(lambda: cpl is not None)
    right, cpl.tag = cpl.tag, 77
    await bench.streams.cc.send(cpl.pack_us_cc())
    await bench.clocks(30)
    assert errors == [0b10101]
    assert not host.find(READ_DONE, tag)
    cpl.tag = right
    await bench.streams.cc.send(cpl.pack_us_cc())
    (done,) = await host.until(lambda: host.find(READ_DONE, tag))
    assert done.status == 0
    assert done.value == want
    host.check()


##########
# RQ, RC #
##########


@test(timeout_time=2000)
async def traffic(dut):
    """Reads and writes of random lengths at random addresses, with back-pressure and a busy
    library, against host memory byte for byte."""
    payload, read_request = random.choice(((128, 128), (256, 512), (1024, 4096), (512, 2048)))
    host, bench = await start(dut, payload=payload, read_request=read_request, delay_max=60,
                              again_percent=10, reorder=1)
    rng = random.Random(random.random())
    # Half of memory is read from, half is written to.
    half = HOST_BYTES // 2
    source = rng.randbytes(half)
    host.write_memory(BASE, source)
    shadow = bytearray(half)
    reads = []
    done = 0
    for n in range(REQUESTS):
        if n % 250 == 0:
            bench.streams.stall(rng.choice((0, 0, 30, 70)))
        write = rng.random() < 0.5
        most = payload if write else read_request
        offset = rng.randrange(half)
        length = rng.choice((rng.randrange(1, 17), rng.randrange(1, most + 1), most))
        # Not across 4 KiB, and with its Dwords within the limit.
        length = min(length, 4096 - offset % 4096, most - offset % 4)
        if write:
            data = rng.randbytes(length)
            await bench.requester.write(BASE + half + offset, data)
            shadow[offset:offset + length] = data
        else:
            reads.append((await bench.requester.ask(BASE + offset, length), offset, length))
        if rng.random() < 0.1:
            await bench.clocks(rng.randrange(30))
        while reads and reads[0][0].done.is_set():
            read, offset, length = reads.pop(0)
            assert read.code == ErrorCode.NORMAL_TERMINATION
            assert read.data == source[offset:offset + length]
            done += 1
    for read, offset, length in reads:
        await with_timeout(read.done.wait(), 1, "ms")
        assert read.data == source[offset:offset + length]
        done += 1
    await bench.streams.rq.wait()
    await host.quiet()
    await bench.clocks(20)
    assert host.read_memory(BASE + half, half) == bytes(shadow)
    assert done > REQUESTS // 3
    assert bench.requester.pieces >= done
    dut._log.info("%d requests, %d completions", REQUESTS, bench.requester.pieces)
    host.check()


@test()
async def every_length_and_alignment(dut):
    """Of a Dword and around it, and at the limits."""
    host, bench = await start(dut, payload=256, read_request=4096)
    data = random.randbytes(8192)
    host.write_memory(BASE, data)
    lengths = [*range(1, 21), 63, 64, 65, 127, 128, 129, 250, 251, 252]
    where = 0x10000
    reads = []
    for length in lengths:
        for offset in range(4):
            addr = where + offset + random.choice((0, 4, 8, 12, 60))
            await bench.requester.write(BASE + addr, data[:length])
            reads.append((await bench.requester.ask(BASE + 0x100 + offset, length), offset, addr))
            where += 1024
            if where > 0x80000:
                where = 0x10000
            read, begin, addr = reads.pop()
            await read.done.wait()
            assert read.data == data[0x100 + begin:0x100 + begin + length]
            await host.quiet()
            got = host.read_memory(BASE + addr - 8, length + 16)
            assert got[8:8 + length] == data[:length], f"{length} at {addr:#x}"
            host.write_memory(BASE + addr - 8, bytes(length + 16))
            assert got[:8] == bytes(8)
            assert got[8 + length:] == bytes(8)
    for length in (4096, 4095, 4093, 2048, 1):
        assert await bench.requester.read(BASE, length) == data[:length]
    assert await bench.requester.read(BASE + 4095, 1) == data[4095:4096]
    host.check()


@test()
async def byte_enables(dut):
    """Those with holes, and none at all."""
    host, bench = await start(dut)
    host.write_memory(BASE, bytes(64))
    tlp = bench.requester.tlp(True, BASE, 4)
    tlp.data = bytearray(b"\x11\x22\x33\x44")
    await bench.requester.send(tlp, first_be=0b1001)
    tlp = bench.requester.tlp(True, BASE + 8, 8)
    tlp.data = bytearray(b"\x11\x22\x33\x44\x55\x66\x77\x88")
    await bench.requester.send(tlp, first_be=0b0101, last_be=0b1010)
    tlp = bench.requester.tlp(True, BASE + 16, 4)
    tlp.data = bytearray(b"\x11\x22\x33\x44")
    seq = await bench.requester.send(tlp, first_be=0)
    await bench.edge("pcie_rq_seq_num_vld0")
    while int(dut.pcie_rq_seq_num0.value) != seq:
        await RisingEdge(dut.sys_clk)
    await host.quiet()
    assert host.read_memory(BASE, 24) == (b"\x11\0\0\x44" + bytes(4) + b"\x11\0\x33\0\0\x66\0\x88" +
                                          bytes(8))
    # A read of nothing, which drivers of hardware use as a flush, has a Dword of no account.
    read = await bench.requester.ask(BASE, 1, first_be=0)
    await read.done.wait()
    assert read.code == ErrorCode.NORMAL_TERMINATION
    host.check()


@test()
async def sequence_numbers(dut):
    """Each request that is sent has its number told, in order."""
    host, bench = await start(dut, again_percent=30)
    told, sent = [], []

    async def watch():
        while True:
            await RisingEdge(dut.sys_clk)
            for port in "01":
                if int(getattr(dut, f"pcie_rq_seq_num_vld{port}").value):
                    told.append(int(getattr(dut, f"pcie_rq_seq_num{port}").value))

    cocotb.start_soon(watch())
    for n in range(100):
        await bench.requester.write(BASE + 8 * n, bytes(8))
        sent.append(bench.requester.seq)
    await host.quiet()
    await bench.streams.rq.wait()
    await bench.clocks(100)
    assert told == sent
    host.check()


@test()
async def refused_requests(dut):
    """What the block does not take is dropped, with an error of its own, and a read has an end."""
    host, bench = await start(dut, payload=128, read_request=256)
    errors = []

    async def watch():
        while True:
            await RisingEdge(dut.sys_clk)
            if int(dut.cfg_local_error_valid.value):
                errors.append(int(dut.cfg_local_error_out.value))

    cocotb.start_soon(watch())
    host.write_memory(BASE, bytes(8192))
    requester = bench.requester
    for addr, length in ((BASE, 132), (BASE, 4096), (BASE + 0xFFC, 8), (BASE + 0xFC0, 128)):
        await requester.write(addr, b"\xee" * length)
    for fields in ({"last_be": 0}, {"first_be": 0}, {"first_be": 0b0101}, {"last_be": 0b1010},
                   {"length": 3}, {"length": 0}, {"discontinue": True}, {"ep": True}):
        tlp = requester.tlp(True, BASE, 16)
        tlp.set_addr_be_data(BASE, b"\xee" * 16)
        await requester.send(tlp, **fields)
    tlp = requester.tlp(True, BASE, 4)
    tlp.set_addr_be_data(BASE, b"\xee" * 4)
    await requester.send(tlp, fmt_type=TlpType.IO_WRITE)
    await bench.streams.rq.wait()
    await bench.clocks(30)
    # Two that end in one beat are one error.
    assert set(errors) == {0b10100}
    assert (len(errors) == 13 or PARAMETERS.get("RqStraddle"))
    errors.clear()
    for addr, length in ((BASE, 260), (BASE + 0xFFC, 8), (BASE + 0xF80, 256)):
        read = await requester.ask(addr, length)
        await read.done.wait()
        assert read.code == ErrorCode.TIMEOUT
    await bench.clocks(5)
    assert set(errors) == {0b10100}
    assert (len(errors) == 3 or PARAMETERS.get("RqStraddle"))
    # All of that has left nothing behind.
    await host.quiet()
    assert host.read_memory(BASE, 8192) == bytes(8192)
    await requester.write(BASE + 64, b"good")
    assert await requester.read(BASE + 64, 4) == b"good"
    host.check()


@test()
async def refused_by_the_host(dut):
    """Unsupported request and completer abort, in the middle of others."""
    host, bench = await start(dut, delay_max=20)
    for status, want in ((1, CplStatus.CA), (2, CplStatus.UR)):
        host.fault(BASE + 0x1000, BASE + 0x2000, status=status, kinds=1)
        reads = [await bench.requester.ask(BASE + 0xF00 + 0x80 * n, 0x80) for n in range(4)]
        for read in reads:
            await read.done.wait()
        assert [read.code for read in reads] == [0, 0, ErrorCode.BAD_STATUS, ErrorCode.BAD_STATUS]
        assert [read.status for read in reads[2:]] == [want] * 2
    # Nobody hears of a write.
    host.fault(BASE, BASE + 0x1000, kinds=2)
    await bench.requester.write(BASE, b"lost")
    await host.quiet()
    host.check()


@test(skip=not CLIENT)
async def more_reads_than_the_library_takes(dut):
    """256 reads at once, of which a library with a host of before protocol 1.5 has 64 under way."""
    host, bench = await start(dut, delay_min=3000, delay_max=4000, most_dma=64)
    host.write_memory(BASE, bytes(range(256)) * 16)
    reads = [await bench.requester.ask(BASE + n, 8) for n in range(256)]
    await host.until(lambda: int(dut.pcie_rq_tag_av.value) == 0)
    assert host.outstanding()[0] == 64
    for n, read in enumerate(reads):
        await read.done.wait()
        assert read.data == bytes((n + i) % 256 for i in range(8))
    host.check()


@test(skip=not CLIENT)
async def all_tags(dut):
    """256 reads at once, all of them under way, and writes beside them; a tag is free with its last
    completion. Without extended tags there are 32."""
    host, bench = await start(dut, delay_min=3000, delay_max=4000)
    host.write_memory(BASE, bytes(range(256)) * 16)
    assert int(dut.pcie_rq_tag_av.value) == 15
    reads = [await bench.requester.ask(BASE + n, 8) for n in range(256)]
    assert not bench.requester.free
    assert not any(r.done.is_set() for r in reads)
    await host.until(lambda: int(dut.pcie_rq_tag_av.value) == 0)
    assert host.outstanding()[0] == 256
    for _ in range(20):
        await bench.requester.write(BASE + 0x2000, b"beside them")
    await host.until(lambda: host.outstanding()[0] == 276)
    assert not any(r.done.is_set() for r in reads)
    for n, read in enumerate(reads):
        await read.done.wait()
        assert read.data == bytes((n + i) % 256 for i in range(8))
    await bench.clocks(5)
    assert int(dut.pcie_rq_tag_av.value) == 15
    # A tag that is in use: the request is dropped.
    first = await bench.requester.ask(BASE, 4)
    await bench.requester.send(bench.requester.tlp(False, BASE + 4, 4), tag=first.tag)
    await first.done.wait()
    assert first.data == bytes(range(4))
    host.push_function(MEMORY | MASTER, max_payload=256)
    await host.quiet()
    read = await bench.requester.ask(BASE, 4)
    while read.tag < 32:
        await read.done.wait()
        assert read.code == ErrorCode.NORMAL_TERMINATION
        read = await bench.requester.ask(BASE, 4)
    await read.done.wait()
    assert read.code == ErrorCode.TIMEOUT
    host.check()


@test(skip=bool(CLIENT))
async def tags_of_the_block(dut):
    """Each read has a tag told; a read waits where there is none, and a write behind it."""
    host, bench = await start(dut, flags=MEMORY | MASTER, delay_min=400, delay_max=500)
    requester = bench.requester
    host.write_memory(BASE, bytes(range(256)) * 16)
    reads = [await requester.ask(BASE + n, 8) for n in range(33)]
    await host.until(lambda: len(requester.open) == 32)
    await requester.write(BASE + 0x1000, b"behind")
    await bench.clocks(200)
    assert len(requester.untold) == 1
    assert not host.find(DMA_WRITE)
    assert int(dut.pcie_rq_tag_av.value) == 0
    for n, read in enumerate(reads):
        await read.done.wait()
        assert read.data == bytes((n + i) % 256 for i in range(8))
    await host.until(lambda: host.find(DMA_WRITE))
    await bench.clocks(5)
    assert int(dut.pcie_rq_tag_av.value) == 15
    host.check()


@test()
async def throughput(dut):
    """A stream of reads of 4 KiB, and one of writes, fill the beats of their streams."""
    host, bench = await start(dut, payload=1024, read_request=4096)
    word = WIDTH // 8
    reads = [await bench.requester.ask(BASE + 0x1000 * n, 4096) for n in range(8)]
    await reads[0].done.wait()
    begin = cocotb.simtime.get_sim_time("ns")
    for read in reads[1:]:
        await read.done.wait()
    clocks = (cocotb.simtime.get_sim_time("ns") - begin) / 4
    most = bench.requester.most
    # Beats of a completion with its descriptor, without straddle.
    beats = 7 * (4096 // most) * -(-(most + 12) // word)
    dut._log.info("%d clocks for %d beats of RC", clocks, beats)
    assert clocks < beats / 0.8 + 20
    begin = cocotb.simtime.get_sim_time("ns")
    for n in range(32):
        await bench.requester.write(BASE + 0x1000 * n, bytes(1024))
    await bench.streams.rq.wait()
    clocks = (cocotb.simtime.get_sim_time("ns") - begin) / 4
    beats = 32 * -(-(1024 + 16) // word)
    dut._log.info("%d clocks for %d beats of RQ", clocks, beats)
    assert clocks < beats / 0.8 + 20
    await host.quiet()
    host.check()


@test()
async def a_read_does_not_overtake(dut):
    """The data of a read is behind writes of the guest that came before it, though RTL takes
    none of these for a while."""
    host, bench = await start(dut)
    bench.streams.cq.pause = True
    await bench.clocks(5)
    host.write_memory(BASE, b"new data")
    host.push_write(0x10, 4, 1, bar=0)
    await bench.clocks(20)
    read = await bench.requester.ask(BASE, 8)
    await bench.clocks(100)
    assert not read.done.is_set()
    assert not bench.completer.seen
    bench.streams.cq.pause = False
    await read.done.wait()
    assert len(bench.completer.seen) == 1
    host.check()


##############
# Interrupts #
##############


@test(skip=not MSIX_VECTORS or IN_RTL)
async def msix(dut):
    """The table is built in: a vector is sent, behind the data that was written before."""
    host, bench = await start(dut, late_writes=1, again_percent=20)
    assert int(dut.cfg_interrupt_msix_enable.value) == 1
    for n in range(MSIX_VECTORS):
        await bench.requester.write(BASE, bytes([n]) * 8)
        await bench.streams.rq.wait()
        await bench.clocks(4)
        dut.cfg_interrupt_msi_int.value = n
        await bench.pulse("cfg_interrupt_msix_int")
        dut.cfg_interrupt_msi_int.value = 0
        await bench.edge("cfg_interrupt_msi_sent")
        assert [r.tag for r in host.find(MSIX)] == list(range(n + 1))
        assert host.read_memory(BASE, 8) == bytes([n]) * 8
    # One that there is not.
    dut.cfg_interrupt_msi_int.value = MSIX_VECTORS
    await bench.pulse("cfg_interrupt_msix_int")
    dut.cfg_interrupt_msi_int.value = 0
    await bench.edge("cfg_interrupt_msi_fail")
    host.push_function(MEMORY | MASTER)
    await host.quiet()
    await bench.pulse("cfg_interrupt_msix_int")
    await bench.edge("cfg_interrupt_msi_fail")
    assert len(host.find(MSIX)) == MSIX_VECTORS
    host.check()


@test(skip=not IN_RTL)
async def msix_in_rtl(dut):
    """The table is RTL's: a message is a write of what it says, behind what was written before."""
    host, bench = await start(dut, late_writes=1, again_percent=20)
    assert int(dut.cfg_interrupt_msix_enable.value) == 1
    sent = []
    for n in range(8):
        await bench.requester.write(BASE, bytes([n]) * 8)
        await bench.streams.rq.wait()
        await bench.clocks(4)
        place, data = BASE + 0x1000 + 4 * n, host.random.getrandbits(32)
        dut.cfg_interrupt_msix_address.value = place
        dut.cfg_interrupt_msix_data.value = data
        await bench.pulse("cfg_interrupt_msix_int")
        dut.cfg_interrupt_msix_address.value = 0
        dut.cfg_interrupt_msix_data.value = 0
        await bench.edge("cfg_interrupt_msi_sent")
        sent += [(BASE, 8), (place, 4)]
        assert [(r.value, r.bytes) for r in host.find(DMA_WRITE)] == sent
        await host.quiet()
        assert host.read_memory(BASE, 8) == bytes([n]) * 8
        assert host.read_memory(place, 4) == data.to_bytes(4, "little")
    assert not host.find(MSIX)
    # No such address, and MSI-X that is off.
    dut.cfg_interrupt_msix_address.value = BASE + 2
    await bench.pulse("cfg_interrupt_msix_int")
    await bench.edge("cfg_interrupt_msi_fail")
    dut.cfg_interrupt_msix_address.value = BASE
    host.push_function(MEMORY | MASTER)
    await host.quiet()
    await bench.pulse("cfg_interrupt_msix_int")
    await bench.edge("cfg_interrupt_msi_fail")
    assert len(host.find(DMA_WRITE)) == len(sent)
    host.check()


@test(skip=not MSIX_VECTORS)
async def an_interrupt_waits_for_the_writes_before_it(dut):
    """Also for those that were taken, and have no room yet."""
    host, bench = await start(dut, most_dma=1, hold=1)
    for n in range(2):
        await bench.requester.write(BASE + 64 * n, bytes(8))
    await bench.streams.rq.wait()
    await bench.clocks(10)
    assert len(host.find(DMA_WRITE)) == 1
    dut.cfg_interrupt_msix_address.value = BASE + 256
    await bench.pulse("cfg_interrupt_msix_int")
    dut.cfg_interrupt_msix_address.value = 0
    await bench.clocks(20)
    host.set(hold=0)
    await bench.edge("cfg_interrupt_msi_sent")
    await host.quiet()
    order = [r.value if r.what == DMA_WRITE else MSIX for r in host.log
             if r.what in (DMA_WRITE, MSIX)]
    assert order == [BASE, BASE + 64, BASE + 256 if IN_RTL else MSIX]
    host.check()


@test(skip=not MSI_VECTORS)
async def msi(dut):
    host, bench = await start(dut, flags=MEMORY | MASTER | MSI_ON,
                              function={"msi_vectors": MSI_VECTORS, "msi_mask": 2})
    assert int(dut.cfg_interrupt_msi_enable.value) == 1
    assert 1 << int(dut.cfg_interrupt_msi_mmenable.value) == MSI_VECTORS
    assert int(dut.cfg_interrupt_msi_data.value) == 2
    for n in range(MSI_VECTORS):
        await bench.pulse("cfg_interrupt_msi_int", 1 << n)
        await bench.edge("cfg_interrupt_msi_sent")
    assert [r.tag for r in host.find(MSIX)] == list(range(MSI_VECTORS))
    await bench.pulse("cfg_interrupt_msi_int", 3)
    await bench.edge("cfg_interrupt_msi_fail")
    host.push_function(MEMORY | MASTER)
    await bench.edge("cfg_interrupt_msi_mask_update")
    await bench.pulse("cfg_interrupt_msi_int", 1)
    await bench.edge("cfg_interrupt_msi_fail")
    host.check()


@test(skip=not PIN)
async def intx(dut):
    host, bench = await start(dut, flags=MEMORY | MASTER)
    for level in (1, 0, 1):
        dut.cfg_interrupt_int.value = level
        await bench.edge("cfg_interrupt_sent")
    assert [r.tag for r in host.find(INTX)] == [1, 0, 1]
    host.check()


##########
# Status #
##########


@test()
async def status(dut):
    host, bench = await start(dut, payload=512, read_request=1024)
    assert int(dut.cfg_max_payload.value) == 2
    assert int(dut.cfg_max_read_req.value) == 3
    assert int(dut.cfg_function_status.value) == 6
    assert int(dut.cfg_function_power_state.value) == 1
    assert int(dut.cfg_current_speed.value) == 2
    assert int(dut.cfg_negotiated_width.value) == 3
    assert int(dut.cfg_phy_link_status.value) == 3
    assert int(dut.cfg_phy_link_down.value) == 0
    assert int(dut.cfg_ltssm_state.value) == 0x10
    assert int(dut.cfg_bus_number.value) == 0x42
    assert int(dut.cfg_rcb_status.value) == int(RCB == 128)
    assert int(dut.cfg_fc_ph.value) == 0x40
    assert int(dut.cfg_fc_npd.value) == 0x400

    async def register(number):
        dut.cfg_mgmt_addr.value = number
        dut.cfg_mgmt_read.value = 1
        await bench.edge("cfg_mgmt_read_write_done")
        dut.cfg_mgmt_read.value = 0
        value = int(dut.cfg_mgmt_read_data.value)
        await bench.clocks(2)
        return value

    assert await register(0) == 0x903810EE
    assert await register(1) == 0x00100006
    assert await register(2) == 0x05800000
    assert [await register(4 + n) & 15 for n in range(6)] == [0, 0, 0, 0, 12, 0]
    assert await register(0x0B) == 0x000710EE
    assert await register(0x1E) == 0x3000 | 1 << 8 | 2 << 5
    assert await register(0x20) >> 16 == 3 | 8 << 4
    assert await register(0x12) & 0xFF == (5 if MSI_VECTORS else 0)
    assert await register(0x18) == ((0x8000 | MSIX_VECTORS - 1) << 16 | 0x7011 if MSIX_VECTORS
                                    else 0)
    assert await register(0x3FF) == 0
    host.push_function(0, power=3, max_payload=128)
    await bench.edge("cfg_power_state_change_interrupt")
    assert int(dut.cfg_function_status.value) == 0
    assert int(dut.cfg_function_power_state.value) == 4
    await bench.pulse("cfg_power_state_change_ack")
    await bench.clocks(2)
    assert int(dut.cfg_power_state_change_interrupt.value) == 0
    host.check()


##########
# Resets #
##########


async def busy(host, bench, reads=6):
    """Much that is under way; returns the reads of RTL."""
    bench.completer.hold = True
    for n in range(3):
        host.push_write(8 * n, 8, n, bar=0)
        host.push_read(8 * n, 4, bar=2)
    under_way = [await bench.requester.ask(BASE + 512 * n, 512) for n in range(reads)]
    await bench.streams.rq.wait()
    return under_way


async def works(host, bench):
    host.set(delay_min=0, delay_max=0)
    host.push_function(MEMORY | MASTER | EXTENDED, max_payload=256)
    await host.quiet()
    bench.completer.hold = False
    host.write_memory(BASE, b"afterwards")
    assert await bench.requester.read(BASE, 10) == b"afterwards"
    await bench.requester.write(BASE + 64, b"written")
    memory = bench.completer.memory[2]
    assert await host.read(0x40, 4, bar=2) == int.from_bytes(memory[0x40:0x44], "little")
    await host.quiet()
    assert host.read_memory(BASE + 64, 7) == b"written"


@test()
@cocotb.parametrize(kind=(2, 3) if FLR else (1, 2, 3), wait=(0, 3, 40, 200))
async def resets(dut, kind, wait):
    """Of the function, of the bus, of the machine, at any time: RTL is reset."""
    host, bench = await start(dut, delay_max=100)
    await busy(host, bench)
    bench.streams.stall(50)
    await bench.clocks(wait)
    host.push_reset(kind)
    await bench.edge("user_reset")
    assert int(dut.cfg_hot_reset_out.value) == int(kind == 2)
    assert int(dut.user_lnk_up.value) == 0
    await host.until(lambda: host.find(RESET_DONE))
    await bench.clocks(3)
    assert int(dut.user_lnk_up.value) == 1
    for name in ("m_axis_cq_tvalid", "m_axis_rc_tvalid", "pcie_rq_seq_num_vld0"):
        assert int(getattr(dut, name).value) == 0
    assert host.outstanding() == (0, 0, 0, 0)
    host.check()


@test()
async def after_a_reset(dut):
    host, bench = await start(dut, delay_min=300, delay_max=300)
    reads = await busy(host, bench)
    await bench.clocks(20)
    host.push_reset(2)
    await bench.edge("user_reset")
    await host.until(lambda: host.find(RESET_DONE))
    # RTL that was reset has forgotten its reads, and what it was asked.
    for read in reads:
        del bench.requester.open[read.tag]
        if CLIENT:
            bench.requester.free.append(read.tag)
    bench.completer.waiting.clear()
    await works(host, bench)
    host.check()


@test(skip=not FLR)
async def function_level_reset(dut):
    """RTL hears of it and ends it: user_reset stays low, and its reads end with an error."""
    host, bench = await start(dut, delay_min=300, delay_max=300)
    reads = await busy(host, bench)
    host.push_reset(1)
    await bench.edge("cfg_flr_in_process")
    for read in reads:
        await read.done.wait()
        assert read.code == ErrorCode.FLR
    # In the middle of it a read ends so at once, and a write is lost.
    await bench.requester.write(BASE, b"lost")
    read = await bench.requester.ask(BASE, 4)
    await read.done.wait()
    assert read.code == ErrorCode.FLR
    await bench.clocks(300)
    assert not host.find(RESET_DONE)
    assert int(dut.user_reset.value) == 0
    await bench.pulse("cfg_flr_done")
    await host.until(lambda: host.find(RESET_DONE))
    await bench.clocks(2)
    assert int(dut.cfg_flr_in_process.value) == 0
    assert host.read_memory(BASE, 4) == bytes(4)
    # What the guest had asked for is not answered to anybody.
    bench.completer.hold = False
    await bench.clocks(100)
    await works(host, bench)
    host.check()


@test()
async def link_lost_and_found(dut):
    host, bench = await start(dut, delay_min=300, delay_max=300)
    reads = await busy(host, bench)
    host.push_link(False)
    for read in reads:
        await read.done.wait()
        assert read.code == ErrorCode.TIMEOUT
    assert int(dut.user_lnk_up.value) == 0
    assert int(dut.user_reset.value) == 0
    read = await bench.requester.ask(BASE, 4)
    await read.done.wait()
    assert read.code == ErrorCode.TIMEOUT
    await bench.requester.write(BASE, b"lost")
    await bench.clocks(50)
    host.push_link(True)
    await bench.edge("user_reset")
    await host.until(lambda: int(dut.user_reset.value) == 0)
    bench.completer.waiting.clear()
    bench.completer.hold = False
    await works(host, bench)
    host.check()


@test()
@cocotb.parametrize(wait=(0, 7, 60, 300))
async def sys_reset_at_any_time(dut, wait):
    """A testbench that pulls it leaves neither data nor a guest that waits."""
    host, bench = await start(dut, delay_max=50)
    await busy(host, bench)
    await bench.clocks(wait)
    dut.sys_reset.value = 0
    await bench.clocks(10)
    await host.until(lambda: host.outstanding()[:3] == (0, 0, 0))
    dut.sys_reset.value = 1
    host.check()
