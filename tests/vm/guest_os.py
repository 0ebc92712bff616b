#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What an operating system does with a card besides driving it: scripts/test-guest-os.sh."""

import re
import sys

from cards import CARD, ENDPOINT, PROBE, SORT, setpci, sort_works, wait_for_driver, where
from suite import (
    Bench,
    at_least,
    build_crate,
    build_guest,
    build_simulations,
    first_line,
    options_of,
    qemu_in,
    run,
    script,
    step,
)
from vm import ROOT, Failure, Process, Simulator, Vm, wait_for

# What the kernel says when something is wrong with it or with what it was told. A processor
# that does not get on is the host's, which is shared.
TROUBLE = "BUG: kernel|BUG: unable|Oops|WARNING: CPU|nobody cared|No irq handler|lost interrupt"


class Cards(Bench):
    """VMs with the sorter, the probe and what else is asked for."""

    def start(self, name, peers=(), **more):
        """Starts a VM with simulators and endpoints of its own, and waits for its prompt. What
        else is given is the VM's."""
        cards = []
        for card, what in (("sort", "sort"), ("probe", "probe"), *peers):
            endpoint = self.endpoint(name, card)
            program = ROOT / f"build/sim/{what}/{what}"
            if what == "endpoint":
                self.own(Process(f"{name}-{card}", [
                    self.options.endpoint, "--endpoint", endpoint], self.folder))
            else:
                self.own(Simulator(f"{name}-{card}", program, self.folder, {None: endpoint}))
            cards.append((card, endpoint))
        vm = self.own_vm(Vm(name, self.folder, self.options.qemu,
                            more.pop("guest", self.options.guest), cards, **more))
        vm.boot()
        vm.ok("lsmod | grep -q accel_sort && lsmod | grep -q accel_probe")
        return vm

    def finish(self, vm):
        """Ends a VM that is not used any more, and the simulators of its cards."""
        vm.close()
        own = [p for p in self.processes if p is vm or p.name.startswith(f"{vm.name}-")]
        for process in reversed(own):
            self.processes.remove(process)
            self.end_process(process)
        self.vms.remove(vm)

    def endpoint(self, name, card):
        """Where the simulator of a card listens that is in the VM with this name."""
        return f"ipc://{self.folder}/{name}-{card}"

    def simulator(self, vm, card):
        """The simulator of a card."""
        return next(p for p in self.processes if p.name == f"{vm.name}-{card}")

    def replace(self, vm, card, what):
        """Another simulator in place of that of a card that is unplugged."""
        old = self.simulator(vm, card)
        self.processes.remove(old)
        self.end_process(old)
        self.own(Simulator(old.name, ROOT / f"build/sim/{what}", self.folder,
                           {None: self.endpoint(vm.name, card)}))

    def end_process(self, process):
        # The card without a simulator has no order to its end.
        if process.name.endswith("endpoint"):
            process.kill()
        else:
            super().end_process(process)


class Traffic:
    """Blocks are sorted in the background, by one program after the other: registers, DMA both
    ways and interrupts all the time. By several at a time if `programs` says so."""

    def __init__(self, vm, blocks=1000, programs=1):
        self.vm = vm
        vm.ok(f": >/tmp/statuses; : >/tmp/traffic; for n in $(seq {programs}); do "
              "while [ -e /tmp/traffic ]; do "
              f"accel-sort --blocks {blocks} >/tmp/sorted$n 2>&1; echo $? >>/tmp/statuses; "
              "done >/dev/null 2>&1 & done")
        before = self._interrupts()
        wait_for("an interrupt of the sorter", lambda: self._interrupts() > before)

    def _interrupts(self):
        """Interrupts so far: the work is under way."""
        output = self.vm.ok("grep accel_sort-done /proc/interrupts")
        return sum(int(word) for word in re.findall(r":\s+(\d+)\s+(\d+)", output)[0])

    def end(self):
        """Returns how each program has ended."""
        self.vm.ok("rm /tmp/traffic; pkill -INT accel-sort; wait", patience=900.0)
        return [int(word) for word in self.vm.ok("cat /tmp/statuses").split()]


def reports(output):
    return dict(re.findall(r"ACCEL (\w+)=([^\n]*)", output))


def program(vm, line):
    """Runs a program of the guest that has to pass, and returns what it reports."""
    status, output = vm.run(line)
    if status != 0 or reports(output).get("result") != "PASS":
        raise Failure(f"{vm.name}: '{line}' ended with status {status}:\n{output[-2000:]}")
    return reports(output)


