# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests of the driver accel_sort against the RTL of hdl/examples/sort.

    scripts/demo.sh                       builds QEMU, the guest and the simulation
    pip install './python[pytest]'
    pytest examples/driver-tests

Each test has a simulator and a VM of its own.
"""

from __future__ import annotations

import re

import pytest

from accelerator_cosim import Card, Guest, Simulator

pytestmark = pytest.mark.cosim(example="sort")

DRIVER = "accel_sort"
# Registers of the sorter, in BAR 0 (hdl/examples/sort/sort_regs.sv).
ID, SCRATCH, RING_LOG2, BLOCKS = 0x00, 0x14, 0x28, 0x40


def sort(guest: Guest, blocks: int, seed: int) -> dict[str, str]:
    """Sorts random blocks and checks each; returns what the program reports."""
    output = guest.run(f"accel-sort --blocks {blocks} --seed {seed}").stdout
    report = dict(re.findall(r"^ACCEL (\w+)=(.*)$", output, re.M))
    assert report["result"] == "PASS"
    return report


def test_probes(guest: Guest, card: Card) -> None:
    assert card.ids == (0x10EE, 0x7024)
    assert card.driver is None
    guest.load_module(DRIVER)
    assert guest.wait_dmesg(r"/dev/accel_sort0: (\d+) ring entries")[1] == "64"
    assert card.driver == DRIVER
    assert card.flag("bus-master")


@pytest.mark.cosim(boot="cold")
def test_probes_a_card_that_was_there_at_boot(guest: Guest, card: Card, seed: int) -> None:
    """The other tests plug the card into a VM that has booted: there the kernel places the BARs,
    here the firmware has."""
    assert card.attribute("current_link_width") == "8"
    guest.load_module(DRIVER)
    sort(guest, 2, seed)


def test_registers(card: Card, seed: int) -> None:
    bar = card.bar(0)
    assert bar.read(ID).to_bytes(4, "little") == b"SORT"
    value = seed & 0xFFFF_FFFF
    bar.write(SCRATCH, value)
    assert bar.read(SCRATCH) == value
    # A byte leaves its neighbours alone.
    bar.write(SCRATCH + 2, 0xA5, width=1)
    assert bar.read(SCRATCH) == value & ~0xFF_0000 | 0xA5_0000


@pytest.mark.seeds(3)
def test_sorts(guest: Guest, card: Card, seed: int) -> None:
    guest.load_module(DRIVER)
    report = sort(guest, 16, seed)
    assert report["blocks_counted_by_device"] == "16"
    assert card.bar(0).read(BLOCKS) == 16


@pytest.mark.rtl(DmaDataWidth=[64, 256])
def test_sorts_whatever_the_width_of_the_bus(guest: Guest, seed: int) -> None:
    guest.load_module(DRIVER)
    sort(guest, 4, seed)


@pytest.mark.parametrize("log2", [1, 10])
def test_ring_has_the_size_that_was_asked_for(
    guest: Guest, card: Card, seed: int, log2: int
) -> None:
    guest.load_module(DRIVER, ring_log2=log2)
    guest.wait_dmesg(f"/dev/accel_sort0: {1 << log2} ring entries")
    sort(guest, 8, seed)
    assert card.bar(0).read(RING_LOG2) == log2


def test_unloads_and_loads_again(guest: Guest, card: Card, seed: int) -> None:
    for _ in range(5):
        guest.load_module(DRIVER)
        sort(guest, 1, seed)
        guest.unload_module(DRIVER)
        assert card.driver is None
        assert not card.flag("bus-master")
    assert "accel_sort" not in guest.run("cat /proc/interrupts").stdout


def test_is_reset_in_the_middle_of_work(guest: Guest, card: Card, seed: int) -> None:
    guest.load_module(DRIVER)
    work = guest.start(f"accel-sort --blocks 2000 --seed {seed}")
    guest.wait_for(lambda: card.bar(0).read(BLOCKS) > 10, "the work is under way")
    card.reset()
    output = work.wait(check=False).stdout
    # What the card was given is given up. Between two requests there is nothing, and all is sorted.
    assert "Operation canceled" in output or "ACCEL blocks_wrong=0" in output
    sort(guest, 4, seed)


def test_is_pulled_out_in_the_middle_of_work(
    guest: Guest, card: Card, simulator: Simulator, seed: int
) -> None:
    guest.load_module(DRIVER)
    work = guest.start(f"accel-sort --blocks 2000 --seed {seed}")
    guest.wait_for(lambda: card.bar(0).read(BLOCKS) > 10, "the work is under way")
    card.unplug()
    assert "No such device" in work.wait(check=False).stdout
    # And comes back.
    assert guest.plug(simulator).driver == DRIVER
    sort(guest, 4, seed)


def test_survives_a_simulator_that_is_killed(
    guest: Guest, card: Card, simulator: Simulator, seed: int
) -> None:
    guest.load_module(DRIVER, warn_ms=200)
    work = guest.start(f"accel-sort --blocks 2000 --seed {seed}")
    guest.wait_for(lambda: card.bar(0).read(BLOCKS) > 10, "the work is under way")
    simulator.kill()
    guest.wait_dmesg("the device does not answer")
    assert work.wait(check=False).status != 0
    # The guest works on, and with the next simulator the driver does.
    simulator.restart()
    card.wait_flag("link-up")
    sort(guest, 4, seed)
