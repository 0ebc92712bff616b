# SPDX-License-Identifier: MIT OR Apache-2.0
"""A VM with a prompt, and the simulators of its cards, for tests that need a real guest."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

# Beside the scripts, and no package.
from processes import is_over  # noqa: E402
from qmp import Qmp, QmpError  # noqa: E402

__all__ = ["Failure", "Process", "Qmp", "QmpError", "Simulator", "Vm", "is_over", "usage_of",
           "wait_for"]

# A loaded machine, with several VMs and no KVM, is slow.
PATIENCE = 600.0
# Every program that a suite has begun.
STARTED = []


class Failure(Exception):
    """Something is not as it has to be."""


def wait_for(what, condition, patience=PATIENCE):
    """Waits until the condition returns something true, and returns it. A program that has
    failed ends the wait: what is waited for would not come."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        for process in STARTED:
            if process.has_failed():
                raise Failure(f"{what} did not happen: {process.name} has ended with status "
                              f"{process.process.returncode}")
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not happen within {patience:.0f} s")
        time.sleep(0.02)


def usage_of(pid):
    """What a process holds: descriptors, sockets, threads, and KiB that are its own."""
    folder = f"/proc/{pid}"
    links = []
    for name in os.listdir(f"{folder}/fd"):
        try:
            links.append(os.readlink(f"{folder}/fd/{name}"))
        except OSError:
            continue
    status = Path(f"{folder}/status").read_text()
    anonymous = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
    return {
        "descriptors": len(links),
        "sockets": sum(link.startswith("socket:") for link in links),
        "threads": len(os.listdir(f"{folder}/task")),
        "anonymous_kib": int(anonymous.group(1)),
    }