def build_msi_sorter():
    """The sorter with MSI and no MSI-X."""
    script("build-sim.sh", "sort", "--out", "build/sim/msi", "-G", "MsixVectors=0",
           "-G", "MsiVectors=4", "-G", "MsiMasking=1")


def msi_works(bench, vm, granted):
    """A sorter that has MSI and no MSI-X, four vectors, in place of the one that the VM has: the
    kernel grants so many of them, and the card works with these."""
    vm.qmp.command("device_del", {"id": "sort"})
    vm.qmp.wait_event("DEVICE_DELETED")
    bench.replace(vm, "sort", "msi/sort")
    vm.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "sort", "bus": "rp0",
                                  "endpoint": bench.endpoint(vm.name, "sort")})
    wait_for("the driver's probe", lambda: vm.qmp.is_back(CARD + "sort", "bus-master"))
    wait_for_driver(vm)
    folder = f"/sys/bus/pci/devices/{where(vm, SORT)[0]}/msi_irqs"
    kinds = vm.ok(f"cat {folder}/*").split()
    if kinds.count("msi") != granted or "msix" in kinds:
        raise Failure(f"the kernel has {kinds}, expected 'msi' {granted} times")
    sort_works(vm, 32)
    flags = setpci(vm, where(vm, SORT)[0], "CAP_MSI+2.w")
    if flags >> 4 & 7 != granted.bit_length() - 1 or flags & 1 == 0:
        raise Failure(f"Message Control of MSI is {flags:#x}, expected {granted} vectors, enabled")
    address = where(vm, SORT)[0]
    vm.ok(f"echo flr >/sys/bus/pci/devices/{address}/reset_method; "
          f"echo 1 >/sys/bus/pci/devices/{address}/reset")
    sort_works(vm)


def build_table_probe():
    """The probe with its MSI-X table in RTL."""
    script("build-sim.sh", "probe", "--out", "build/sim/table", "-G", "MsixInRtl=1")


def table_works(bench, vm, interrupts):
    """A probe whose MSI-X table is in its RTL, in place of the one that the VM has: the kernel
    writes the table over the bus, the card writes its interrupts to memory, and none is lost while
    they move between processors."""
    vm.qmp.command("device_del", {"id": "probe"})
    vm.qmp.wait_event("DEVICE_DELETED")
    bench.replace(vm, "probe", "table/probe")
    vm.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "probe", "bus": "rp1",
                                  "endpoint": bench.endpoint(vm.name, "probe")})
    wait_for("the driver's probe", lambda: vm.qmp.is_back(CARD + "probe", "bus-master"))
    vm.ok("i=0; until [ -e /dev/accel_probe0 ]; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ]; done")
    address = where(vm, PROBE)[0]
    control = setpci(vm, address, "CAP_MSIX+2.w")
    if control != 0x8007:
        raise Failure(f"Message Control of MSI-X is {control:#x}, expected 8 vectors, enabled")
    found = program(vm, f"accel-affinity --interrupts {interrupts}")
    print(f"  {found['interrupts']} interrupts, {found['moves']} moves, "
          f"{found['taken_by_cpu0']} and {found['taken_by_cpu1']} taken by the two CPUs")
    # They were no vectors of the bridge's, which says at its end how many these were.
    vm.qmp.command("device_del", {"id": "probe"})
    vm.qmp.wait_event("DEVICE_DELETED")
    simulator = bench.simulator(vm, "probe")
    bench.processes.remove(simulator)
    bench.end_process(simulator)
    raised = re.findall(r"^probe: .* msix=(\d+)", simulator.log.read_text(), re.MULTILINE)
    if raised[-1:] != ["0"]:
        raise Failure(f"the bridge has raised {raised[-1:]} vectors, expected none")


def said(vm, text):
    """How often the kernel has said it."""
    # On the console it may say it in the middle of the answer.
    output = vm.ok(f"echo 1 >/proc/sys/kernel/printk; dmesg | grep -c '{text}'; true")
    return int(output.split()[-1])


def no_trouble(vm):
    """The kernel has nothing to complain of."""
    _, output = vm.run(f"dmesg | grep -E '{TROUBLE}' | head -n 20")
    if output.strip():
        raise Failure(f"{vm.name}: the kernel says:\n{output}")


def check_widths(bench, vm):
    """Every width that the CPU has: string, x87, SSE, AVX, locked, across pages."""
    del bench
    vm.ok("rmmod accel_probe")
    in_rtl = program(vm, f"accel-width --function {PROBE}")
    in_pages = program(vm, f"accel-width --function {ENDPOINT} --bar 2 --offset 0 --length 0x3000")
    vm.ok("insmod /modules/accel_probe.ko")
    total = int(in_rtl["accesses"]) + int(in_pages["accesses"])
    across = int(in_pages["accesses_across_pages"])
    print(f"  {in_rtl['instructions']} instructions, {total} accesses, {across} across pages")
    if total < 1800 or across < 500:
        raise Failure("expected at least 1800 accesses and 500 of them across pages")


