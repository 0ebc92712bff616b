#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What takes a card away from its driver, or the driver from its card, and gives it back: sleep,
errors of PCI Express, another kernel: scripts/test-power.sh."""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from cards import CARD, PROBE, SORT, sort_works, where
from guest_os import Cards, Traffic, program, reports, run_checks, said
from suite import build_guest, build_simulations, options_of, qemu_in, run, step
from vm import Failure, wait_for

# Registers of the probe, and the first of them.
LIT_ADDR, LIT_CTRL, LIT_GO, LIT_DONE, LIT_ERRORS = 0x90, 0x98, 0x9c, 0xa0, 0xa8
PROBE_ID = 0x424f_5250
# LIT_CTRL: an interrupt of vector 3 for each round, which writes 8 words of 8 bytes.
ROUND, ROUND_BYTES = 0x0007_0302, 64
# Rounds that wait in the simulator for the next kernel, and the number of the last one.
ROUNDS, LAST = 20, 0x5afe_0014


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
    # A driver whose registers a program has mapped; also after a reset, which uses up what was
    # saved.
    probe = where(vm, PROBE)[0]
    for error, kind in (("DLP", FATAL), ("UNX_COMP", NON_FATAL), ("MALF_TLP", FATAL)):
        # No job of this shell, which would tell of its end in the middle of another answer.
        vm.ok("rm -f /tmp/ended; : >/tmp/probed; "
              "( (accel-probe >/tmp/probed 2>&1; : >/tmp/ended) & )")
        wait_for("a program at work", lambda: "=pass" in vm.ok("cat /tmp/probed"), 120.0)
        inject(vm, "probe", error, kind, "device recovery successful")
        wait_for("its end", lambda: vm.run("[ -e /tmp/ended ]")[0] == 0, 120.0)
        vm.ok("grep -q 'error=the driver has taken the registers away' /tmp/probed")
        program(vm, "accel-probe --rounds 500")
        vm.ok(f"echo 1 >/sys/bus/pci/devices/{probe}/reset")
        program(vm, "accel-probe --rounds 500")
    sort_works(vm)
    # A card without a driver is not given back, but others live on.
    vm.ok("rmmod accel_probe")
    inject(vm, "probe", "DLP", FATAL, "device recovery failed")
    sort_works(vm)
    vm.ok(f"echo 1 >/sys/bus/pci/devices/{probe}/remove; echo 1 >/sys/bus/pci/rescan; "
          "insmod /modules/accel_probe.ko")
    cards_work(vm)


def check_s3(bench, vm):
    """Suspend to RAM and resume, with the cards at work."""
    del bench

    def wake():
        vm.qmp.wait_event("SUSPEND", 300.0)
        status = vm.qmp.command("query-status")["status"]
        if status != "suspended":
            raise Failure(f"the machine is '{status}' after SUSPEND, expected 'suspended'")
        vm.qmp.command("system_wakeup")
        vm.qmp.wait_event("WAKEUP")

    traffic = Traffic(vm)
    # What is typed while the serial port sleeps or wakes is lost, and what the kernel says
    # would be in the middle of the answer.
    vm.ok("echo 1 >/proc/sys/kernel/printk")
    status, output = vm.run("echo mem >/sys/power/state", meanwhile=wake)
    if status != 0:
        raise Failure(f"the machine does not sleep: {output}")
    # A processor that does not get on within ten seconds is left behind by the kernel. That is
    # the host's, which is shared.
    vm.ok("cd /sys/devices/system/cpu/cpu1; [ $(cat online) = 1 ] || echo 1 >online; cd /")
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


@contextlib.contextmanager
def held(simulator):
    """Has a simulator stand still. Writes wait for it, which they are posted to; nobody may read
    from it, since that would wait as well."""
    os.kill(simulator.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(simulator.pid, signal.SIGCONT)


def other_kernel(bench, vm, start, bus_master):
    """Starts another kernel with DMA that the probe does only when that kernel runs, which leaves
    the cards alone. `bus_master` is what is left of Bus Master Enable. Returns the address of that
    DMA."""
    program(vm, "accel-probe --rounds 500")
    address = read_probe(vm, LIT_ADDR, 8)
    errors = read_probe(vm, LIT_ERRORS)
    with held(bench.simulator(vm, "probe")):
        vm.ok(f"accel-mmio --function {PROBE} write 4 {LIT_CTRL:#x} {ROUND:#x} " +
              " ".join(f"write 4 {LIT_GO:#x} {LAST - ROUNDS + 1 + n:#x}" for n in range(ROUNDS)) +
              " >/dev/null")
        vm.restart(start, reset=False)
        # It has enumerated the cards; no driver has set Bus Master Enable.
        found = {card: property_of(vm, card, "bus-master") for card in ("sort", "probe")}
        if set(found.values()) != {bus_master}:
            raise Failure(f"the other kernel finds Bus Master Enable {found}, "
                          f"expected {bus_master}")
        if LAST in memory(bench, vm, address):
            raise Failure("a simulator that stands still has done DMA")
    # The RTL is as it was: nothing has reset it.
    wait_for("the probe's last round", lambda: read_probe(vm, LIT_DONE) == LAST, 60.0)
    refused = read_probe(vm, LIT_ERRORS) - errors
    wanted = 0 if bus_master else ROUNDS
    if refused != wanted:
        raise Failure(f"{refused} of {ROUNDS} DMA writes were refused, expected {wanted}")
    return address


def check_kexec(bench, vm):
    """kexec under DMA: none of it lands in the other kernel, which drives the cards."""
    words = vm.ok("cat /proc/cmdline").strip()
    vm.ok("(cat /boot/initramfs; cd /; find boot | cpio -o -H newc) >/tmp/initramfs 2>/dev/null")

    def start():
        # Short programs, of which some wait for the driver when it shuts the sorter down, and
        # would have it start the sorter anew.
        Traffic(vm, blocks=2, programs=8)
        vm.send(f"accel-kexec /boot/vmlinuz /tmp/initramfs '{words} accel.modules=no'")
    address = other_kernel(bench, vm, start, False)
    vm.ok("insmod /modules/accel_sort.ko && insmod /modules/accel_probe.ko")
    if LAST in memory(bench, vm, address):
        raise Failure("DMA for the old kernel is in the memory of the new one")
    cards_work(vm)


def check_kdump(bench, vm):
    """A panic under DMA: it goes on, and the crash kernel's drivers take the cards over."""
    words = " ".join(word for word in vm.ok("cat /proc/cmdline").split()
                     if not word.startswith(("crashkernel=", "accel.modules=")))
    vm.ok("accel-kexec --panic /boot/vmlinuz /boot/initramfs "
          f"'{words} nr_cpus=1 reset_devices accel.modules=no'")
    # The driver reads registers when nothing is done for long, and for a program that ends.
    vm.ok("echo 3600000 >/sys/module/accel_sort/parameters/warn_ms")
    Traffic(vm, blocks=10000)
    with contextlib.ExitStack() as stack:
        def panic():
            stack.enter_context(held(bench.simulator(vm, "sort")))
            vm.send("echo c >/proc/sysrq-trigger")
        address = other_kernel(bench, vm, panic, True)
        if LAST not in memory(bench, vm, address):
            raise Failure("DMA for the kernel that died is not in its memory")

        def go_on():
            # The driver waits for its first register.
            time.sleep(0.5)
            stack.close()
        # In the middle of the blocks that the other kernel had sorted.
        status, output = vm.run("insmod /modules/accel_sort.ko", meanwhile=go_on)
    if status != 0:
        raise Failure(f"the driver does not take the sorter over: {output}")
    sort_works(vm, 64)
    # Its program needs two processors.
    vm.ok(f"insmod /modules/accel_probe.ko && accel-mmio --function {PROBE} "
          f"expect 4 0 {PROBE_ID:#x} >/dev/null")


