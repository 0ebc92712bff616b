#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What docs/guest-clock.md says of the guest's time while RTL is slow: scripts/test-guest-clock.sh.
"""

import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from suite import Bench, at_least, build_simulations, options_of, qemu_in, run, script, step
from told import Told
from vm import ROOT, Failure, Qmp, Simulator

# How long the simulator is stopped while the guest reads a register; the guest comes to the read
# some three seconds later.
STOP_SECONDS = 10
# A step of the guest is over in far less, also on a machine with much else to do.
PATIENCE = 300.0
# Of hdl/examples/regs, which counts its clocks.
CLOCK_NS = 4


@dataclass
class Measured:
    """What a guest has told of its time."""

    idle_wall_ms: float = 0
    idle_guest_ms: int = 0
    wait_guest_ms: int = 0
    # Time of the guest and of the RTL, by itself and while the one follows the other.
    alone_ns: int = 0
    alone_rtl_ns: int = 0
    following_ns: int = 0
    following_rtl_ns: int = 0
    rounds: int = 0
    together: int = 0
    follows: str = ""

    def add_round(self, guest_ns, rtl_ns):
        if self.follows != "yes":
            self.alone_ns += guest_ns
            self.alone_rtl_ns += rtl_ns
            return
        self.following_ns += guest_ns
        self.following_rtl_ns += rtl_ns
        self.rounds += 1
        # What is between two readings of the clocks is all that they may differ in.
        self.together += guest_ns <= 1.05 * rtl_ns and rtl_ns <= 1.25 * guest_ns


def measure(bench, name, *accelerator, follow):
    """Boots a guest with guest/clock.sh, and stops the simulator when that is ready for it."""
    endpoint, monitor = f"ipc://{bench.folder}/{name}.pcie", bench.folder / f"{name}.qmp"
    simulator = bench.own(Simulator(f"{name}-simulator", ROOT / "build/sim/regs/regs",
                                    bench.folder, {None: endpoint}))
    vm = bench.own(Told(
        name, bench.folder, bench.options.qemu, bench.folder / "guest", "accel.run=user",
        *accelerator, "-device", "pcie-root-port,id=rp0",
        "-device", f"accelerator-pcie,id=card,bus=rp0,endpoint={endpoint}",
        "-qmp", f"unix:{monitor},server=on,wait=off"))
    result, begin = Measured(), 0.0
    for key, value in vm.lines(PATIENCE):
        if key == "error":
            print(f"{name}: {value}")
        elif key == "idle_guest_ms":
            result.idle_guest_ms = int(value)
        elif key == "wait_guest_ms":
            result.wait_guest_ms = int(value)
        elif key == "clocks":
            # guest_ns N tsc N clocks N
            words = value.split()
            result.add_round(int(words[1]), int(words[5]) * CLOCK_NS)
        elif (key, value) == ("mark", "idle"):
            begin = time.monotonic()
        elif (key, value) == ("mark", "idled"):
            result.idle_wall_ms = 1000 * (time.monotonic() - begin)
        elif (key, value) == ("mark", "ready"):
            simulator.process.send_signal(signal.SIGSTOP)
            threading.Timer(STOP_SECONDS, simulator.process.send_signal, [signal.SIGCONT]).start()
        elif (key, value) == ("mark", "follow"):
            if not follow:
                break
            qmp = Qmp(str(monitor))
            qmp.command("qom-set", {"path": "/machine/peripheral/card", "property": "sim-clock",
                                    "value": 10000})
            qmp.close()
        elif (key, value) == ("mark", "follows"):
            result.follows = "yes"
        elif (key, value) == ("mark", "measured"):
            result.follows = "measured"
    for process in (vm, simulator):
        process.end()
    if not (result.idle_wall_ms and result.idle_guest_ms and result.wait_guest_ms):
        raise Failure(f"{name}: the guest did not come to its end; {vm.kernel_log()[-1000:]}")
    print(f"  {name}: a sleep is {result.idle_guest_ms} ms for the guest, "
          f"{result.idle_wall_ms:.0f} ms on the wall; a read of RTL that stands still (for about "
          f"{STOP_SECONDS - 3} s) is {result.wait_guest_ms} ms for the guest", flush=True)
    return result


def part_wait(bench):
    """RTL that stands still: with icount the guest does not notice; sim-clock follows slow RTL"""
    build_simulations("regs")
    script("build-guest.sh", "--run", "guest/clock.sh", "--out", str(bench.folder / "guest"))
    plain = measure(bench, "plain", "-accel", "tcg", follow=True)
    # The guest waits as long as everybody.
    if plain.wait_guest_ms < 3000:
        raise Failure(f"without icount the wait was {plain.wait_guest_ms} ms for the guest, "
                      "expected at least 3000")
    if plain.follows != "measured":
        raise Failure("the guest's time did not follow the simulator's")
    print(f"  alone: {plain.alone_ns // 1000} us for the guest were {plain.alone_rtl_ns // 1000} "
          f"us of simulated time; following: {plain.following_ns // 1000} us were "
          f"{plain.following_rtl_ns // 1000} us, together in {plain.together} of {plain.rounds} "
          "rounds")
    # By itself a simulator this slow does not come near.
    if plain.alone_rtl_ns * 2 >= plain.alone_ns:
        raise Failure("the simulator is too fast to show anything")
    # On a busy host a vCPU may be kept waiting between the readings, and RTL goes on.
    if plain.together * 2 <= plain.rounds:
        raise Failure(f"guest time follows the simulator's in {plain.together} of {plain.rounds} "
                      "rounds")

    icount = measure(bench, "icount", "-accel", "tcg,thread=single", "-icount",
                     bench.options.icount, follow=False)
    # It does not notice the wait.
    if icount.wait_guest_ms >= 2000:
        raise Failure(f"with icount the wait was {icount.wait_guest_ms} ms for the guest, "
                      "expected less than 2000")
    if "sleep=on" in bench.options.icount and icount.idle_wall_ms < 4000:
        raise Failure("with icount and sleep=on a sleep of 5 s took "
                      f"{icount.idle_wall_ms:.0f} ms on the wall")


def slow(bench, name, *options):
    """Two VMs with a slow card; the average round trip in microseconds of the guest."""
    log = bench.folder / f"{name}.log"
    with open(log, "w") as file:
        status = subprocess.run(
            [ROOT / "scripts/run-cosim.sh", "--example", "virtio_net", "--test", "tcp",
             "--pings", "20", "--bytes", "65536", "--accel", "tcg",
             "--qemu", bench.options.qemu_folder, "--plain-qemu", bench.options.plain_qemu,
             "--clocks-per-second", str(bench.options.clocks_per_second),
             "--logs", bench.folder / name, *options],
            check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    text = log.read_text(errors="replace")
    if status != 0:
        raise Failure(f"{name} failed with status {status}:\n{text[-3000:]}")
    for line in re.findall(r"(?m)^ +((?:accel|plain) (?:rtt|sent|tcp).*)$", text):
        print(f"  {name}: {line}", flush=True)
    found = re.search(r"(?m)^  accel rtt us *\d+/(\d+)/", text)
    if not found:
        raise Failure(f"{name}: no round trips")
    return int(found[1])


def part_tcp(bench):
    """round trips and TCP of a slow network card, by the wall's clock and by the simulator's"""
    if not (ROOT / bench.options.plain_qemu / "bin/qemu-system-x86_64").exists():
        script("build-qemus.sh", "--baseline-only")
    alone = slow(bench, "alone")
    following = slow(bench, "following", "--sim-clock", "1000")
    print(f"  a round trip is {alone} us for the guest, and {following} us if its time follows the "
          "simulator's")
    # A round trip takes some hundred clocks at least.
    if alone * bench.options.clocks_per_second < 200 * 1_000_000:
        raise Failure(f"a round trip of {alone} us is less than 200 clocks of slow RTL")
    if following * 20 >= alone:
        raise Failure("guest time followed the simulator's, and a round trip was "
                      f"{following} us all the same")


PARTS = {"wait": part_wait, "tcp": part_tcp}


def main():
    parser = options_of("test-guest-clock.sh", """
        What docs/guest-clock.md says, in two parts:

          wait  boots a guest twice, with and without -icount. The simulator is stopped for some
                seconds while the guest reads a register. Prints how long that and a sleep of five
                seconds were for the guest and by the clock on the wall. The guest without -icount
                then has its time follow the simulator's, and compares it with a register that
                counts clocks
          tcp   two VMs; the simulation of the network card is slowed down to a thousandth of
                250 MHz, and round trips and TCP are measured by the guest's clock, once when that
                is the wall's and once when it follows the simulator's""")
    parser.add_argument("--part", choices=PARTS, help="this one alone")
    parser.add_argument("--plain-qemu", default="build/qemu/baseline", metavar="DIR",
                        help="that of the plain VM (default: build/qemu/baseline)")
    parser.add_argument("--icount", default="shift=3,sleep=on", metavar="OPTIONS",
                        help="for -icount (default: shift=3,sleep=on)")
    parser.add_argument("--clocks-per-second", type=at_least(1000), default=250_000, metavar="N",
                        help="of the slow card (default: 250000)")
    options = parser.parse_args()
    options.qemu_folder, options.qemu = options.qemu, qemu_in(options.qemu)
    bench = Bench(options, "accclock-")

    def everything():
        for name, part in PARTS.items():
            if options.part in (None, name):
                step(name, part.__doc__, lambda part=part: part(bench))
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