def check_affinity(bench, vm):
    """Interrupts while their affinities move: none is lost."""
    found = program(vm, f"accel-affinity --interrupts {bench.options.interrupts}")
    print(f"  {found['interrupts']} interrupts, {found['moves']} moves, "
          f"{found['twice']} twice, {found['taken_by_cpu0']} and {found['taken_by_cpu1']} taken "
          "by the two CPUs")


def check_d3hot(bench, vm):
    """D3hot and back: nothing is answered meanwhile, nothing is lost."""
    del bench
    address = where(vm, SORT)[0]
    scratch = f"accel-mmio --function {address}"
    vm.ok("rmmod accel_sort")
    vm.ok(f"setpci -s {address} COMMAND.w=6")
    vm.ok(f"{scratch} write 4 0x14 0x600d expect 4 0x14 0x600d >/dev/null")
    bar = setpci(vm, address, "BASE_ADDRESS_0")
    for _ in range(20):
        vm.ok(f"setpci -s {address} CAP_PM+4.w=3:3")
        if setpci(vm, address, "CAP_PM+4.w") & 3 != 3:
            raise Failure("the power state is not D3hot")
        value = reports(vm.run(f"{scratch} read 4 0")[1])["value"]
        if int(value, 16) != 0xffff_ffff:
            raise Failure(f"a read in D3hot is {value}, expected all ones")
        vm.ok(f"{scratch} write 4 0x14 0xbad >/dev/null")
        vm.ok(f"setpci -s {address} CAP_PM+4.w=0:3")
        # No_Soft_Reset: configuration space and the RTL are as they were.
        if setpci(vm, address, "BASE_ADDRESS_0") != bar or \
                setpci(vm, address, "COMMAND.w") & 6 != 6:
            raise Failure("configuration space has changed in D3hot")
        vm.ok(f"{scratch} expect 4 0 0x54524f53 expect 4 0x14 0x600d >/dev/null")
    vm.ok("insmod /modules/accel_sort.ko")
    sort_works(vm)


def check_flr(bench, vm):
    """Function level resets while the card works."""
    address = where(vm, SORT)[0]
    vm.ok(f"echo flr >/sys/bus/pci/devices/{address}/reset_method")
    traffic = Traffic(vm)
    for _ in range(bench.options.resets):
        vm.ok(f"echo 1 >/sys/bus/pci/devices/{address}/reset; usleep 30000")
    statuses = traffic.end()
    if 1 not in statuses:
        raise Failure(f"no program noticed a reset; they ended with {statuses}")
    sort_works(vm)


def check_msi(bench, vm):
    """MSI without MSI-X: no interrupt remapping, so one vector for all that the card raises."""
    msi_works(bench, vm, 1)


def check_table(bench, vm):
    """MSI-X with its table in the RTL, which writes its interrupts itself."""
    table_works(bench, vm, bench.options.interrupts)


CHECKS = {"widths": check_widths, "affinity": check_affinity, "d3hot": check_d3hot,
          "flr": check_flr, "msi": check_msi, "table": check_table}


def run_checks(bench, vm, checks, wanted):
    """Does those of the checks that are wanted, in their order, in one VM."""
    for name, check in checks.items():
        if name in wanted:
            def checked(check=check):
                check(bench, vm)
                no_trouble(vm)
            step(name, first_line(check), checked)


def main():
    parser = options_of("test-guest-os.sh", "Starts a VM with three cards and does checks.", CHECKS)
    parser.add_argument("--interrupts", type=at_least(1), default=4000, metavar="N",
                        help="how many affinity raises (default: 4000; 64000 is the long form)")
    parser.add_argument("--resets", type=at_least(1), default=20, metavar="N",
                        help="how many flr makes (default: 20; 200 is the long form)")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("sort", "probe")
    build_msi_sorter()
    build_table_probe()
    options.guest = build_guest("guest-os")
    options.endpoint = build_crate("accelerator-peers", "--release", "--bin",
                                   "accelerator-endpoint") / "release/accelerator-endpoint"
    bench = Cards(options, "accos-")

    def everything():
        vm = step("start", "the guest is at its prompt", lambda: bench.start(
            "vm", [("endpoint", "endpoint")]))
        run_checks(bench, vm, CHECKS, options.checks or CHECKS)
        bench.finish(vm)
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
