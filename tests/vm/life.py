#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Cards that come, go, are reset and replaced under a real guest:
scripts/test-life.sh."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cards import CARD, REGS, SORT, port_above, setpci, sort_works, wait_for_driver, where
from suite import (
    Bench,
    at_least,
    build_guest,
    build_simulations,
    first_line,
    options_of,
    qemu_in,
    run,
    step,
)
from vm import ROOT, Failure, QmpError, Simulator, Vm, is_over, usage_of, wait_for


class Cards(Bench):
    """Two VMs: A with a sorter of its own and a simulator that is two cards, B with a sorter."""

    def __init__(self, options):
        super().__init__(options, "acclife-")
        self.sims = {}
        self.a = self.b = None

    def endpoint(self, name):
        return f"ipc://{self.folder}/{name}"

    def simulate(self, name, what, bridges=None):
        self.sims[name] = self.own(Simulator(name, ROOT / f"build/sim/{what}/{what}", self.folder,
                                             bridges or {None: self.endpoint(name)}))
        return self.sims[name]

    def start(self, first, second):
        """Starts the first VM with its simulators, the second, or both."""
        common = (self.folder, self.options.qemu, self.options.guest)
        if first:
            self.start_first(common)
        if second:
            self.start_second(common)
        for vm in (self.a, self.b):
            if vm:
                vm.boot()
                vm.ok("lsmod | grep -q accel_sort")

    def start_first(self, common: tuple[Path, str, str]):
        self.simulate("sort_a", "sort")
        self.simulate("twin", "twin", {side: self.endpoint(side) for side in ("left", "right")})
        self.a = self.own_vm(Vm("vm_a", *common, [("acc0", self.endpoint("sort_a")),
                                                  ("left", self.endpoint("left")),
                                                  ("right", self.endpoint("right"))]))

    def start_second(self, common: tuple[Path, str, str]):
        self.simulate("sort_b", "sort")
        # pciehp there, ACPI in the other.
        self.b = self.own_vm(Vm(
            "vm_b", *common, [("acc0", self.endpoint("sort_b"))],
            extra=("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")))


def check_many(bench):
    """Two cards in one VM, two bridges in one simulator, two VMs on one host."""
    for vm in (bench.a, bench.b):
        sort_works(vm)
    addresses = where(bench.a, REGS)
    if len(addresses) != 2:
        raise Failure(f"the guest sees {addresses}, expected two cards {REGS}")
    # Each has registers of its own, and neither those of the other.
    for n, address in enumerate(addresses):
        bench.a.ok(f"accel-mmio --function {address} expect 4 0 0x53474552 "
                   f"write 4 4 {0x1111 * (n + 1)} >/dev/null")
    for n, address in enumerate(addresses):
        bench.a.ok(f"accel-mmio --function {address} expect 4 4 {0x1111 * (n + 1)} "
                   "test 0x10 0x80 >/dev/null")
    # One of two bridges goes and comes; the other works on meanwhile.
    before = usage_of(bench.sims["twin"].pid)
    bench.a.qmp.command("device_del", {"id": "right"})
    bench.a.qmp.wait_event("DEVICE_DELETED")
    bench.a.ok(f"accel-mmio --function {addresses[0]} expect 4 4 {0x1111} >/dev/null")
    bench.a.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "right", "bus": "rp2",
                                       "endpoint": bench.endpoint("right")})
    wait_for("the second card", lambda: len(where(bench.a, REGS)) == 2)
    # The reset at the start of the session went to this one alone.
    bench.a.ok(f"accel-mmio --function {addresses[0]} expect 4 4 {0x1111} >/dev/null")
    bench.a.ok(f"accel-mmio --function {addresses[1]} expect 4 4 0 >/dev/null")
    after = usage_of(bench.sims["twin"].pid)
    for what in ("descriptors", "threads"):
        if before[what] != after[what]:
            raise Failure(f"the simulator had {before[what]} {what}, now {after[what]}")


