#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What takes a card away from its driver, or the driver from its card, and gives it back: sleep,
errors of PCI Express, another kernel.

Run by scripts/test-power.sh, which builds what is needed and explains the options."""

import argparse
import os
import shutil
import signal
import sys

from cards import CARD, PROBE, SORT, sort_works, where
from guest_os import Bench, Traffic, program, reports, run, run_checks, said, step
from vm import Failure, wait_for

# Registers of the probe.
LIT_ADDR, LIT_CTRL, LIT_GO, LIT_DONE, LIT_ERRORS = 0x90, 0x98, 0x9c, 0xa0, 0xa8
# LIT_CTRL: an interrupt of vector 3 for each round, which writes 8 words of 8 bytes.
ROUND, ROUND_BYTES = 0x0007_0302, 64
# Rounds that wait in the simulator for the next kernel, and the number of the last one.
ROUNDS, LAST = 20, 0x5afe_0014
BOOTED = "ACCEL phase=booted"


def cards_work(vm):
    """DMA both ways and interrupts, by both drivers."""
    sort_works(vm)
    program(vm, "accel-probe --rounds 500")


def property_of(vm, card, name):
    return vm.qmp.command("qom-get", {"path": CARD + card, "property": name})


def check_runtime(bench, vm):
    """Runtime power management: D3hot while nobody has the card open, back on access."""
    address = where(vm, SORT)[0]
    device = f"/sys/bus/pci/devices/{address}"

    def is_in(state):
        return vm.ok(f"cat {device}/power_state").split()[-1] == state

    # It is for user space to allow it.
    if not is_in("D0"):
        raise Failure("the card sleeps unasked")
    vm.ok(f"echo 100 >{device}/power/autosuspend_delay_ms; echo auto >{device}/power/control")
    for _ in range(5):
        wait_for("the card's sleep", lambda: is_in("D3hot"), 60.0)
        # The kernel believes it; so does the card.
        vm.ok(f"accel-mmio --function {address} expect 4 0 0xffffffff >/dev/null")
        sort_works(vm)
    # Each program wakes it, and each end of one puts it to sleep.
    vm.ok(f"echo 0 >{device}/power/autosuspend_delay_ms")
    for _ in range(5):
        sort_works(vm)
    traffic = Traffic(vm)
    vm.ok(f"for i in 1 2 3 4 5; do echo on >{device}/power/control; usleep 50000; "
          f"echo auto >{device}/power/control; usleep 50000; done")
    statuses = traffic.end()
    if set(statuses) & {1, 2}:
        raise Failure(f"programs ended with {statuses}, expected 0, or the signal at the end")
    # With the driver bound anew, and in the hands of a reset.
    wait_for("the card's sleep", lambda: is_in("D3hot"), 60.0)
    vm.ok(f"echo 1 >{device}/reset")
    sort_works(vm)
    wait_for("the card's sleep", lambda: is_in("D3hot"), 60.0)
    vm.ok("rmmod accel_sort && insmod /modules/accel_sort.ko")
    wait_for("the card's sleep", lambda: is_in("D3hot"), 60.0)
    vm.ok(f"echo on >{device}/power/control")
    if not is_in("D0"):
        raise Failure("the card sleeps although it must not")
    sort_works(vm)


FATAL, NON_FATAL = "severity=Uncorrected (Fatal)", "severity=Uncorrected (Non-Fatal)"
CORRECTED = "severity=Corrected"


def inject(vm, card, error, kind, end):
    """Has a card report an error of PCI Express; waits until the kernel has told of it as of this
    kind, and of the end."""
    told, ended = said(vm, kind), said(vm, end)
    answer = vm.qmp.command("human-monitor-command",
                            {"command-line": f"pcie_aer_inject_error {card} {error}"})
    if not answer.startswith("OK"):
        raise Failure(f"QEMU does not inject {error}: {answer}")
    wait_for(f"the kernel's word on {error}", lambda: said(vm, end) > ended, 120.0)
    if said(vm, kind) == told:
        raise Failure(f"the kernel did not see {error} with {kind}")


def recovery(vm, error, kind):
    inject(vm, "sort", error, kind, "device recovery successful")
    sort_works(vm)


def check_aer(bench, vm):
    """Errors of PCI Express: the kernel resets the slot and the driver goes on."""
    del bench
    address = where(vm, SORT)[0]
    # What was saved can be restored once: each of these uses it up.
    before = {"a reset": f"echo flr >/sys/bus/pci/devices/{address}/reset_method; "
                         f"echo 1 >/sys/bus/pci/devices/{address}/reset",
              "sleep": f"cd /sys/bus/pci/devices/{address}/power; echo 0 >autosuspend_delay_ms; "
                       "echo auto >control; sleep 0.5; echo on >control; cd /",
              "an error": "true"}
    for line in before.values():
        vm.ok(line)
        sort_works(vm, 1)
        recovery(vm, "DLP", FATAL)
    recovery(vm, "UNX_COMP", NON_FATAL)
    # At work: requests end with an error, and who comes meanwhile does not disturb.
    for error, kind in (("MALF_TLP", FATAL), ("COMP_ABORT", NON_FATAL)):
        traffic = Traffic(vm)
        inject(vm, "sort", error, kind, "device recovery successful")
        statuses = traffic.end()
        if 1 not in statuses:
            raise Failure(f"no program noticed {error}; they ended with {statuses}")
        sort_works(vm)
    # Of these the kernel only tells.
    traffic = Traffic(vm)
    inject(vm, "sort", "BAD_TLP", CORRECTED, CORRECTED)
    statuses = traffic.end()
    if set(statuses) & {1, 2}:
        raise Failure(f"programs ended with {statuses} after an error that was corrected")
    # A driver that knows nothing of errors does not get its card back, but others live on.
    inject(vm, "probe", "DLP", FATAL, "device recovery failed")
    sort_works(vm)
    probe = where(vm, PROBE)[0]
    vm.ok(f"rmmod accel_probe; echo 1 >/sys/bus/pci/devices/{probe}/remove; "
          "echo 1 >/sys/bus/pci/rescan; insmod /modules/accel_probe.ko")
    cards_work(vm)


def check_s3(bench, vm):
    """Suspend to RAM and resume, with the cards at work."""
    del bench
    traffic = Traffic(vm)
    # The answer comes before the machine sleeps.
    vm.ok("{ sleep 0.3; echo mem >/sys/power/state; echo $? >/tmp/slept; } &")
    vm.qmp.wait_event("SUSPEND", 300.0)
    vm.qmp.command("system_wakeup")
    vm.qmp.wait_event("WAKEUP")
    vm.ok("i=0; until [ -e /tmp/slept ]; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ] || break; "
          "done; [ $(cat /tmp/slept) = 0 ]")
    traffic.end()
    cards_work(vm)


def read_probe(vm, register, width=4):
    output = vm.ok(f"accel-mmio --function {PROBE} read {width} {register:#x}")
    return int(reports(output)["value"], 16)


def memory(bench, vm, address):
    """What the round's buffer holds in the machine's memory, as 32-bit words."""
    path = bench.folder / "memory"
    vm.qmp.command("pmemsave", {"val": address, "size": ROUND_BYTES, "filename": str(path)})
    data = path.read_bytes()
    return [int.from_bytes(data[n:n + 4], "little") for n in range(0, len(data), 4)]


def other_kernel(bench, vm, command, bus_master):
    """Starts another kernel while the sorter's DMA is under way, and with DMA that the probe does
    only when the other kernel runs. `bus_master` is what is left of Bus Master Enable. Returns the
    address of that DMA."""
    program(vm, "accel-probe --rounds 500")
    address = read_probe(vm, LIT_ADDR, 8)
    errors = read_probe(vm, LIT_ERRORS)
    probe = bench.simulator(vm, "probe")
    log = vm.folder / f"{vm.name}.console.log"

    def boots():
        return log.read_text(errors="replace").count(BOOTED)

    def start():
        before = boots()
        vm.send(command)
        wait_for(f"{vm.name}: another kernel", lambda: boots() > before)
        # It has enumerated the cards; no driver has set Bus Master Enable.
        found = {card: property_of(vm, card, "bus-master") for card in ("sort", "probe")}
        if set(found.values()) != {bus_master}:
            raise Failure(f"the other kernel finds Bus Master Enable {found}, "
                          f"expected {bus_master}")
        if LAST in memory(bench, vm, address):
            raise Failure("a simulator that stands still has done DMA")
        os.kill(probe.pid, signal.SIGCONT)

    Traffic(vm)
    # The writes wait for the simulator, which they are posted to.
    os.kill(probe.pid, signal.SIGSTOP)
    try:
        vm.ok(f"accel-mmio --function {PROBE} write 4 {LIT_CTRL:#x} {ROUND:#x} " +
              " ".join(f"write 4 {LIT_GO:#x} {LAST - ROUNDS + 1 + n:#x}" for n in range(ROUNDS)) +
              " >/dev/null")
        vm.restart(start, reset=False)
    finally:
        os.kill(probe.pid, signal.SIGCONT)
    # The RTL is as it was: nothing has reset it.
    if read_probe(vm, LIT_DONE) != LAST:
        raise Failure(f"the probe's last round is {read_probe(vm, LIT_DONE):#x}, "
                      f"expected {LAST:#x}")
    refused = read_probe(vm, LIT_ERRORS) - errors
    wanted = 0 if bus_master else ROUNDS
    if refused != wanted:
        raise Failure(f"{refused} of {ROUNDS} DMA writes were refused, expected {wanted}")
    return address


def check_kexec(bench, vm):
    """kexec under DMA: none of it lands in the other kernel, which drives the cards."""
    words = vm.ok("cat /proc/cmdline").strip()
    vm.ok("(cat /boot/initramfs; cd /; find boot | cpio -o -H newc) >/tmp/initramfs 2>/dev/null")
    address = other_kernel(
        bench, vm, f"accel-kexec /boot/vmlinuz /tmp/initramfs '{words}'", False)
    if LAST in memory(bench, vm, address):
        raise Failure("DMA for the old kernel is in the memory of the new one")
    cards_work(vm)


# The machine has no extended config space after it was suspended, and does not suspend again
# (docs/limits.md): AER comes before, and there is one suspend.
CHECKS = {"runtime": check_runtime, "aer": check_aer, "s3": check_s3, "kexec": check_kexec}
# These are not sure of themselves yet. What is typed while the machine goes to sleep can be cut
# short. And the probe's simulator stands still while another kernel boots: now and then a
# register of it is read meanwhile, and both wait for ever.
BY_NAME = {"s3", "kexec"}


def archive(files):
    """An initramfs of these files, by their names; as `cpio -H newc` makes it."""
    data = b""
    for number, (name, content, mode) in enumerate(files, 1):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        data += b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (name.encode() + b"\0", content):
            data += part
            data += bytes(-len(data) % 4)
    return data


def guest_with_kernel(bench):
    """A guest that has its own kernel and initramfs in /boot."""
    folder = bench.folder / "guest"
    folder.mkdir()
    kernel = open(f"{bench.options.guest}/vmlinuz", "rb").read()
    initramfs = open(f"{bench.options.guest}/initramfs.cpio.gz", "rb").read()
    # One archive after the other, each at a multiple of 4.
    initramfs += bytes(-len(initramfs) % 4)
    shutil.copy(f"{bench.options.guest}/vmlinuz", folder)
    (folder / "initramfs.cpio.gz").write_bytes(initramfs + archive([
        ("boot", b"", 0o040755), ("boot/vmlinuz", kernel, 0o100644),
        ("boot/initramfs", initramfs, 0o100644), ("TRAILER!!!", b"", 0)]))
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qemu", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("checks", nargs="*")
    options = parser.parse_args()
    bench = Bench(options, "accpower-")

    def everything():
        # A BAR may be mapped beside its driver.
        vm = step("start", "the guest is at its prompt", lambda: bench.start(
            "vm", guest=guest_with_kernel(bench), ram="1G",
            words="iomem=relaxed"))
        run_checks(bench, vm, CHECKS, options.checks or CHECKS.keys() - BY_NAME)
        bench.finish(vm)
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
