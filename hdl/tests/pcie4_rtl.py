# SPDX-License-Identifier: Apache-2.0
"""The RTL's side of the UltraScale+ block, for the tests: cocotbext-pcie's drivers of the four
streams, a completer with memory, and a requester that checks what it gets."""

import random

import cocotb
from cocotb.triggers import Event, RisingEdge
from cocotbext.axi import AxiStreamBus
from cocotbext.pcie.core.tlp import CplStatus, TlpType
from cocotbext.pcie.core.utils import PcieId
from cocotbext.pcie.xilinx.us.interface import CcSource, CqSink, RcSink, RqSource
from cocotbext.pcie.xilinx.us.tlp import ErrorCode, Tlp_us
from common import pauses


class Streams:
    """The four streams of a block."""

    def __init__(self, dut, clock, reset, *, cq=1, cc=1, rq=1, rc=1):
        self.cq = CqSink(AxiStreamBus.from_prefix(dut, "m_axis_cq"), clock, reset, segments=cq)
        self.cc = CcSource(AxiStreamBus.from_prefix(dut, "s_axis_cc"), clock, reset, segments=cc)
        self.rq = RqSource(AxiStreamBus.from_prefix(dut, "s_axis_rq"), clock, reset, segments=rq)
        self.rc = RcSink(AxiStreamBus.from_prefix(dut, "m_axis_rc"), clock, reset, segments=rc)
        for one in (self.cq, self.cc, self.rq, self.rc):
            one.log.setLevel("ERROR")

    def stall(self, percent):
        """Random back-pressure. What RTL sends has no gaps inside of a TLP: PG213 forbids them."""
        for one in (self.cq, self.rc):
            one.set_pause_generator(pauses(random.random(), percent))


