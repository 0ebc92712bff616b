# SPDX-License-Identifier: Apache-2.0
"""Cocotb tests that end as the bench says which runs them; see broken_benches.py."""

import os
import signal

import cocotb
from common import PARAMETERS

END = PARAMETERS["end"]


@cocotb.test(skip=END == "skips")
async def passes(dut):
    """There is nothing to it."""


if END == "fails":
    @cocotb.test()
    async def fails(dut):
        """An assertion that does not hold."""
        assert dut.aclk is None
elif END == "killed":
    @cocotb.test()
    async def is_killed(dut):
        """The simulator dies, and has not written what it had."""
        os.kill(os.getpid(), signal.SIGKILL)
elif END == "leaves":
    @cocotb.test()
    async def leaves(dut):
        """The simulator ends in order, as it says itself."""
        os._exit(0)
