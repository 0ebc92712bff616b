# SPDX-License-Identifier: Apache-2.0
"""What the tests share."""

import functools
import itertools
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.handle import Immediate
from cocotb.triggers import RisingEdge

PARAMETERS = eval(os.environ["SUITE_PARAMETERS"])  # pylint: disable=eval-used


# No test waits for ever: the longest takes a quarter of this.
test = functools.partial(cocotb.test, timeout_time=2, timeout_unit="ms")


def begin_in_reset(clock, reset):
    """Has the clock run, with the reset asserted."""
    # At once: the first evaluation would see inputs that begin as anything, with a clock edge out
    # of reset.
    reset.value = Immediate(0)
    clock.value = Immediate(0)
    cocotb.start_soon(Clock(clock, 4, unit="ns").start())


def start_other_clock(clock, period):
    """One that has nothing to do with any other, of so many picoseconds."""
    clock.value = Immediate(0)
    clock._log.info("the period is %d ps", period)  # pylint: disable=protected-access
    cocotb.start_soon(Clock(clock, period, unit="ps", period_high=period // 2).start())


async def start_clock(dut, inputs=(), user_clk_ps=None):
    """Clock and power-on reset. Each test has its own, since cocotb ends tasks with a test.

    The inputs, on which an earlier test may have left anything, become 0 in reset.
    """
    begin_in_reset(dut.aclk, dut.aresetn)
    if "user_clk_ps" in PARAMETERS:
        start_other_clock(dut.user_clk, user_clk_ps or random.choice(PARAMETERS["user_clk_ps"]))
    for _ in range(2):
        await RisingEdge(dut.aclk)
    for name in inputs:
        getattr(dut, name).value = 0
    for _ in range(2):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    for _ in range(2):
        await RisingEdge(dut.aclk)


async def clocks(dut, count):
    for _ in range(count):
        await RisingEdge(dut.aclk)


def pauses(seed, percent):
    """An endless random stall pattern."""
    rng = random.Random(seed)
    return (rng.random() * 100 < percent for _ in itertools.count())


def random_bytes(length):
    return random.randbytes(length)
