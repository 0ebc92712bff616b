#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Everything at once, for a long time: scripts/soak.sh."""

import random
import re
import sys
import time
from pathlib import Path

from suite import (
    Bench,
    at_least,
    build_guest,
    build_simulations,
    options_of,
    qemu_in,
    run,
)
from told import Told
from vm import ROOT, Failure, Process

# A step of the guest is over in far less, also on a machine with much else to do.
PATIENCE = 400.0
# What QEMU may have: the guest's memory, all of it touched, and as much for itself.
MOST_KIB = (512 + 512) * 1024
COUNTS = ("runs", "rounds", "flr", "bus_resets", "restarts", "bad")


def resident_kib(pid):
    found = re.search(r"(?m)^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


class Soak(Bench):
    def __init__(self, options):
        super().__init__(options, "accsoak-")
        self.random = random.Random(options.seed)
        self.endpoint = f"ipc://{self.folder}/pcie"
        self.started = 0
        self.values = {}
        self.errors = 0
        self.resident = []
        self.start_simulator()
        self.vm = self.own(Told(
            "vm", self.folder, options.qemu, options.guest,
            f"accel.run=soak accel.args={options.seconds},{options.seed}",
            "-accel", "tcg", "-smp", "2", "-device", "pcie-root-port,id=rp0",
            "-device", f"accelerator-pcie,id=acc0,bus=rp0,endpoint={self.endpoint}"))

    def start_simulator(self):
        # One log for each, since the last words are those of the one that died.
        self.started += 1
        self.simulator = self.own(Process(
            f"simulator{self.started}",
            [ROOT / "build/sim/probe/probe", f"+accelerator_endpoint={self.endpoint}"],
            self.folder))

    def obey(self):
        """Does what the guest asks for, until it is through."""
        for key, value in self.vm.lines(PATIENCE):
            if (key, value) == ("soak", "kill"):
                time.sleep(self.random.uniform(0, 1.5))
                self.simulator.kill()
                self.processes.remove(self.simulator)
                self.look_through(self.simulator)
            elif (key, value) == ("soak", "start"):
                time.sleep(self.random.uniform(0, 0.5))
                self.start_simulator()
            elif key == "progress":
                # What the guest touches for the first time is behind it by the first.
                self.resident.append(resident_kib(self.vm.pid))
                print(f"{value}; QEMU has {self.resident[-1] // 1024} MiB", flush=True)
            elif key == "error":
                self.errors += 1
                print(f"the guest: {value}", flush=True)
            else:
                self.values[key] = value

    @staticmethod
    def look_through(process):
        found = re.search("(?m)^.*(panicked|protocol|Assertion).*$", process.text())
        if found:
            raise Failure(f"{process.name} complained: {found[0]}")
        # A run of days is not to fill the disk.
        if process.name.startswith("simulator"):
            process.log.unlink()

    def judge(self):
        status = self.vm.process.wait(60)
        if status != 0:
            raise Failure(f"QEMU ended with status {status}")
        if self.values.get("status") != "0":
            raise Failure(f"the guest's part ended with status {self.values.get('status')}")
        if self.errors:
            raise Failure(f"the guest reported {self.errors} errors")
        if not self.resident or self.resident[-1] >= MOST_KIB:
            raise Failure(f"QEMU's memory in KiB, at each progress: {self.resident}")
        self.look_through(self.vm)
        status = self.simulator.end()
        if status != 0:
            raise Failure(f"the simulator ended with status {status}")
        self.processes.remove(self.simulator)
        self.look_through(self.simulator)
        lost = len(re.findall("(?m)link is down|connection was lost", self.vm.text()))
        for name, value in (
                *((name.replace("_", " "), self.values.get(name, "?")) for name in COUNTS),
                ("links that QEMU lost", lost),
                ("QEMU KiB at first, at last", f"{self.resident[0]} {self.resident[-1]}"),
                ("seed", self.options.seed)):
            print(f"  {name:28} {value}")


def main():
    parser = options_of("soak.sh", """
        A guest with two vCPUs and the simulation of the example probe, at random from a seed: MMIO
        from both vCPUs, DMA both ways and interrupts, with the data checked in each run; function
        level and bus resets; and simulators that are killed in the middle of the traffic and
        replaced, while the guest goes on.

        It ends with its counts and PASS, or with FAIL and the logs' folder.""")
    parser.add_argument("--seconds", type=at_least(0), default=30, metavar="N",
                        help="for how long (default: 30)")
    parser.add_argument("--seed", type=at_least(0), default=random.randrange(1 << 31), metavar="N",
                        help="of what happens (default: a new one, which is printed)")
    options = parser.parse_args()
    # The guest's program takes 31 bits.
    options.seed %= 1 << 31
    options.qemu = qemu_in(options.qemu)
    build_simulations("probe")
    options.guest = build_guest("guest-plain")
    print(f"{options.seconds} s, seed {options.seed}", flush=True)
    bench = Soak(options)

    def everything():
        bench.obey()
        bench.judge()
    status = run(bench, everything)
    print("FAIL" if status else "\nPASS")
    return status


if __name__ == "__main__":
    sys.exit(main())
