# SPDX-License-Identifier: Apache-2.0
"""The card of the example pcie4 on cocotbext-pcie's model of the UltraScale+ block: what runs on
accelerator_pcie4 has to run on a block that somebody else has written, with no change."""

import logging
import random
import struct

from cocotb.handle import Immediate
from cocotb.triggers import FallingEdge, Timer, with_timeout
from cocotbext.axi import AxiStreamBus
from cocotbext.pcie.core import RootComplex
from cocotbext.pcie.xilinx.us import UltraScalePlusPcieDevice
from common import pauses, test
from test_sort import (
    BASE_HI,
    BASE_LO,
    BLOCKS,
    CONTROL,
    DONE,
    ERR_INFO,
    FAILED,
    IRQ_ENABLE,
    IRQS,
    LOG2,
    STATUS,
    TAIL,
    random_keys,
)


class Bench:
    """A root complex, the model of the block, and a driver of the sorter."""

    def __init__(self, dut, stall, payload, read_request):
        for name in ("user_clk", "cfg_interrupt_msix_enable", "pcie_rq_seq_num_vld1"):
            getattr(dut, name).value = Immediate(0)
        self.root = RootComplex()
        self.root.max_payload_size = payload
        self.root.max_read_request_size = read_request
        self.root.split_on_all_rcb = bool(random.randrange(2))
        self.block = UltraScalePlusPcieDevice(
            pcie_generation=3, alignment="dword", pf_count=1, max_payload_size=1024,
            enable_client_tag=True, enable_extended_tag=False, pf0_msi_enable=True,
            pf0_msi_count=4, user_clk=dut.user_clk, user_reset=dut.user_reset,
            rq_bus=AxiStreamBus.from_prefix(dut, "s_axis_rq"),
            rc_bus=AxiStreamBus.from_prefix(dut, "m_axis_rc"),
            cq_bus=AxiStreamBus.from_prefix(dut, "m_axis_cq"),
            cc_bus=AxiStreamBus.from_prefix(dut, "s_axis_cc"),
            pcie_rq_seq_num0=dut.pcie_rq_seq_num0, pcie_rq_seq_num_vld0=dut.pcie_rq_seq_num_vld0,
            pcie_rq_seq_num1=dut.pcie_rq_seq_num1, pcie_rq_seq_num_vld1=dut.pcie_rq_seq_num_vld1,
            pcie_cq_np_req=dut.pcie_cq_np_req, cfg_max_payload=dut.cfg_max_payload,
            cfg_max_read_req=dut.cfg_max_read_req,
            cfg_interrupt_msi_enable=dut.cfg_interrupt_msi_enable,
            cfg_interrupt_msi_mmenable=dut.cfg_interrupt_msi_mmenable,
            cfg_interrupt_msi_int=dut.cfg_interrupt_msi_int,
            cfg_interrupt_msi_sent=dut.cfg_interrupt_msi_sent,
            cfg_interrupt_msi_fail=dut.cfg_interrupt_msi_fail)
        # The model begins with it low for two clocks, in which nothing of the card is set yet.
        dut.user_reset.value = Immediate(1)
        # What they say of each TLP is more than anybody reads.
        logging.getLogger("cocotb.pcie").setLevel("ERROR")
        streams = (self.block.rq_sink, self.block.rc_source, self.block.cq_source,
                   self.block.cc_sink)
        for one in (self.block, self.root, *streams):
            one.log.setLevel("ERROR")
        for one in streams:
            if stall:
                one.set_pause_generator(pauses(random.random(), stall))
        self.block.functions[0].configure_bar(0, 0x10000, ext=True)
        self.root.make_port().connect(self.block)
        self.memory = self.root.mem_pool.alloc_region(1 << 18)
        self.base = self.memory.get_absolute_address(0)
        self.dut = dut

    async def begin(self):
        await FallingEdge(self.dut.user_reset)
        await Timer(100, "ns")
        await self.root.enumerate()
        self.device = self.root.find_device(self.block.functions[0].pcie_id)
        await self.device.enable_device()
        await self.device.set_master()
        await self.device.alloc_irq_vectors(4, 4)
        self.bar = self.device.bar_window[0]

    async def read(self, reg, length=4):
        return int.from_bytes(await self.bar.read(reg, length), "little")

    async def write(self, reg, value, length=4):
        await self.bar.write(reg, value.to_bytes(length, "little"))


