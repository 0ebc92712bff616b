# SPDX-License-Identifier: Apache-2.0
"""The sorter with a clock of its own: whatever it does in that of the bridge, at several ratios."""

import test_sort
from common import clocks, start_clock, test
from standin import Host
from test_sort import (  # noqa: F401
    BASE,
    BLOCKS,
    DONE,
    TAIL,
    Sorter,
    bad_descriptors,
    block_read_fails_at_the_end,
    block_read_fails_at_the_start,
    disabled_and_masked,
    fetch_fails_and_is_tried_again,
    function_reset_at_any_time,
    identity,
    order_of_what_the_host_sees,
    random_keys,
    soft_reset_at_any_time,
    sorts,
    status_write_fails,
    write_back_fails_at_the_end,
    write_back_fails_at_the_start,
)

assert test_sort.WIDTH == 128


@test()
async def resets_between_two_ticks(dut):
    """Of the bridge, so short that the card's clock does not tick in them, with all under way."""
    await start_clock(dut, user_clk_ps=71011)
    host = Host(dut.aclk, base=BASE)
    await host.connect(dut.user_resetn)
    sorter = Sorter(dut, host, 4)
    await sorter.start()
    for _ in range(6):
        sorter.next_block = BASE + 0x10000
        sorter.queue(random_keys(host.random), irq=False)
        sorter.ring()
        await clocks(dut, host.random.randrange(2500))
        host.push_reset()
        assert await host.read(TAIL, 4) == 0
        assert await host.read(BLOCKS, 4) == 0
        sorter.tail = 0
        await sorter.start()
    keys = random_keys(host.random)
    index, dst = sorter.queue(keys)
    sorter.ring()
    await sorter.idle()
    assert sorter.status(index) == DONE
    assert sorter.result(dst) == sorted(keys)
    host.check()
