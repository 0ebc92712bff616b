#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Simulators that end by a signal and are started again, under a QEMU that goes on: each time the
PCIe link, the NIC channel and the serial channel have to be up again, and QEMU holds no more than
before: scripts/test-restarts.sh."""

import itertools
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from suite import at_least, build_crate, options_of, qemu_in, ran_with
from vm import usage_of

# How long a link may take. It takes less than a second.
PATIENCE = 60.0
# Restarts in which some is made once and kept, and what the allocator may keep after them: it was
# 0.7 MiB after 250.
WARM = 2
KEPT_KIB = 1024
EACH_KIB = 2
SIMULATOR = Path(__file__).with_name("dpi_simulator.py")
SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL}


class Machine:
    """A QEMU without a guest, and its simulators."""

    def __init__(self, options, endpoint, memory, folder):
        self.options, self.endpoint, self.memory, self.folder = options, endpoint, memory, folder
        self.simulator = self.qemu = None

    def start_simulator(self):
        with open(self.folder / "simulator.log", "a") as log:
            self.simulator = subprocess.Popen(
                [sys.executable, SIMULATOR, self.options.library, self.endpoint],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                # QEMU decides what its sessions go through, whatever this run's others do.
                env={**os.environ, "ACCELERATOR_SHARED_MEMORY": "auto"})
        self.said = self.rest = ""

    def start_qemu(self):
        with open(self.folder / "qemu.log", "a") as log:
            self.qemu = subprocess.Popen(
                [self.options.qemu, "-M", "q35,usb=off", "-S", "-m", "64", "-nodefaults",
                 "-display", "none",
                 "-netdev", "hubport,id=net0,hubid=0", "-chardev", "null,id=line0",
                 "-device", "pcie-root-port,id=rp0",
                 "-device", f"accelerator-pcie,id=acc0,bus=rp0,endpoint={self.endpoint},"
                 f"shared-memory={self.memory},netdev=net0,chardev=line0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "ACCELERATOR_LOG_LEVEL": "info"})

    def is_up(self):
        """Waits for the simulator to say that all is up; what it said at last if it does not."""
        end = time.monotonic() + PATIENCE
        output = self.simulator.stdout
        while "False" in self.said or "True" not in self.said:
            left = end - time.monotonic()
            if left <= 0 or self.qemu.poll() is not None:
                return False
            if select.select([output], [], [], min(left, 0.5))[0]:
                got = os.read(output.fileno(), 4096).decode()
                if not got:
                    self.said += f", and it ended with status {self.simulator.wait()}"
                    return False
                # The last whole line counts.
                *lines, self.rest = (self.rest + got).split("\n")
                self.said = lines[-1] if lines else self.said
        return True

    def end_simulator(self, number):
        self.simulator.send_signal(number)
        status = self.simulator.wait(timeout=PATIENCE)
        self.simulator.stdout.close()
        if status != (-number if number == signal.SIGKILL else 0):
            raise SystemExit(f"the simulator ended with status {status} after signal {number}")

    def note_usage(self):
        """What QEMU holds, before restarts that are to leave nothing in it."""
        self.usage = usage_of(self.qemu.pid)

    def check_usage(self, restarts):
        """Nothing is left of sessions that are over; what the allocator keeps has an end."""
        end = time.monotonic() + PATIENCE
        while True:
            usage = usage_of(self.qemu.pid)
            more = {what: usage[what] - self.usage[what] for what in usage}
            memory = more.pop("anonymous_kib")
            if not any(more.values()) or time.monotonic() > end:
                break
            time.sleep(0.1)
        if any(more.values()) or memory > KEPT_KIB + restarts * EACH_KIB:
            raise SystemExit(f"after {restarts} restarts QEMU holds more than before: {more}, "
                             f"{memory} KiB")

    def end(self):
        for process in self.qemu, self.simulator:
            if process and process.poll() is None:
                process.kill()
                process.wait()


def restarts(options, socket, memory, name, folder):
    """The restarts after which a link was missing."""
    endpoint = f"ipc://{folder}/pcie" if socket == "ipc" else f"tcp://127.0.0.1:{options.port}"
    machine = Machine(options, endpoint, memory, folder)
    log = folder / "qemu.log"
    before = log.stat().st_size if log.exists() else 0
    carrier = f"{socket}, shared memory {memory}"
    lost = 0
    try:
        machine.start_simulator()
        machine.start_qemu()
        if not machine.is_up():
            raise SystemExit(f"{carrier}: no link at the start: {machine.said}")
        warm = min(WARM, options.count - 1)
        for n in range(options.count):
            if n == warm:
                machine.note_usage()
            machine.end_simulator(SIGNALS[name])
            machine.start_simulator()
            if not machine.is_up():
                lost += 1
                print(f"{carrier} {name}, restart {n + 1}: not back after {PATIENCE:.0f} s: "
                      f"{machine.said or 'nothing'}", flush=True)
                if machine.qemu.poll() is not None:
                    raise SystemExit(f"QEMU ended with status {machine.qemu.returncode}")
                machine.end()
                machine.start_simulator()
                machine.start_qemu()
                if not machine.is_up():
                    raise SystemExit("no link with a new QEMU either")
                machine.note_usage()
        if options.count > warm:
            machine.check_usage(options.count - warm)
    finally:
        machine.end()
    # A session that goes another way than it was asked to tests nothing.
    said = log.read_bytes()[before:].decode(errors="replace")
    through, other = "shared memory", "the socket"
    if memory == "off":
        through, other = other, through
    if (f"the session goes through {through}" not in said
            or f"the session goes through {other}" in said):
        raise SystemExit(f"{carrier}: not all sessions went through {through}")
    return lost


def main():
    parser = options_of("test-restarts.sh", """
        Starts QEMU with a card that has a network and a serial line, without a guest, and a
        program that plays the simulator on the DPI library. That is ended by SIGTERM, SIGINT and
        SIGKILL, over a Unix socket and over TCP, each with the PCIe link through shared memory
        and through the socket, and started again: the PCIe link, the NIC channel and the serial
        channel have to come back each time.""", keep=False)
    parser.add_argument("--count", type=at_least(1), default=5, metavar="N",
                        help="restarts by each signal on each of these four carriers (default: 5)")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    options.library = build_crate("accelerator-dpi") / "debug/libaccelerator_dpi.so"
    # The two ports above it are for the channels.
    options.port = random.randrange(20000, 30000)
    folder = Path(tempfile.mkdtemp(prefix="accelerator-"))
    lost = 0
    try:
        for socket, memory, name in itertools.product(("ipc", "tcp"), ("on", "off"), SIGNALS):
            begin = time.monotonic()
            count = restarts(options, socket, memory, name, folder)
            lost += count
            print(f"  {socket}, shared memory {memory:<3}, SIG{name:<4} {options.count} restarts, "
                  f"{count} lost, {time.monotonic() - begin:.0f} s", flush=True)
        if lost:
            raise SystemExit(f"{lost} links did not come back")
    except BaseException:
        for log in folder.glob("*.log"):
            for line in log.read_text(errors="replace").splitlines()[-15:]:
                print(f"  | {log.stem}: {line}")
        raise
    finally:
        shutil.rmtree(folder)
    ran_with(options)
    print("PASS")


if __name__ == "__main__":
    main()