async def start(dut, stall=0, payload=0, read_request=2):
    bench = Bench(dut, stall, payload, read_request)
    await bench.begin()
    return bench


@test(timeout_time=0.1)
async def registers(dut):
    """Every size and alignment of access."""
    bench = await start(dut, stall=30)
    assert await bench.read(0) == int.from_bytes(b"SORT", "little")
    assert await bench.read(0, 8) == 0x00010000_54524F53
    scratch = bytearray(4)
    for _ in range(40):
        length = random.randrange(1, 5)
        offset = random.randrange(5 - length)
        data = random.randbytes(length)
        await bench.bar.write(0x14 + offset, data)
        scratch[offset:offset + length] = data
        length = random.randrange(1, 5)
        offset = random.randrange(5 - length)
        got = await bench.bar.read(0x14 + offset, length)
        assert bytes(got) == bytes(scratch[offset:offset + length])
    # More than the completer takes is Unsupported Request, and it goes on.
    try:
        await bench.bar.read(0, 64)
    except Exception:  # pylint: disable=broad-except
        pass
    else:
        raise AssertionError("64 bytes were read")
    assert await bench.read(0) == int.from_bytes(b"SORT", "little")


async def sort(dut, blocks, **settings):
    bench = await start(dut, **settings)
    want = []
    for n in range(blocks):
        keys, descending = random_keys(random), bool(random.randrange(2))
        # Often across a page.
        source = 0x1000 + n * 0x4000 + 64 * random.randrange(64)
        target = source + 0x2000
        bench.memory[source:source + 4096] = struct.pack("<1024I", *keys)
        bench.memory[32 * n:32 * n + 32] = struct.pack(
            "<QQIIII", bench.base + source, bench.base + target, 1024, int(descending) | 2,
            0xC0DE0000 + n, 0)
        want.append((target, sorted(keys, reverse=descending)))
    # One that is bad.
    bench.memory[32 * blocks:32 * blocks + 32] = struct.pack(
        "<QQIIII", bench.base, bench.base, 1000, 2, 0, 0)
    await bench.write(BASE_LO, bench.base & 0xFFFFFFFF)
    await bench.write(BASE_HI, bench.base >> 32)
    await bench.write(LOG2, 4)
    await bench.write(IRQ_ENABLE, 3)
    await bench.write(CONTROL, 1)
    error = bench.device.msi_vectors[1].event
    error.clear()
    await bench.write(TAIL, blocks + 1)
    await with_timeout(error.wait(), 200 * blocks, "us")
    for n, (target, keys) in enumerate(want):
        assert struct.unpack_from("<I", bench.memory[32 * n + 28:32 * n + 32])[0] == DONE
        assert list(struct.unpack("<1024I", bench.memory[target:target + 4096])) == keys
    assert struct.unpack_from("<I", bench.memory[32 * blocks + 28:32 * blocks + 32])[0] == FAILED
    assert await bench.read(ERR_INFO) == blocks << 16 | 1
    assert await bench.read(BLOCKS) == blocks
    assert await bench.read(IRQS) == blocks + 2
    assert await bench.read(STATUS) == 2


@test(timeout_time=0.1)
async def sorts(dut):
    await sort(dut, 2)


@test(timeout_time=0.1)
async def sorts_with_back_pressure(dut):
    await sort(dut, 3, stall=40, payload=1, read_request=0)


@test(timeout_time=0.1)
async def sorts_with_large_requests(dut):
    await sort(dut, 2, stall=10, payload=3, read_request=5)
