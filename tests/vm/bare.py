#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The card against a guest without an operating system, under TCG and KVM: scripts/test-bare.sh."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from suite import build_crate, options_of, qemu_in, version_of
from vm import ROOT, Failure, Process, Qmp, QmpError, wait_for

# The machine under each accelerator: its name, and what is added to -M q35.
MACHINES = {
    "tcg": [("tcg", "")],
    "kvm": [("kvm", ""), ("kvm, split irqchip", ",kernel-irqchip=split")],
}
TESTS = ["processors", "enumerate", "bars", "widths", "instructions", "posted", "dma", "msix",
         "masking", "moving", "flr", "hot", "hold", "death"]
# With a completion timeout.
TIMEOUT_TESTS = ["enumerate", "timeout"]
# A guest of this size comes to its first line at once, if it does at all.
FIRST_LINE = 60.0
PATIENCE = 300.0


class Silent(Failure):
    """The guest says nothing: the accelerator does not run it."""


class Bare:
    """A machine with the firmware of guest/bare, and the card without a simulator."""

    def __init__(self, options, folder, accel, machine, properties=""):
        self.options = options
        self.folder = folder
        self.endpoint = None
        self.started = 0
        self.received = ""
        self.process = self.qmp = self.console = None
        try:
            self.start(accel, machine, properties)
        except Failure as e:
            self.kill()
            text = self.process.text() if self.process else ""
            raise Silent(f"{e}; QEMU says: {text[-500:] or 'nothing'}") from None
        except BaseException:
            # Nobody else has the object to end them by.
            self.kill()
            raise

    def start(self, accel, machine, properties):
        self.start_endpoint()
        console, qmp = self.folder / "console", self.folder / "qmp"
        for path in (console, qmp):
            path.unlink(missing_ok=True)
        self.process = Process("qemu", [
            self.options.qemu, "-M", f"q35{machine}", "-accel", accel,
            "-cpu", "host" if accel == "kvm" else "max", "-smp", "2", "-m", "64M",
            "-object", "memory-backend-memfd,id=ram,size=64M,share=on",
            "-machine", "memory-backend=ram",
            "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
            "-bios", self.options.firmware,
            "-chardev", f"socket,id=console,path={console},server=on,wait=off",
            "-serial", "chardev:console",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-qmp", f"unix:{qmp},server=on,wait=off",
            "-device", "pcie-root-port,id=rp0",
            "-device", f"accelerator-pcie,id=card,bus=rp0,endpoint={self.address()}{properties}",
        ], self.folder, {"ACCELERATOR_LOG_LEVEL": "info"})
        self.console = wait_for("the console", lambda: self.dial(console), FIRST_LINE)
        self.console.settimeout(0.2)
        self.qmp = wait_for("the monitor", lambda: self.monitor(qmp), FIRST_LINE)
        # It waits for us; what it said before nobody heard.
        self.send("hello")
        self.expect_line(r"error=no test hello", FIRST_LINE)

    def address(self):
        return f"ipc://{self.folder}/card"

    def start_endpoint(self):
        self.started += 1
        self.endpoint = Process(f"endpoint{self.started}",
                                [self.options.endpoint, "--endpoint", self.address()],
                                self.folder)

    def dial(self, path):
        if not self.process.is_running():
            raise Failure(f"QEMU ended with status {self.process.process.returncode}")
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            return connection
        except OSError:
            return None

    @staticmethod
    def monitor(path):
        try:
            return Qmp(str(path))
        except QmpError:
            return None

    def send(self, line):
        self.console.sendall(line.encode() + b"\n")

    def line(self, patience):
        """The next line of the guest, without its first word. None if none is there yet."""
        deadline = time.monotonic() + patience
        while "\n" not in self.received:
            try:
                data = self.console.recv(65536)
            except TimeoutError:
                if time.monotonic() > deadline:
                    return None
                continue
            if not data:
                raise Failure("QEMU has closed the console: "
                              f"status {self.process.process.wait(10)}")
            self.received += data.decode(errors="replace")
        line, self.received = self.received.split("\n", 1)
        return line.rstrip("\r").removeprefix("BARE ")

    def expect_line(self, pattern, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            line = self.line(1.0)
            if line and re.search(pattern, line):
                return
        raise Failure(f"the guest says nothing like '{pattern}' within {patience:.0f} s")

    def run(self, test):
        """Runs a test of the guest, and does what it asks for. Returns what it says of it."""
        errors, said = [], {}
        answers = None
        self.send(test)
        deadline = time.monotonic() + PATIENCE
        while True:
            line = self.line(0.0 if answers is not None else 1.0)
            if line is None:
                if time.monotonic() > deadline:
                    raise Failure(f"{test} did not end within {PATIENCE:.0f} s; {errors}")
                if answers is not None:
                    # A processor waits for the card, and the monitor answers.
                    if not self.qmp.command("query-status")["running"]:
                        raise Failure("the machine does not run while a processor waits")
                    answers += 1
                    time.sleep(0.05)
                continue
            key, _, value = line.partition("=")
            said[key] = value
            if key == "error":
                errors.append(value)
            elif line == "held=1":
                answers = 0
            elif line == "held=0":
                said["answers"] = answers
                answers = None
            elif line == "ask=kill":
                self.endpoint.kill()
            elif line == "ask=start":
                self.start_endpoint()
            elif key == "done":
                if value != f"{test} pass" or errors:
                    raise Failure(f"{value}: {'; '.join(errors)}")
                return said

    def end(self):
        self.send("end")
        status = self.process.process.wait(60)
        # What the firmware writes to isa-debug-exit, shifted, and 1.
        if status != 1:
            raise Failure(f"QEMU ended with status {status}, expected 1")

    def kill(self):
        """Ends what of it runs."""
        for connection in (self.console, self.qmp):
            if connection:
                connection.close()
        for process in (self.process, self.endpoint):
            if process:
                process.kill()


def run_tests(options, folder, accel, name, machine):
    """All tests under one machine; what is told of them."""
    for properties, tests in (("", TESTS), (",completion-timeout=500", TIMEOUT_TESTS)):
        bare = Bare(options, folder, accel, machine, properties)
        try:
            for test in tests:
                begin = time.monotonic()
                said = bare.run(test)
                told = ""
                if test == "hold":
                    if said["answers"] < 10 or int(said["rounds"]) < 10:
                        raise Failure(f"hold: {said['answers']} answers of the monitor and "
                                      f"{said['rounds']} rounds of work, expected 10 of each")
                    told = (f": {said['rounds']} rounds of work and {said['answers']} answers "
                            "of the monitor")
                print(f"ok      {name}: {test}{told} ({time.monotonic() - begin:.1f} s)",
                      flush=True)
            bare.end()
        except (Failure, QmpError, OSError):
            sys.stdout.write(bare.process.tail() + bare.endpoint.tail())
            raise
        finally:
            bare.kill()


def build_firmware():
    out = ROOT / "build/bare"
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "--silent", "-C", ROOT / "guest/bare", f"OUT={out}"], check=True)
    return out / "bare.bin"


