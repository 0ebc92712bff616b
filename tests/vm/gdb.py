#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""gdb in the guest's driver and in the simulation of its card, as docs/debugging.md has it:
scripts/test-gdb.sh."""

import sys
import time

from cards import SORT, wait_for_driver, where
from pygdbmi.gdbcontroller import GdbController
from suite import (
    Bench,
    build_guest,
    build_simulations,
    first_line,
    options_of,
    qemu_in,
    run,
    step,
)
from vm import ROOT, Failure, Vm, wait_for

# Milliseconds; long for a machine that does something else as well.
COMPLETION_TIMEOUT = 10000
ID, ALL_ONES = 0x54524F53, 0xFFFFFFFF


class Gdb:
    """A gdb, by its machine interface."""

    def __init__(self, name, *arguments):
        self.name = name
        self.gdb = GdbController(["gdb", "--nx", "--quiet", "--interpreter=mi3",
                                  *map(str, arguments)],
                                 time_to_check_for_additional_output_sec=0.02)
        self.stops = []
        self.said = []
        self.do("-gdb-set mi-async on")
        self.do("-gdb-set confirm off")

    def _take(self):
        """What gdb has said within a moment; returns the results of commands."""
        results = []
        for line in self.gdb.get_gdb_response(timeout_sec=0.5, raise_error_on_timeout=False):
            if line["type"] == "result":
                results.append(line)
            elif line["type"] == "notify" and line["message"] == "stopped":
                self.stops.append(line["payload"] or {})
            elif line["type"] == "console":
                self.said.append(line["payload"])
        return results

    def do(self, command):
        """Carries out a command of the machine interface and returns what it has as a result."""
        self.gdb.write(command, read_response=False)
        results = wait_for(f"{self.name}: {command}", self._take)
        if results[0]["message"] == "error":
            raise Failure(f"{self.name}: {command}: {results[0]['payload']['msg']}")
        return results[0]["payload"] or {}

    def console(self, command):
        """Carries out what one would type, and returns what gdb says to it."""
        self.said.clear()
        self.do(f'-interpreter-exec console "{command}"')
        return "".join(self.said).replace("\\n", "\n")

    def value(self, expression):
        return self.do(f'-data-evaluate-expression "{expression}"')["value"]

    def go(self):
        self.stops.clear()
        self.do("-exec-continue")

    def wait_stop(self, function):
        """Waits until it has stopped in a function, and returns the frame."""
        def stopped():
            self._take()
            return self.stops
        stop = wait_for(f"{self.name}: a stop in {function}", stopped)[0]
        frame = stop.get("frame", {})
        if frame.get("func") != function:
            raise Failure(f"{self.name} has stopped in {frame.get('func')} because of "
                          f"{stop.get('reason')}, expected {function}")
        return frame

    def interrupt(self):
        """Stops what runs, wherever it is."""
        self.stops.clear()
        self.do("-exec-interrupt")
        wait_for(f"{self.name} stands", lambda: self._take() or self.stops)

    def stands_within(self, seconds):
        """Whether it stops within a time in which it should not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stops:
            self._take()
        return bool(self.stops)

    def is_running(self):
        return self.gdb.gdb_process is not None and self.gdb.gdb_process.poll() is None

    def tail(self):
        status = self.gdb.gdb_process.poll() if self.gdb.gdb_process else None
        return f"  {self.name}: status {status}, stops {self.stops}\n"

    def end(self):
        # What it has started ends with it; what it is connected to goes on.
        # Not by SIGTERM, which a gdb whose program runs may leave alone.
        if self.is_running():
            self.gdb.gdb_process.kill()
            self.gdb.gdb_process.wait()