class Completer:
    """Memory behind the BARs. It splits completions at `boundary`, and answers reads in any order
    if it is to."""

    def __init__(self, streams, clock, sizes, *, boundary=64, parity=False):
        self.streams = streams
        self.clock = clock
        self.sizes = sizes
        self.boundary = boundary
        self.parity = parity
        self.memory = {bar: bytearray(random.randbytes(8192)) for bar, size in sizes.items()
                       if size}
        self.seen = []  # TLPs, in their order
        self.waiting = []
        # Reads are answered: in order, later in any order, or not.
        self.hold = False
        self.shuffle = False
        self.split = True
        # What becomes of the next completion, once.
        self.spoil = None
        cocotb.start_soon(self._run())
        cocotb.start_soon(self._answer())

    async def _run(self):
        while True:
            tlp = Tlp_us.unpack_us_cq(await self.streams.cq.recv(), self.parity)
            self.seen.append(tlp)
            size = self.sizes[tlp.bar_id]
            assert 1 << tlp.bar_aperture == size, f"aperture {tlp.bar_aperture} of BAR {tlp.bar_id}"
            assert int(tlp.completer_id) == 0
            assert int(tlp.requester_id) == 0
            assert 1 <= tlp.length <= 3
            assert tlp.address % 4096 + 4 * tlp.length <= 4096
            offset = tlp.address % size
            if tlp.fmt_type in (TlpType.MEM_WRITE, TlpType.MEM_WRITE_64):
                assert len(tlp.data) == 4 * tlp.length
                enables = [tlp.first_be] + [15] * (tlp.length - 2)
                enables += [tlp.last_be] * (tlp.length > 1)
                for i, byte in enumerate(tlp.data):
                    if enables[i // 4] >> i % 4 & 1:
                        self.memory[tlp.bar_id][offset % 8192 + i] = byte
            else:
                assert tlp.fmt_type in (TlpType.MEM_READ, TlpType.MEM_READ_64)
                assert not tlp.data
                self.waiting.append(tlp)

    async def _answer(self):
        while True:
            await RisingEdge(self.clock)
            if not self.waiting or self.hold or (self.shuffle and random.random() < 0.7):
                continue
            at = random.randrange(len(self.waiting)) if self.shuffle else 0
            await self.complete(self.waiting.pop(at))

    async def complete(self, request):
        first = request.address % self.sizes[request.bar_id] % 8192
        begin = first + request.get_first_be_offset()
        end = begin + request.get_be_byte_count()
        at = begin
        while at < end:
            until = end
            if self.split:
                until = min(end, (at // self.boundary + 1) * self.boundary)
            cpl = Tlp_us.create_completion_data_for_tlp(request, PcieId(0, 0, 0))
            cpl.byte_count = end - at
            cpl.lower_address = at & 0x7F
            data = self.memory[request.bar_id][at & ~3:until + -until % 4]
            cpl.set_data(data)
            at = until
            if self.spoil is not None:
                spoil, self.spoil = self.spoil, None
                cpl = spoil(cpl)
                at = end
                if cpl is None:
                    return
            await self.streams.cc.send(cpl.pack_us_cc())


class Requester:
    """Reads and writes of host memory, with every completion held against its request. With `told`,
    which returns at a clock edge the tags that the block tells then, tags are the block's."""

    def __init__(self, streams, clock, *, tags=256, boundary=64, most=128, parity=False, told=None):
        self.streams = streams
        self.tags = tags
        self.boundary = boundary
        self.most = most
        self.parity = parity
        self.free = list(range(tags))
        self.open = {}
        self.freed = Event()
        self.seq = 0
        self.pieces = 0
        self.clock = clock
        self.told = told
        self.untold = []  # reads whose tag was not told yet
        if told is not None:
            cocotb.start_soon(self._tags())
        cocotb.start_soon(self._run())

    def tlp(self, write, addr, length):
        tlp = Tlp_us()
        if write:
            tlp.fmt_type = TlpType.MEM_WRITE_64 if addr >> 32 else TlpType.MEM_WRITE
        else:
            tlp.fmt_type = TlpType.MEM_READ_64 if addr >> 32 else TlpType.MEM_READ
        tlp.set_addr_be(addr, length)
        self.seq = (self.seq + 1) % 64
        tlp.seq_num = self.seq
        return tlp

    async def write(self, addr, data, **fields):
        tlp = self.tlp(True, addr, len(data))
        tlp.set_addr_be_data(addr, data)
        # What no byte enable is set for is nothing that the host may see.
        for i in range(addr % 4):
            tlp.data[i] = 0xA5
        for i in range(addr % 4 + len(data), len(tlp.data)):
            tlp.data[i] = 0x5A
        await self.send(tlp, **fields)

    async def send(self, tlp, **fields):
        for name, value in fields.items():
            setattr(tlp, name, value)
        await self.streams.rq.send(tlp.pack_us_rq())
        return tlp.seq_num

    async def take_tag(self):
        while not self.free:
            self.freed.clear()
            await self.freed.wait()
        return self.free.pop(random.randrange(len(self.free)))

    async def ask(self, addr, length, **fields):
        """Sends a read. What it returns has an event `done`, and then `data` and `code`."""
        if self.told is not None:
            read = Read(None, addr, length)
            self.untold.append(read)
            await self.send(self.tlp(False, addr, length), **fields)
            return read
        tag = await self.take_tag()
        read = Read(tag, addr, length)
        self.open[tag] = read
        await self.send(self.tlp(False, addr, length), tag=tag, **fields)
        return read

    async def read(self, addr, length, **fields):
        read = await self.ask(addr, length, **fields)
        await read.done.wait()
        assert read.code == ErrorCode.NORMAL_TERMINATION, f"{read} has ended with {read.code}"
        return bytes(read.data)

    async def _tags(self):
        while True:
            await RisingEdge(self.clock)
            for tag in self.told():
                assert tag < self.tags, f"tag {tag} is told"
                assert tag not in self.open, f"tag {tag} is told, and in use"
                read = self.untold.pop(0)
                read.tag = tag
                self.open[tag] = read

    async def _run(self):
        while True:
            frame = await self.streams.rc.recv()
            cpl = Tlp_us.unpack_us_rc(frame, self.parity)
            if self.told is not None and cpl.tag not in self.open:
                # It is told in the same clock at the latest.
                await RisingEdge(self.clock)
            read = self.open.get(cpl.tag)
            assert read is not None, f"a completion for tag {cpl.tag}, which has no read: {cpl!r}"
            self.pieces += 1
            at = read.addr + len(read.data)
            left = read.length - len(read.data)
            assert cpl.byte_count == left, f"{read}: {cpl!r}"
            assert cpl.lower_address == at & 0xFFF, f"{read}: {cpl!r}"
            if cpl.error_code == ErrorCode.NORMAL_TERMINATION and not frame.discontinue:
                assert cpl.status == CplStatus.SC
                count = min(left, 4 * cpl.length - at % 4)
                assert cpl.length == (at % 4 + count + 3) // 4
                assert 4 * cpl.length <= self.most
                assert len(cpl.data) == 4 * cpl.length
                assert count == left or (at + count) % self.boundary == 0, f"{read}: {cpl!r}"
                assert bool(cpl.request_completed) == (count == left)
                read.data += cpl.data[at % 4:at % 4 + count]
            else:
                assert cpl.request_completed or frame.discontinue
                assert cpl.length == 0 or frame.discontinue
                read.code, read.status = cpl.error_code, cpl.status
                if not cpl.request_completed:
                    continue
            if cpl.request_completed:
                del self.open[cpl.tag]
                if self.told is None:
                    self.free.append(cpl.tag)
                    self.freed.set()
                read.done.set()


class Read:
    def __init__(self, tag, addr, length):
        self.tag = tag
        self.addr = addr
        self.length = length
        self.data = bytearray()
        self.code = ErrorCode.NORMAL_TERMINATION
        self.status = CplStatus.SC
        self.done = Event()

    def __repr__(self):
        return f"<read of {self.length} at {self.addr:#x}, tag {self.tag}>"