def check_reset(bench):
    """FLR, bus reset and reboot: the RTL is reset, and the function is as after power-on."""
    vm = bench.a
    address = where(vm, SORT)[0]
    port = port_above(vm, address)
    scratch = f"accel-mmio --function {address}"
    methods = vm.ok(f"cat /sys/bus/pci/devices/{address}/reset_method").split()
    if "flr" not in methods or "bus" not in methods:
        raise Failure(f"the guest can reset the card by {methods}, expected flr and bus")

    # As registers: what the function is like right after.
    raw = {
        "flr": f"v=$(setpci -s {address} CAP_EXP+8.w); "
               f"setpci -s {address} CAP_EXP+8.w=$(printf %x $((0x$v | 0x8000)))",
        "bus": f"setpci -s {port} BRIDGE_CONTROL.w=40:40; sleep 0.01; "
               f"setpci -s {port} BRIDGE_CONTROL.w=0:40",
    }
    for method, line in raw.items():
        # With the driver: its vectors and bus mastering are on.
        if setpci(vm, address, "COMMAND.w") & 6 != 6:
            raise Failure("the driver has not switched memory and bus mastering on")
        if not setpci(vm, address, "CAP_MSIX+2.w") & 0x8000:
            raise Failure("the driver has not switched MSI-X on")
        vm.ok("rmmod accel_sort")
        bar = setpci(vm, address, "BASE_ADDRESS_0")
        # MSI-X enabled and masked, so that a reset has something to clear.
        vm.ok(f"setpci -s {address} COMMAND.w=6 CAP_MSIX+2.w=c000")
        vm.ok(f"{scratch} write 4 0x14 0x600d expect 4 0x14 0x600d >/dev/null")
        vm.ok(line)
        time.sleep(0.1)
        for what, register, mask in (("Command", "COMMAND.w", 0xffff),
                                     ("BAR 0", "BASE_ADDRESS_0", 0xfffffff0),
                                     ("MSI-X control", "CAP_MSIX+2.w", 0xc000)):
            value = setpci(vm, address, register) & mask
            if value != 0:
                raise Failure(f"{what} is {value:#x} after {method}, expected 0")
        # Back where it was, the RTL has forgotten.
        vm.ok(f"setpci -s {address} BASE_ADDRESS_0={bar:x} COMMAND.w=2")
        vm.ok(f"{scratch} expect 4 0x14 0 expect 4 0 0x54524f53 >/dev/null")
        vm.ok(f"echo 1 >/sys/bus/pci/devices/{address}/remove; echo 1 >/sys/bus/pci/rescan; "
              "insmod /modules/accel_sort.ko")
        sort_works(vm, 2)

    # As the kernel does it, with the driver bound and files open.
    for method in ("flr", "bus"):
        vm.ok(f"echo {method} >/sys/bus/pci/devices/{address}/reset_method && "
              f"echo 1 >/sys/bus/pci/devices/{address}/reset")
        sort_works(vm, 2)

    # The machine: everything anew, the simulator included, in the same session.
    vm.restart(lambda: vm.send("reboot -f"))
    address = where(vm, SORT)[0]
    vm.ok("lsmod | grep -q accel_sort || insmod /modules/accel_sort.ko")
    sort_works(vm, 2)


def check_hotplug(bench):
    """Plugging in and out with the driver loaded leaves nothing behind."""
    vm, simulator, rounds = bench.a, bench.sims["sort_a"], bench.options.rounds
    seen = {}
    # Some is made once and kept, and caches fill in the first rounds.
    warm = max(2, rounds // 10)
    for n in range(rounds + 1):
        sort_works(vm, 1)
        vm.qmp.command("device_del", {"id": "acc0"})
        vm.qmp.wait_event("DEVICE_DELETED")
        if n in (warm, rounds):
            # The memory of the last one is freed after a grace period.
            time.sleep(0.5)
            seen[n] = {"QEMU": usage_of(vm.pid), "the simulator": usage_of(simulator.pid)}
        vm.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "acc0", "bus": "rp0",
                                      "endpoint": bench.endpoint("sort_a")})
        wait_for("the driver's probe", lambda: vm.qmp.is_back(CARD + "acc0", "bus-master"))
        wait_for_driver(vm)
    for who, before in seen[warm].items():
        after = seen[rounds][who]
        print(f"  {who}: {rounds - warm} times: {before} -> {after}")
        for what in ("descriptors", "sockets", "threads"):
            if after[what] != before[what]:
                raise Failure(f"{who} had {before[what]} {what} after {warm} rounds, "
                              f"{after[what]} after {rounds}")
        grown = (after["anonymous_kib"] - before["anonymous_kib"]) / (rounds - warm)
        # Translated guest code counts as well, so a few rounds prove little.
        limit = 64 if rounds >= 100 else 1024
        if grown > limit:
            raise Failure(f"{who} grows by {grown:.0f} KiB each time, expected at most {limit}")
    # A simulator that is not there ends the wait of device_add.
    vm.qmp.command("device_del", {"id": "acc0"})
    vm.qmp.wait_event("DEVICE_DELETED")
    try:
        vm.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "acc0", "bus": "rp0",
                                      "endpoint": bench.endpoint("nobody"),
                                      "handshake-timeout": 300})
        raise Failure("device_add without a simulator succeeded")
    except QmpError as e:
        if "no simulator at" not in str(e):
            raise
    vm.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "acc0", "bus": "rp0",
                                  "endpoint": bench.endpoint("sort_a")})
    wait_for("the driver's probe", lambda: vm.qmp.is_back(CARD + "acc0", "bus-master"))
    wait_for_driver(vm)


