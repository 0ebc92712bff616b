# SPDX-License-Identifier: MIT OR Apache-2.0
"""What only a VM shows: how guests and simulators that end, hang or complain are told of."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from accelerator_cosim import (
    Card,
    CommandFailed,
    CosimError,
    Guest,
    GuestError,
    ProcessEnded,
    QmpError,
    Run,
    Simulator,
    WaitTimeout,
)

pytestmark = pytest.mark.cosim(example="sort")

# What is told at once has not waited for the guest's own patience.
AT_ONCE = 30.0


@pytest.mark.cosim(complaints=False)
def test_a_panic_ends_what_waits(guest: Guest) -> None:
    waits = guest.start("sleep 1000")
    guest.start("echo c >/proc/sysrq-trigger")
    begin = time.monotonic()
    with pytest.raises(ProcessEnded, match="QEMU has ended with status 0") as error:
        waits.wait(1000)
    assert time.monotonic() - begin < AT_ONCE
    assert "Kernel panic - not syncing: sysrq triggered crash" in str(error.value)
    assert any("Kernel panic" in line for line in guest.complaints())
    with pytest.raises(ProcessEnded):
        guest.wait_dmesg("what never comes", 1000)
    guest.wait_end()


def test_qemu_is_killed(guest: Guest) -> None:
    waits = guest.start("sleep 1000")
    os.kill(guest.pid, signal.SIGKILL)
    with pytest.raises(ProcessEnded, match=r"-9 \(SIGKILL\)"):
        waits.wait(1000)
    guest.wait_end()


def test_simulator_dies_by_itself(guest: Guest, simulator: Simulator) -> None:
    waits = guest.start("sleep 1000")
    os.kill(simulator.pid, signal.SIGSEGV)
    with pytest.raises(ProcessEnded, match=r"simulator has ended with status -11 \(SIGSEGV\)"):
        waits.wait(1000)
    simulator.restart()
    guest.run("true")


def test_status_output_and_errors(guest: Guest) -> None:
    done = guest.run("echo out; echo err >&2; kill -9 $$", check=False)
    assert (done.status, done.stdout, done.stderr) == (128 + 9, "out\n", "err\n")
    with pytest.raises(CommandFailed, match=r"'false' ended with status 1") as error:
        guest.run(["false"])
    assert error.value.status == 1
    assert guest.run(["echo", "a  b", "$HOME", "'"]).stdout == "a  b $HOME '\n"
    assert guest.run("cat", input=b"x").stdout == "x"


def test_a_command_that_does_not_end_is_killed(guest: Guest) -> None:
    with pytest.raises(WaitTimeout, match=r"'echo so far; sleep 1000' did not end within 0\.5 s"):
        guest.run("echo so far; sleep 1000", timeout=0.5)
    # The sleep too, which holds the shell's pipes.
    assert "sleep 1000" not in guest.run("ps").stdout


def test_files(guest: Guest, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    local = tmp_path / "program"
    local.write_bytes(data)
    local.chmod(0o755)
    guest.put(local, "/a/b c/")
    assert guest.run(["stat", "-c", "%a %s", "/a/b c/program"]).stdout == f"755 {len(data)}\n"
    copy = guest.get("/a/b c/program", tmp_path / "copy")
    assert copy.read_bytes() == data
    with pytest.raises(CommandFailed, match="No such file"):
        guest.read_file("/nothing")


def test_a_disk_that_is_full_is_told_of(guest: Guest) -> None:
    guest.run("mkdir /small && mount -t tmpfs -o size=64k tmpfs /small")
    with pytest.raises(CommandFailed, match="No space left"):
        guest.write_file("/small/file", bytes(1 << 20))


def test_two_vms_that_are_restored_do_not_meet(cosim: Run, guest: Guest) -> None:
    other = cosim.boot(guest.machine, saved=True, cards=[cosim.simulate("sort")])
    guest.write_file("/tmp/mine", "1")
    assert other.run("ls /tmp").stdout == ""
    assert other.cards[0].ids == guest.cards[0].ids
    guest.cards[0].bar(0).write(0x14, 1)
    assert other.cards[0].bar(0).read(0x14) == 0
    other.shut_down()
    assert not other.running
    guest.run("true")


def test_two_cards_and_no_third(cosim: Run, guest: Guest, card: Card) -> None:
    second = guest.plug(cosim.simulate("sort"))
    assert second.address != card.address
    card.bar(0).write(0x14, 7)
    assert second.bar(0).read(0x14) == 0
    with pytest.raises(CosimError, match="all 2 ports have a card"):
        guest.plug(cosim.simulate("sort"))


def test_a_card_whose_simulator_is_not_there(cosim: Run, guest: Guest) -> None:
    gone = cosim.simulate("sort")
    gone.kill()
    with pytest.raises(QmpError, match="no simulator at"):
        guest.plug(gone, {"handshake-timeout": 300})
    assert len(guest.cards) == 1


@pytest.mark.cosim(boot="cold", iommu=True, cpus=1, memory=384, append="quiet",
                   properties={"write-window": 7})
def test_settings_reach_the_machine(guest: Guest, card: Card) -> None:
    assert guest.run("nproc").stdout == "1\n"
    assert guest.run("ls /sys/class/iommu").stdout.split() == ["dmar0"]
    assert guest.run("cat /proc/cmdline").stdout.split()[-1] == "quiet"
    memory = int(guest.run("sed -n 's/^MemTotal: *//p' /proc/meminfo").stdout.split()[0])
    assert 300_000 < memory < 384 << 10
    assert guest.qmp.get(f"/machine/peripheral/{card.name}", "write-window") == 7
    guest.load_module("accel_sort")
    guest.run("accel-sort --blocks 2")


def test_accesses_to_bars(card: Card) -> None:
    bar = card.bar(0)
    bar.write(0x14, 0x0123_4567)
    assert [bar.read(0x14 + n, width=1) for n in range(4)] == [0x67, 0x45, 0x23, 0x01]
    assert bar.read(0x16, width=2) == 0x0123
    with pytest.raises(ValueError, match="does not fit into 1 bytes"):
        bar.write(0x14, 256, width=1)
    with pytest.raises(ValueError, match="an access of 3 bytes"):
        bar.read(0, width=3)
    with pytest.raises(GuestError):
        bar.read(1 << 20)
    assert card.config(0) == 0x7024_10EE
    assert card.config("DEVICE_ID", 2) == 0x7024


def test_driver_is_bound_and_unbound(guest: Guest, card: Card) -> None:
    guest.load_module("accel_sort")
    card.unbind()
    assert card.driver is None
    card.bind("accel_sort")
    assert card.driver == "accel_sort"
    assert "accel_sort" in guest.modules()
    # One of the kernel's own.
    guest.load_module("e1000")
    assert "e1000" in guest.modules()
    with pytest.raises(CommandFailed):
        guest.load_module("no_such_module")


def test_a_card_that_is_plugged_in_has_been_probed(
    guest: Guest, card: Card, simulator: Simulator
) -> None:
    guest.load_module("accel_sort")
    card.unplug()
    guest.plug(simulator)
    guest.run("[ -e /dev/accel_sort0 ]")


@pytest.mark.cosim(modules=["slow_probe"])
def test_a_driver_has_the_card_once_it_has_probed_it(
    guest: Guest, card: Card, simulator: Simulator
) -> None:
    """The kernel's link to the driver is there before the driver has done anything."""
    def given() -> bool:
        return guest.run(f"[ -e {card.sysfs}/driver ]", check=False).status == 0

    module = guest.run("find /modules -name slow_probe.ko").stdout.strip()
    loading = guest.start(f"insmod {module}")
    guest.wait_for(given, "the driver is given the card")
    assert card.driver == "slow_probe"
    assert "slow_probe 0000:01:00.0: probed" in guest.dmesg()
    loading.wait()
    # So it is with one that is plugged in.
    card.unplug()
    card = guest.plug(simulator)
    assert guest.dmesg().count("slow_probe 0000:01:00.0: probed") == 2
    guest.unload_module("slow_probe")
    # A probe that fails leaves no driver.
    loading = guest.start(f"insmod {module} fail=1")
    guest.wait_for(given, "the driver is given the card")
    assert card.driver is None
    loading.wait()