# The machine has no extended config space after it was suspended, and does not suspend again
# (docs/limits.md): AER comes before, and there is one suspend. The crash kernel has one processor
# and little memory, and is the last.
CHECKS = {"runtime": check_runtime, "aer": check_aer, "s3": check_s3, "kexec": check_kexec,
          "kdump": check_kdump}

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
    kernel = Path(f"{bench.options.guest}/vmlinuz").read_bytes()
    initramfs = Path(f"{bench.options.guest}/initramfs.cpio.gz").read_bytes()
    # One archive after the other, each at a multiple of 4.
    initramfs += bytes(-len(initramfs) % 4)
    shutil.copy(f"{bench.options.guest}/vmlinuz", folder)
    (folder / "initramfs.cpio.gz").write_bytes(initramfs + archive([
        ("boot", b"", 0o040755), ("boot/vmlinuz", kernel, 0o100644),
        ("boot/initramfs", initramfs, 0o100644), ("TRAILER!!!", b"", 0)]))
    return folder


def main():
    parser = options_of("test-power.sh", "Starts a VM with two cards and does checks.", CHECKS)
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("sort", "probe")
    options.guest = build_guest("guest-power")
    bench = Cards(options, "accpower-")

    def everything():
        # A BAR may be mapped beside its driver.
        vm = step("start", "the guest is at its prompt", lambda: bench.start(
            "vm", guest=guest_with_kernel(bench), ram="1G",
            words="iomem=relaxed crashkernel=256M"))
        run_checks(bench, vm, CHECKS, options.checks or CHECKS)
        bench.finish(vm)
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