def check_error(options):
    """An error while a machine starts, here of a QEMU that is no program, leaves no process."""
    folder = Path(tempfile.mkdtemp(prefix="accbare-"))
    before, options.qemu = options.qemu, "/dev/null"
    try:
        Bare(options, folder, "tcg", "")
    except PermissionError:
        pass
    else:
        raise Failure("a QEMU that is no program was run")
    finally:
        options.qemu = before
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            raise Failure(f"process {file.parent.name} is left: {command!r}")
    shutil.rmtree(folder)
    print(f"ok      {check_error.__doc__}", flush=True)


def main():
    parser = options_of("test-bare.sh", """
        Builds the firmware in guest/bare, which tests the card with two processors, and starts it
        under TCG, and under KVM with the interrupt controllers in the kernel, and with the local
        APICs alone there, wherever KVM runs a guest of this size. The last lines say under which
        it ran, and what was left out and why.""")
    parser.add_argument("--accel", choices=["auto", "tcg", "kvm"], default="auto",
                        help="tcg or kvm alone; then one that does not run is a failure")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    options.firmware = build_firmware()
    options.endpoint = build_crate("accelerator-peers", "--release", "--bin",
                                   "accelerator-endpoint") / "release/accelerator-endpoint"
    check_error(options)
    ran, left_out, failed = [], [], False
    folder = Path(tempfile.mkdtemp(prefix="accbare-"))
    for accel in ("tcg", "kvm") if options.accel == "auto" else (options.accel,):
        if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            left_out.append("kvm: /dev/kvm is not there for this user")
            failed |= options.accel == "kvm"
            continue
        for name, machine in MACHINES[accel]:
            try:
                run_tests(options, folder, accel, name, machine)
                ran.append(name)
                print(f"ran with: qemu={version_of(options.qemu)} device=accelerator-pcie "
                      f"accel={accel}", flush=True)
            except Silent as e:
                if accel == "tcg" or options.accel == "kvm":
                    print(f"FAILED  {name}: {e}")
                    failed = True
                else:
                    left_out.append(f"{name}: runs no guest of this size here ({e})")
            except (Failure, QmpError, OSError, ValueError, KeyError) as e:
                print(f"FAILED  {name}: {type(e).__name__}: {e}")
                failed = True
    print(f"ran under: {'; '.join(ran) or 'none'}")
    for line in left_out:
        print(f"left out: {line}")
    if failed or options.keep:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