def swap(bench, vm, name, *arguments):
    """Runs scripts/swap-rtl.sh and returns the seconds that it prints."""
    # It needs the QMP socket for itself.
    vm.qmp.close()
    vm.qmp = None
    log = bench.folder / f"swap_{name}.log"
    with open(log, "ab") as out:
        status = subprocess.run(
            [ROOT / "scripts/swap-rtl.sh", "--qmp", vm.qmp_path, "--pid", str(bench.pids[name]),
             "--device", "acc0", "--timeout", "240", *arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False).returncode
    text = log.read_text(errors="replace")
    vm.qmp = vm._connect(vm.qmp_path)
    if status != 0:
        raise Failure(f"swap-rtl.sh {arguments} ended with status {status}:\n{text}")
    pid, program = re.findall(r"simulator (\d+): (.*)", text)[-1]
    bench.pids[name] = int(pid)
    # The build for editing is the default, and what the seconds are about.
    if not re.search(r"build/sim/([a-z_]+-edit)/\1$", program):
        raise Failure(f"swap-rtl.sh {arguments} has started {program}, "
                      "expected a build for editing")
    parts = re.findall(r"build ([0-9.]+) s, swap ([0-9.]+) s, driver \([a-z-]+\) ([0-9.]+) s", text)
    total = float(re.findall(r"re-probed: ([0-9.]+)", text)[-1])
    if not parts or abs(sum(map(float, parts[-1])) - total) > 0.1:
        raise Failure("swap-rtl.sh does not tell the seconds of each part, "
                      f"{total} s in all:\n{text}")
    return total


def check_swap(bench):
    """Edited RTL under a running guest: same identity, another one, and back."""
    bench.pids = {name: bench.sims[name].pid for name in ("sort_a", "sort_b")}
    try:
        for vm, name in ((bench.a, "sort_a"), (bench.b, "sort_b")):
            # The edit: a constant in a register.
            design = bench.folder / "sort-edited"
            shutil.rmtree(design, ignore_errors=True)
            shutil.copytree(ROOT / "hdl/examples/sort", design)
            files = design / "sort.f"
            files.write_text(re.sub(r"(?m)^-F .*$", f"-F {ROOT}/hdl/bridge.f", files.read_text()))
            regs = design / "sort_regs.sv"
            regs.write_text(regs.read_text().replace("32'h0001_0000", "32'h0001_00e1"))
            seconds = swap(bench, vm, name, "--top", "sort_top", "--files", str(files))
            print(f"  {vm.name}: edited RTL, {seconds:.1f} s from save to re-probed")
            # The script has seen the driver begin.
            wait_for_driver(vm)
            sort_works(vm, 2)
            version = version_of(vm)
            if version != 0x000100e1:
                raise Failure(f"VERSION is {version:#x} after the edit, expected 0x100e1")

            # Another card altogether, which the guest has to enumerate anew.
            seconds = swap(bench, vm, name, "--driver", "link-up", "regs")
            print(f"  {vm.name}: another card, {seconds:.1f} s")
            wait_for("the other card", lambda vm=vm: not where(vm, SORT))
            wanted = 3 if vm is bench.a else 1
            wait_for("the other card", lambda vm=vm, n=wanted: len(where(vm, REGS)) == n)

            # That one dies, and the first comes back, with nobody's help.
            subprocess.run(["kill", "-KILL", str(bench.pids[name])], check=True)
            wait_for("the simulator's end", lambda name=name: is_over(bench.pids[name]))
            simulator = bench.simulate(f"{name}_again", "sort", {None: bench.endpoint(name)})
            bench.pids[name] = simulator.pid
            wait_for("the driver's probe", lambda vm=vm: where(vm, SORT) and
                     vm.qmp.is_back(CARD + "acc0", "bus-master"))
            wait_for_driver(vm)
            sort_works(vm, 2)
    finally:
        # Those that the script started are not ours.
        for pid in bench.pids.values():
            if pid not in [process.pid for process in bench.processes]:
                subprocess.run(["kill", "-TERM", str(pid)], check=False)


def version_of(vm):
    address = where(vm, SORT)[0]
    vm.ok("rmmod accel_sort")
    output = vm.ok(f"setpci -s {address} COMMAND=2; accel-mmio --function {address} read 4 4")
    vm.ok("insmod /modules/accel_sort.ko")
    return int(re.search(r"ACCEL value=(0x[0-9a-f]+)", output).group(1), 16)


CHECKS = {"many": check_many, "reset": check_reset, "hotplug": check_hotplug, "swap": check_swap}


def main():
    parser = options_of("test-life.sh", """
        Starts two VMs and three simulators, one of them with two bridges, and does checks.""",
                        CHECKS)
    parser.add_argument("--rounds", type=at_least(4), default=10, metavar="N",
                        help="how often hotplug plugs (default: 10; 100 is the long form)")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("sort", "regs", "twin")
    options.guest = build_guest("guest-life")
    bench = Cards(options)

    def everything():
        wanted = set(options.checks or CHECKS)
        step("start", "the guests are at their prompts",
             lambda: bench.start(True, wanted & {"many", "swap"}))
        for name, check in CHECKS.items():
            if name in wanted:
                step(name, first_line(check), lambda check=check: check(bench))
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