class Process:
    """A program whose output goes to a file; it is ended with its owner."""

    # Whether it fails if it ends by itself with another status than 0.
    stays = False

    def __init__(self, name, command, folder, env=None, nice=0):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(env or {})},
                preexec_fn=lambda: os.nice(nice))  # noqa: PLW1509 - a system call, and no lock
        STARTED.append(self)

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def is_running(self):
        return self.process.poll() is None

    def has_failed(self):
        """Whether it has ended, neither in order nor by somebody's wish."""
        return self.stays and self.process.poll() not in (None, 0, -signal.SIGTERM, -signal.SIGKILL)

    def kill(self):
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def end(self, patience=20.0):
        """Ends it in order and returns its status."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not end within {patience:.0f} s of SIGTERM") from None

    def tail(self):
        lines = self.text().splitlines()[-12:]
        return "".join(f"  {self.name}: {line}\n" for line in lines)


class Simulator(Process):
    """A simulation; `endpoints` has the endpoint of each bridge by its name, None for the only
    one."""

    stays = True

    def __init__(self, name, program, folder, endpoints):
        arguments = []
        for bridge, endpoint in endpoints.items():
            suffix = f"_{bridge}" if bridge else ""
            arguments.append(f"+accelerator_endpoint{suffix}={endpoint}")
        # Its clock always runs; a VM that boots needs the processor more.
        super().__init__(name, [program, *arguments], folder, nice=10)


class Vm(Process):
    """A guest of scripts/build-guest.sh at its prompt. `cards` are pairs of the card's id and
    endpoint, or more of its properties behind a comma; card N is in port rpN. `words` are
    added to the kernel's command line, `extra` to QEMU's, before the cards."""

    stays = True

    def __init__(self, name, folder, qemu, guest, cards, ram="512M", machine="", extra=(),
                 words=""):
        self.folder = Path(folder)
        self.console_path = self.folder / f"{name}.console"
        self.qmp_path = self.folder / f"{name}.qmp"
        command = [
            qemu, "-M", "q35" + machine, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", ram,
            # The guest's memory is not QEMU's own, for what is counted.
            "-object", f"memory-backend-memfd,id=ram,size={ram}",
            "-machine", "memory-backend=ram",
            "-nodefaults", "-display", "none",
            "-kernel", f"{guest}/vmlinuz", "-initrd", f"{guest}/initramfs.cpio.gz",
            "-append", "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check accel.run=shell"
                       + (f" {words}" if words else ""),
            "-chardev", f"socket,id=console,path={self.console_path},server=on,wait=off,"
                        f"logfile={self.folder / name}.console.log",
            "-serial", "chardev:console",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            *extra,
        ]
        self.device = "device=accelerator-pcie " if any(card for card, _ in cards) else ""
        for n, (card, endpoint) in enumerate(cards):
            command += ["-device", f"pcie-root-port,id=rp{n},chassis={n + 1}"]
            if card:
                command += ["-device",
                            f"accelerator-pcie,id={card},bus=rp{n},endpoint={endpoint}"]
        super().__init__(name, command, folder, {"ACCELERATOR_LOG_LEVEL": "info"})
        self.marker = 0
        self.received = ""
        self.is_closed = False
        self.news = threading.Condition()
        self.console = None
        self.qmp = None

    def _connect(self, path):
        def attempt():
            if not self.is_running():
                raise Failure(f"{self.name} has ended")
            try:
                return Qmp(str(path)) if path == self.qmp_path else self._dial(path)
            except (OSError, QmpError):
                return None
        return wait_for(f"{self.name} listening at {path}", attempt)

    @staticmethod
    def _dial(path):
        console = socket.socket(socket.AF_UNIX)
        console.connect(str(path))
        return console

    def boot(self):
        """Waits for the prompt."""
        self.qmp = self._connect(self.qmp_path)
        self.console = self._connect(self.console_path)
        # All the time: the socket takes some 300 characters that nobody has read, and the guest
        # comes to a stand with the next, a kernel that panics too.
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait_prompt()
        version = self.qmp.command("query-version")["qemu"]
        release, arch = self.ok("uname -rm").split()
        print(f"ran with: qemu={version['major']}.{version['minor']}.{version['micro']} "
              f"{self.device}accel=tcg guest={release} arch={arch}", flush=True)

    def _listen(self):
        while True:
            try:
                data = self.console.recv(65536)
            except OSError:
                data = b""
            with self.news:
                self.received += data.decode(errors="replace")
                self.is_closed = not data
                self.news.notify_all()
            if not data:
                return

    def wait_prompt(self):
        log = self.folder / f"{self.name}.console.log"
        begin = time.monotonic()
        while time.monotonic() - begin < PATIENCE:
            # What the guest said before we were connected is in the file.
            if "/ #" in log.read_text(errors="replace")[-200:]:
                self.run("stty -echo; PS1=; echo 4 >/proc/sys/kernel/printk")
                return
            self._receive()
        raise Failure(f"{self.name} did not come to its prompt within {PATIENCE:.0f} s")

    def restart(self, how, reset=True):
        """Waits for the prompt again after `how` has made the machine start anew, or, without a
        reset, only the kernel."""
        log = self.folder / f"{self.name}.console.log"

        def boots():
            # What the guest says before each prompt.
            return log.read_text(errors="replace").count("/modules.")
        before = boots()
        how()
        if reset:
            self.qmp.wait_event("RESET")
        wait_for(f"{self.name}: another boot", lambda: boots() > before)
        self.wait_prompt()

    def _receive(self):
        """Waits a moment for the guest to say something."""
        with self.news:
            self.news.wait(0.2)
            if not self.is_running():
                raise Failure(f"{self.name} has ended")
            if self.is_closed:
                raise Failure(f"{self.name} has closed its console")

    def send(self, command):
        self.console.sendall(command.encode() + b"\n")

    def run(self, command, patience=PATIENCE, meanwhile=None):
        """Runs a line of shell in the guest and returns status and output. `meanwhile` is called
        when the line is on its way; then nothing is typed before the line is done."""
        self.marker += 1
        with self.news:
            self.received = ""
        # The marker is not in the line itself, which may be echoed.
        end = f"echo =END''{self.marker}=$?="
        self.send(f"{command}; {end}" if meanwhile else f"{command}\n{end}")
        if meanwhile:
            meanwhile()
        pattern = re.compile(rf"=END{self.marker}=(\d+)=")
        deadline = time.monotonic() + patience
        while not (found := pattern.search(self.received)):
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: '{command}' did not end within {patience:.0f} s; "
                              f"so far: {self.received[-600:]}")
            self._receive()
        # Prompts, and the shell's question where its cursor is.
        output = re.sub(r"/ # |\x1b\[6n|\r", "", self.received[:found.start()])
        return int(found.group(1)), output

    def ok(self, command, patience=PATIENCE):
        """Runs a line of shell that has to succeed and returns its output."""
        status, output = self.run(command, patience)
        if status != 0:
            raise Failure(f"{self.name}: '{command}' ended with status {status}: {output}")
        return output

    def close(self):
        if self.console:
            # Wakes whoever reads it.
            self.console.shutdown(socket.SHUT_RDWR)
        for connection in (self.console, self.qmp):
            if connection:
                connection.close()