class Debugged(Bench):
    """A sorter whose simulation runs in gdb, and a VM that another gdb is connected to."""

    def __init__(self, options):
        super().__init__(options, "accgdb-")
        self.vm = self.simulation = self.driver = None
        # The breakpoint at the answer of a read of ID.
        self.number = ""

    def start(self):
        endpoint = f"ipc://{self.folder}/sort"
        self.simulation = self.own(Gdb("simulation", "--args", ROOT / "build/sim/sort/sort"))
        log = self.folder / "sort.log"
        self.simulation.do(f"-exec-arguments +accelerator_endpoint={endpoint} >{log} 2>&1")
        self.simulation.do("-exec-run")
        self.vm = self.own_vm(Vm(
            "vm", self.folder, self.options.qemu, self.options.guest,
            [("acc0", f"{endpoint},completion-timeout={COMPLETION_TIMEOUT}")],
            extra=("-gdb", f"unix:{self.folder}/gdb,server=on,wait=off")))
        self.vm.boot()

    def connect(self):
        """Loads the driver, and connects another gdb to the VM."""
        self.vm.ok("insmod /modules/accel_sort.ko")
        wait_for_driver(self.vm)
        symbols = self.vm.ok("accel-symbols accel_sort").strip()
        if "-s .text 0x" not in symbols:
            raise Failure(f"accel-symbols says {symbols}")
        self.driver = self.own(Gdb("driver"))
        self.driver.console(symbols.replace("build/guest", str(ROOT / self.options.guest)))
        self.driver.do(f"-environment-directory {ROOT}/guest/driver")
        self.driver.do(f"-target-select remote {self.folder}/gdb")
        self.running(False)

    def running(self, expected):
        status = self.vm.qmp.command("query-status")
        if status["running"] != expected:
            raise Failure(f"the VM is {status}, expected {'it to run' if expected else 'a stop'}")


def check_driver(bench):
    """A breakpoint in the guest's driver: source lines, variables, a step"""
    bench.connect()
    gdb, vm = bench.driver, bench.vm
    number = gdb.do("-break-insert accel_sort_submit")["bkpt"]["number"]
    gdb.go()
    bench.running(True)
    vm.send("accel-sort --blocks 2 --seed 7 >/tmp/sorted; echo status $? >>/tmp/sorted")
    frame = gdb.wait_stop("accel_sort_submit")
    bench.running(False)
    if not frame["file"].endswith("accel_sort.c") or int(frame["line"]) < 100:
        raise Failure(f"gdb has stopped at {frame}")
    line = gdb.console(f"list {frame['line']},{frame['line']}")
    if line.split("\t", 1)[0] != frame["line"]:
        raise Failure(f"gdb shows no source: {line}")
    if (mask := int(gdb.value("accel->mask"))) != 63:
        raise Failure(f"accel->mask is {mask}, expected 63")
    if (bar := gdb.value("*(unsigned int *)accel->regs")) != str(ID):
        raise Failure(f"the ID register is {bar} for gdb, expected {ID}")
    gdb.stops.clear()
    gdb.do("-exec-next")
    after = gdb.wait_stop("accel_sort_submit")
    if after["line"] == frame["line"]:
        raise Failure(f"a step ends at {after}, where it began")
    frames = gdb.do("-stack-list-frames")["stack"]
    if not any(each["func"].startswith("accel_sort_ioctl") for each in frames):
        raise Failure(f"the stack is {[each.get('func') for each in frames]}")
    gdb.do(f"-break-delete {number}")
    gdb.go()
    vm.ok("while ! grep -q 'status 0' /tmp/sorted; do sleep 0.1; done")
    vm.ok("grep -q 'ACCEL result=PASS' /tmp/sorted")


def read_id(bench, name):
    """Has the guest read the ID register. Its shell has nothing else to do meanwhile: busybox' ends
    when a job in the background does while it waits for a line."""
    bench.vm.send(f"accel-mmio --function {SORT} read 4 0 >/tmp/{name} 2>&1; "
                  f"echo status $? >>/tmp/{name}")


def wait_read(bench, name, value):
    text = bench.vm.ok(f"cat /tmp/{name}")
    if f"{value:#010x}" not in text.lower() or "status 0" not in text:
        raise Failure(f"the guest has read {text}, expected {value:#010x}")


