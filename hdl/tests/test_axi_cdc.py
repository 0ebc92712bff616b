# SPDX-License-Identifier: Apache-2.0
"""The crossing of AXI between two clocks that have nothing to do with each other, on its own."""

import random

import cocotb
from cocotb.handle import Immediate
from cocotb.triggers import Combine, RisingEdge, Timer, with_timeout
from cocotbext.axi import AxiBus, AxiMaster, AxiRam
from common import PARAMETERS, pauses, start_other_clock

WIDTH = PARAMETERS.get("DataWidth", 32) // 8
SIZE = 1 << 16
# Periods of the two clocks: all but the same, one faster and slower, and one so slow that a reset
# is over before it ticks.
PERIODS = ((4000, 4003), (9001, 2503), (2503, 9001), (2000, 43003))


def test(function):
    """At each pair of clocks. None waits for ever."""
    return cocotb.test(timeout_time=4, timeout_unit="ms")(
        cocotb.parametrize(periods=PERIODS)(function))


class Sides:
    """A master on one side, memory on the other."""

    def __init__(self, dut, periods):
        self.dut = dut
        self.periods = periods
        # What is lost would be waited for for ever.
        self.wait = 400 * sum(periods)
        self.random = random.Random(random.getrandbits(32))
        self.master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.s_axi_aclk,
                                dut.s_axi_aresetn, False)
        self.memory = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.m_axi_aclk, dut.m_axi_aresetn,
                             False, size=SIZE)

    def stall(self, percent):
        for side in (self.master, self.memory):
            for interface in (side.write_if, side.read_if):
                for name in ("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel"):
                    if hasattr(interface, name):
                        getattr(interface, name).set_pause_generator(
                            pauses(self.random.getrandbits(32), percent))

    async def release(self):
        """Both out of reset, each in step with its own clock, in any order."""
        async def one(clock, reset):
            for _ in range(self.random.randrange(1, 5)):
                await RisingEdge(clock)
            reset.value = 1
        await Combine(cocotb.start_soon(one(self.dut.s_axi_aclk, self.dut.s_axi_aresetn)),
                      cocotb.start_soon(one(self.dut.m_axi_aclk, self.dut.m_axi_aresetn)))

    async def traffic(self, begin, end, count):
        """Writes and reads in a part of the memory, each read against what was written."""
        rng = self.random
        model = bytearray(self.memory.read(begin, end - begin))
        for _ in range(count):
            length = rng.randrange(1, min(end - begin, 6 * WIDTH + 2))
            at = rng.randrange(end - begin - length + 1)
            if rng.randrange(2):
                data = rng.randbytes(length)
                await with_timeout(self.master.write(begin + at, data), self.wait * 40, "ps")
                model[at:at + length] = data
            else:
                read = self.master.read(begin + at, length)
                answer = await with_timeout(read, self.wait * 40, "ps")
                assert answer.data == model[at:at + length]
        assert self.memory.read(begin, end - begin) == model


async def start(dut, periods):
    start_other_clock(dut.s_axi_aclk, periods[0])
    start_other_clock(dut.m_axi_aclk, periods[1])
    dut.s_axi_aresetn.value = Immediate(0)
    dut.m_axi_aresetn.value = Immediate(0)
    sides = Sides(dut, periods)
    for clock in (dut.s_axi_aclk, dut.m_axi_aclk):
        for _ in range(3):
            await RisingEdge(clock)
    await sides.release()
    return sides


@test
async def traffic(dut, periods):
    """Several at once, with a stall on any channel of either side."""
    sides = await start(dut, periods)
    for percent in (0, 20, 70):
        sides.stall(percent)
        await Combine(*(cocotb.start_soon(sides.traffic(4096 * i, 4096 * i + 1024, 12))
                        for i in range(4)))


@test
async def a_beat_in_each_clock(dut, periods):
    """Of the slower side, where the queues are deep enough."""
    sides = await start(dut, periods)
    slower = max(periods)
    beats = 16
    data = sides.random.randbytes(beats * WIDTH)
    bursts = 8

    async def measure(clock, valid, ready):
        """Clocks from the first beat to the last, and how many there were."""
        seen, first, last = 0, 0, 0
        now = 0
        while seen < beats * bursts:
            await RisingEdge(clock)
            if valid.value == 1 and ready.value == 1:
                first = first or now
                last, seen = now, seen + 1
            now += 1
        return (last - first) * periods[1]

    for write in (True, False):
        name = "w" if write else "r"
        watch = cocotb.start_soon(measure(dut.m_axi_aclk, getattr(dut, f"m_axi_{name}valid"),
                                          getattr(dut, f"m_axi_{name}ready")))
        calls = [(sides.master.write(4096 * i, data) if write else
                  sides.master.read(4096 * i, len(data))) for i in range(bursts)]
        await Combine(*(cocotb.start_soon(call) for call in calls))
        took = await watch
        assert took >= (beats * bursts - 1) * periods[1]
        # The beginning, and gaps of master and memory themselves, are little.
        assert took < 1.5 * beats * bursts * slower, f"{name}: {took} ps"


@test
async def resets_with_everything_under_way(dut, periods):
    """Of both sides at once, for any time; nothing of before comes out behind it."""
    sides = await start(dut, periods)
    sides.stall(30)
    for _ in range(12):
        tasks = [cocotb.start_soon(sides.traffic(4096 * i, 4096 * i + 1024, 1000))
                 for i in range(4)]
        await Timer(sides.random.randrange(1, sides.wait // 4), "ps")
        dut.s_axi_aresetn.value = Immediate(0)
        dut.m_axi_aresetn.value = Immediate(0)
        for task in tasks:
            task.cancel()
        # Perhaps shorter than a clock of one side.
        await Timer(sides.random.randrange(1, 3 * min(periods)), "ps")
        assert not any(getattr(dut, name).value for name in (
            "s_axi_bvalid", "s_axi_rvalid", "m_axi_awvalid", "m_axi_wvalid", "m_axi_arvalid",
            "s_axi_awready", "s_axi_wready", "s_axi_arready", "m_axi_bready", "m_axi_rready"))
        # cocotbext-axi looks at its reset at a clock.
        for clock in (dut.s_axi_aclk, dut.m_axi_aclk):
            await RisingEdge(clock)
            await RisingEdge(clock)
        await sides.release()
        await sides.traffic(0, 1024, 4)
    await sides.traffic(0, 4096, 30)