def test_lines_of_the_kernel(guest: Guest) -> None:
    guest.run("echo '<4>first 17' >/dev/kmsg")
    assert guest.wait_dmesg(r"first (\d+)")[1] == "17"
    since = len(guest.kernel_log())
    with pytest.raises(WaitTimeout, match="the kernel did not say 'first'"):
        guest.wait_dmesg("first", 0.2, since=since)
    assert "first 17" in guest.dmesg()
    assert guest.complaints() == []


@pytest.mark.cosim(complaints=False)
@pytest.mark.parametrize("line", [
    "WARNING: CPU: 1 PID: 77 at drivers/my.c:7 my_probe+0x1/0x2 [my]",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
    "INFO: task my:77 blocked for more than 120 seconds.",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [my:77]",
    "BUG: KASAN: use-after-free in my_probe+0x1/0x2 [my]",
    "UBSAN: shift-out-of-bounds in drivers/my.c:7:7",
])
def test_complaints_of_the_kernel(tmp_path: Path, line: str) -> None:
    class Console(Guest):
        def __init__(self) -> None:
            self.console = tmp_path / "console"

    guest = Console()
    guest.console.write_text(f"[    1.5] before it\r\n[    2.25] {line}\r\n[  123.4] after it\r\n")
    assert guest.complaints() == [f"[    2.25] {line}"]