def check_simulation(bench):
    """A breakpoint in the simulation: the guest waits for its read, and nothing else does"""
    gdb, vm = bench.simulation, bench.vm
    # A driver's registers are not for others.
    vm.ok(f"rmmod accel_sort; setpci -s {where(vm, SORT)[0]} COMMAND.w=2")
    gdb.interrupt()
    # The answer of a read of ID, by the values of the arguments: nothing else needs symbols.
    bench.number = gdb.do(
        f'-break-insert -c "$ecx == {ID}" acc_mmio_read_done')["bkpt"]["number"]
    gdb.go()
    read_id(bench, "stopped")
    gdb.wait_stop("acc_mmio_read_done")
    # Both vCPUs are QEMU's to ask, and the monitor answers.
    bench.running(True)
    if len(vm.qmp.command("query-cpus-fast")) != 2:
        raise Failure("there are not two vCPUs")
    gdb.do(f"-break-disable {bench.number}")
    gdb.go()
    wait_read(bench, "stopped", ID)


def check_timeout(bench):
    """A simulation that stands longer than completion-timeout: all ones, and it works again"""
    gdb, vm = bench.simulation, bench.vm
    gdb.interrupt()
    gdb.do(f"-break-enable {bench.number}")
    gdb.go()
    read_id(bench, "late")
    gdb.wait_stop("acc_mmio_read_done")
    wait_read(bench, "late", ALL_ONES)
    if "completion timeout after" not in vm.text():
        raise Failure("QEMU's log does not tell of the read that was given up")
    gdb.do(f"-break-disable {bench.number}")
    gdb.go()
    read_id(bench, "again")
    wait_read(bench, "again", ID)


def check_both(bench):
    """Both stand at breakpoints: the card's DMA waits for the guest to go on"""
    driver, simulation, vm = bench.driver, bench.simulation, bench.vm
    simulation.interrupt()
    asks = simulation.do("-break-insert acc_dma_read")["bkpt"]["number"]
    simulation.go()
    vm.send("accel-sort --blocks 1 --seed 9 >/tmp/both; echo status $? >>/tmp/both")
    simulation.wait_stop("acc_dma_read")
    # Its doorbell was posted, so the guest runs, and can be stopped.
    bench.running(True)
    driver.interrupt()
    bench.running(False)
    driver.do("-break-insert accel_sort_done_irq")
    # The simulation goes on alone: it asks, and has no answer as long as the guest stands.
    simulation.do(f"-break-delete {asks}")
    simulation.do("-break-insert acc_get_dma_read")
    simulation.go()
    if simulation.stands_within(1.0):
        raise Failure(f"the RTL has memory of a guest that stands: {simulation.stops}")
    driver.go()
    simulation.wait_stop("acc_get_dma_read")
    bench.running(True)
    simulation.do("-break-delete")
    simulation.go()
    driver.wait_stop("accel_sort_done_irq")
    driver.do("-break-delete")
    driver.go()
    vm.ok("while ! grep -q 'status 0' /tmp/both; do sleep 0.1; done")
    vm.ok("grep -q 'ACCEL result=PASS' /tmp/both")


def check_end(bench):
    """A debugger that goes away leaves a guest that runs"""
    bench.driver.interrupt()
    bench.driver.do("-target-detach")
    bench.running(True)
    bench.vm.ok("accel-sort --blocks 2 --seed 3 | grep -q 'ACCEL result=PASS'")


CHECKS = {"simulation": check_simulation, "timeout": check_timeout, "driver": check_driver,
          "both": check_both, "end": check_end}


def main():
    parser = options_of("test-gdb.sh", """
        A sorter whose simulation runs in gdb, and a guest whose driver another gdb is in:
        breakpoints in both, what stands then, and what goes on.""")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("sort")
    options.guest = build_guest("guest-gdb")
    bench = Debugged(options)

    def everything():
        step("start", "a simulation in gdb and a guest", bench.start)
        for name, check in CHECKS.items():
            step(name, first_line(check), lambda check=check: check(bench))
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
