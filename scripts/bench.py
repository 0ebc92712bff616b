#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures the co-simulation; scripts/bench.sh builds what is needed and calls this.

    bench.py run --qemu PROGRAM --guest DIR --sim DIR --transport PROGRAM --out DIR ...
    bench.py markdown FILE.json
    bench.py svg FILE.json
    bench.py history FILE.json HISTORY

`run` writes bench.json, bench.md and bench.svg and prints the table; with --history, and
`history` of a result that is there, adds its ratios to a file and tells what has moved.
docs/performance.md says what the figures mean.
"""

import argparse
import fcntl
import json
import math
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import bench_ratios
from bench_ratios import EDU, SHARED_MEMORY, SIDES, VFIO_USER

# name: (title, unit, targets, C original, vfio-user elsewhere). A target is ("x", ratio to the
# yardstick), (">=", value), ("<=", value), ("p99<=", value), or in relation to another figure
# of the same run ("<=", value, name), (">=", value, name); None is none, and a list several.
# The two columns of others are from one machine whose yardstick was 12.1 us; only ratios to it
# travel.
YARDSTICK = "unix"
FIGURES: dict[str, tuple] = {
    "unix": ("Unix stream socket, blocking ping-pong, two CPUs (the yardstick)", "us", None,
             "12.1", "12.1"),
    "unix_one_cpu": ("the same on one CPU", "us", None, "", ""),
    "zmq_ipc_blocking": ("ZeroMQ DEALER/ROUTER ping-pong, ipc, both block", "us", None, "", ""),
    "zmq_ipc_polling": ("the same, server in recv(DONTWAIT)", "us", None, "", ""),
    "zmq_ipc_way_polling": ("ZeroMQ one way, ipc, to a server in recv(DONTWAIT)", "us", None, "",
                            ""),
    "zmq_ipc_way_blocking": ("ZeroMQ one way, ipc, to a client that sleeps", "us", None, "", ""),
    "zmq_ipc_way_busy": ("the same while the client's CPU computes", "us", None, "", ""),
    "zmq_tcp_blocking": ("ZeroMQ ping-pong, tcp, both block", "us", None, "", ""),
    "zmq_tcp_polling": ("the same, server in recv(DONTWAIT)", "us", None, "", ""),
    "link_ipc_read": ("our link without QEMU and simulator: read, ipc", "us", None, "", ""),
    "link_ipc_writes_per_s": ("the same: posted writes", "1/s", None, "", ""),
    "link_tcp_read": ("the same: read, tcp", "us", None, "", ""),
    "link_tcp_writes_per_s": ("the same: posted writes, tcp", "1/s", None, "", ""),
    "mmio_read": ("MMIO read, 4 bytes, ipc", "us", ("x", 3.8), "66.5", "31.0 / 20.6"),
    "tcp_mmio_read": ("MMIO read, 4 bytes, tcp", "us", ("x", 5.0), "83.5", ""),
    "mmio_writes_per_s": ("posted MMIO writes, ipc", "1/s", (">=", 400000), "13,180",
                          "245,000 / 406,000"),
    "tcp_mmio_writes_per_s": ("posted MMIO writes, tcp", "1/s", None, "10,650", ""),
    "doorbell": ("one doorbell write, guest to RTL, ipc", "us", ("x", 2.5), "", ""),
    "tcp_doorbell": ("one doorbell write, guest to RTL, tcp", "us", None, "", ""),
    "msix_halted": ("MSI-X, RTL to handler, guest halted", "us", ("x", 6), "187", "72 / 44"),
    "msix_spinning": ("MSI-X, RTL to handler, guest spinning", "us", ("p99<=", 300),
                      "3 to 5 ms", "65 / 34"),
    "msix_pausing": ("the same, spinning with PAUSE", "us", ("p99<=", 300), "", ""),
    "dma_to_host_64_x1": ("DMA to host, 64 B, 1 outstanding", "MB/s", None, "", ""),
    "dma_to_host_64_x16": ("DMA to host, 64 B, 16 outstanding", "MB/s", None, "", ""),
    "dma_to_host_4096_x1": ("DMA to host, 4 KiB, 1 outstanding", "MB/s", None, "14.6", "94"),
    "dma_to_host_4096_x16": ("DMA to host, 4 KiB, 16 outstanding", "MB/s", None, "", ""),
    "dma_from_host_64_x1": ("DMA from host, 64 B, 1 outstanding", "MB/s", None, "", ""),
    "dma_from_host_64_x16": ("DMA from host, 64 B, 16 outstanding", "MB/s", None, "", ""),
    "dma_from_host_4096_x1": ("DMA from host, 4 KiB, 1 outstanding", "MB/s", None, "10.0", "90"),
    "dma_from_host_4096_x16": ("DMA from host, 4 KiB, 16 outstanding", "MB/s", None, "", ""),
    "clocks_idle": ("simulated clocks of sort, QEMU connected and idle", "1/s", None, "245,000",
                    ""),
    "clocks_without": ("the same design, acc_poll compiled out", "1/s", None, "1,192,000", ""),
    "clocks_ratio": ("ratio of the two", "", (">=", 0.95), "0.21", ""),
    "idle_cpu_qemu": ("CPU of QEMU, guest idle", "%", None, "", ""),
    "idle_cpu_sim": ("CPU of the simulator, guest idle", "%", None, "100", ""),
    "sleep_cpu_qemu": ("CPU of QEMU, guest idle, simulator told to sleep", "%", None, "", ""),
    "sleep_cpu_sim": ("CPU of the simulator, told to sleep", "%", ("<=", 2), "", ""),
    "sleep_mmio_read": ("MMIO read, shared memory, simulator told to sleep", "us", None, "", ""),
    "sleep_doorbell": ("one doorbell write, shared memory, simulator asleep", "us", None, "", ""),
}
for size in (64, 1514):
    FIGURES[f"nic_to_rtl_{size}"] = (
        f"network to RTL, frames of {size} B", "1/s", None, "", "")
    FIGURES[f"nic_from_rtl_{size}"] = (
        f"RTL to network, frames of {size} B", "1/s", None, "", "")
FIGURES["serial_to_rtl"] = ("chardev to RTL, bytes", "1/s", None, "", "")
FIGURES["serial_from_rtl"] = ("RTL to chardev, bytes", "1/s", None, "", "")
for n in (1, 2, 4):
    FIGURES[f"scale{n}_scale_read"] = (
        f"{n} device{'s' * (n > 1)}, told to sleep, shared memory: read, in turn", "us",
        ("<=", 1.5, "scale1_scale_read") if n == 4 else None, "", "")
    FIGURES[f"scale{n}_scale_dma"] = (
        f"{n} device{'s' * (n > 1)}, told to sleep, shared memory: DMA to host, all at once",
        "MB/s", None, "", "")
for way in ("to", "from"):
    for most in (1, 16):
        for size in (64, 4096):
            FIGURES[f"dma_{way}_host_{size}_x{most}_beats"] = (
                f"DMA {way} host, {size} B, {most} outstanding, beats per clock", "",
                (">=", 0.95) if (size, most) == (4096, 16) else None,
                {("to", 16, 4096): "0.97", ("from", 16, 4096): "0.65"}.get((way, most, size), ""),
                "")


# What is measured through shared memory as well, each behind the same through the socket, and
# its targets there.
SHARED = {
    "link_ipc_read": None, "link_ipc_writes_per_s": None,
    "mmio_read": [("<=", 5), ("<=", 0.15, VFIO_USER + "mmio_read")],
    "mmio_writes_per_s": [(">=", 2000000), (">=", 0.7, EDU + "mmio_writes_per_s")],
    "doorbell": ("<=", 3),
    "msix_halted": ("<=", 0.8, "msix_halted"),
    "msix_spinning": [("<=", 20), ("p99<=", 100)], "msix_pausing": ("p99<=", 100),
    "idle_cpu_qemu": None, "idle_cpu_sim": None,
} | {name: None for name in FIGURES if name.startswith("dma_")}
# The same RTL and the same bridge for a QEMU that nobody patched, in a VM of its own.
BY_VFIO_USER = "by_vfio_user_"
BY_VFIO_USER_TITLE = "our RTL by vfio-user"
# What is measured in the same VM, in turn: through vfio-user, and of a device of QEMU's own.
PEERS = {VFIO_USER: SIDES, EDU: ("mmio_read", "mmio_writes_per_s")}
PEER_TITLES = {
    VFIO_USER: {"mmio_read": "vfio-user: MMIO read, 4 bytes",
                "mmio_writes_per_s": "vfio-user: posted MMIO writes",
                "doorbell": "vfio-user: one doorbell write, guest to server",
                "msix_halted": "vfio-user: MSI-X, server to handler, guest halted",
                "msix_spinning": "vfio-user: MSI-X, guest spinning",
                "msix_pausing": "vfio-user: the same, spinning with PAUSE"},
    EDU: {"mmio_read": "QEMU's edu: MMIO read, 4 bytes (no process answers)",
          "mmio_writes_per_s": "QEMU's edu: MMIO writes (no process answers)"},
}


def with_columns(figures):
    """The figures, and behind each the same through shared memory and of the peers."""
    result = {}
    for name, figure in figures.items():
        result[name] = figure
        if name in SHARED:
            title = figure[0].removesuffix(", ipc") + ", shared memory"
            shared = (name.replace("link_ipc", "link_shm") if "link_ipc" in name
                      else SHARED_MEMORY + name)
            result[shared] = (title, figure[1], SHARED[name], "", "")
        if name in SIDES:
            title = figure[0].removesuffix(", ipc") + f", {BY_VFIO_USER_TITLE}"
            result[BY_VFIO_USER + name] = (title, figure[1], None, "", "")
        for peer, names in PEERS.items():
            if name in names:
                result[peer + name] = (PEER_TITLES[peer][name], figure[1], None, "", "")
    return result


FIGURES = with_columns(FIGURES)
# What a figure is called where another one is measured by it.
BASES = {VFIO_USER + "mmio_read": "vfio-user", EDU + "mmio_writes_per_s": "edu",
         "msix_halted": "ZeroMQ", "scale1_scale_read": "1 device"}
ORDER = {name: i for i, name in enumerate(FIGURES)}


def say(*text):
    print("[bench]", *text, flush=True)


class Failure(Exception):
    """What cannot be measured, and why."""


class Processes:
    """What was started, each in a process group of its own; none outlives us."""

    def __init__(self):
        self.all = []

    def start(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0,
                                   **options)
        self.all.append(process)
        return process

    @staticmethod
    def end(process, patience=10.0):
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end_all(self):
        for process in reversed(self.all):
            self.end(process, 3.0)


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, options):
        self.options = options
        self.processes = Processes()
        # name: list of repeats, each a dictionary with `value` in the figure's unit and
        # perhaps `p99`, with the `yardstick` and the number of the part that it was measured
        # in.
        self.samples = {}
        self.last_yardstick = []
        self.parts = 0
        self.folder = tempfile.mkdtemp(prefix="accelerator-bench-")
        self.memory_file = None
        self.tick_hz = 0

    def close(self):
        self.processes.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.memory_file is not None:
            os.close(self.memory_file)

    def new_memory(self):
        """A file of zeros for a guest's memory, which simulators reach since it is sealed."""
        if self.memory_file is not None:
            os.close(self.memory_file)
        self.memory_file = os.memfd_create(
            "accelerator-bench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memory_file, 256 << 20)
        fcntl.fcntl(self.memory_file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)

    @property
    def memory(self):
        """Its path, for others while we have it."""
        return f"/proc/{os.getpid()}/fd/{self.memory_file}"

    def add(self, name, value, p99=None, least=None):
        self.samples.setdefault(name, []).append(
            {"value": value, "p99": p99, "min": least})

    def take(self, line, prefix=""):
        """A line NAME key=value..., as accel-bench and accelerator-transport print it."""
        name, *rest = line.split()
        values = dict(word.split("=", 1) for word in rest)
        if name.startswith("scale_") and prefix == "sleep_":
            prefix = "scale1_"
        # The peers are the same whatever our own frames go through.
        if not name.startswith(tuple(PEERS)):
            name = prefix + name
        if "median" in values:
            self.add(name, float(values["median"]) / 1e3, float(values["p99"]) / 1e3,
                     float(values["min"]) / 1e3)
        else:
            self.add(name, float(values["value"]))
        if "beats_per_clock" in values:
            self.add(name + "_beats", float(values["beats_per_clock"]))

    def transport(self, *words, count=None):
        command = [self.options.transport, *words, "--repeats", str(self.options.repeats),
                   "--count", str(count or self.options.count)]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=120, check=False)
        if result.returncode:
            raise Failure(f"{' '.join(command)} failed: {result.stderr.strip()[-400:]}")
        return result.stdout.split("\n")[:-1]

    def endpoint(self, kind, number):
        if kind == "vfio-user":
            return f"vfio-user:{self.folder}/{number}-{time.monotonic_ns()}"
        if kind in ("ipc", "shm"):
            return f"ipc://{self.folder}/{number}-{time.monotonic_ns()}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"tcp://127.0.0.1:{probe.getsockname()[1]}"

    def simulator(self, program, endpoint, *arguments):
        with open(os.path.join(self.folder, "simulator.log"), "ab") as log:
            return self.processes.start(
                [program, f"+accelerator_endpoint={endpoint}", *arguments],
                stdout=log, stderr=log)

    def qemu(self, endpoints, *arguments, **options):
        command = [
            self.options.qemu, "-M", "q35,memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,size=256M,mem-path={self.memory},share=on",
            "-accel", self.options.accel, "-cpu",
            "host" if self.options.accel == "kvm" else "max", "-m", "256", "-smp", "1",
            "-nodefaults", "-display", "none", "-no-reboot", *arguments]
        for i, endpoint in enumerate(endpoints):
            if endpoint.startswith("vfio-user:"):
                card = self.by_vfio_user(endpoint.removeprefix("vfio-user:"), bus=f"rp{i}")
            else:
                card = f"accelerator-pcie,id=acc{i},bus=rp{i},endpoint={endpoint}"
            command += ["-device", f"pcie-root-port,id=rp{i},chassis={i},slot={i}",
                        "-device", card]
        return self.processes.start(command, **options)

    def by_vfio_user(self, path, **more):
        """QEMU's own device in front of a server."""
        return json.dumps({
            "driver": "vfio-user-pci", "socket": {"type": "unix", "path": path},
            # A machine that does much else answers late, and then there is no figure.
            "x-msg-timeout": 1000 * int(self.options.timeout), **more})

    def await_server(self, path):
        """QEMU's device is there only if its server listens by then."""
        limit = time.monotonic() + self.options.timeout
        while not os.path.exists(path):
            if time.monotonic() > limit:
                raise Failure(f"the simulator does not listen: {self.tail('simulator.log')}")
            time.sleep(0.02)

    def tail(self, name):
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-8:])
        except OSError:
            return ""

    def guest(self, what, measurements, kind="ipc", devices=1, prefix="", sim_arguments=(),
              cpu_names=None, count=None, peers=False):
        """Boots a guest with devices and has it measure; with `peers` also a function behind
        vfio-user and QEMU's edu, in turn with the first device."""
        say(what)
        self.new_memory()
        endpoints = [self.endpoint(kind, i) for i in range(devices)]
        program = os.path.join(self.options.sim, "bench_top", "bench_top")
        carrier = ([] if kind == "vfio-user" else
                   ["+accelerator_shared_memory=" + ("on" if kind == "shm" else "off")])
        simulators = [
            self.simulator(program, e, *carrier, *sim_arguments,
                           *([f"+bench_memory={self.memory}"] if i == 0 else []))
            for i, e in enumerate(endpoints)]
        if kind == "vfio-user":
            for endpoint in endpoints:
                self.await_server(endpoint.removeprefix("vfio-user:"))
        words = ["--tick-hz", str(self.tick_hz), "--repeats", str(self.options.repeats),
                 "--count", str(count or self.options.count), "--idle",
                 str(self.options.idle), *measurements]
        others, server = [], None
        if peers:
            server, socket = self.vfio_user()
            others = ["-device", "edu", "-device", self.by_vfio_user(socket)]
            words.insert(0, "--peers")
        machine = self.qemu(
            endpoints, *others, "-kernel", os.path.join(self.options.guest, "vmlinuz"),
            "-initrd", os.path.join(self.options.guest, "initramfs.cpio.gz"),
            "-append", "console=ttyS0 loglevel=5 panic=-1 accel.run=bench accel.tty=ttyS1 "
            "accel.args=" + ",".join(words),
            "-serial", f"file:{self.folder}/kernel.log", "-serial", "stdio",
            stdout=subprocess.PIPE, stderr=open(f"{self.folder}/qemu.log", "wb"), text=True,  # noqa: SIM115 - for QEMU
            errors="replace")
        timer = threading.Timer(self.options.timeout, machine.kill)
        timer.start()
        status = None
        before: list[float] = []
        try:
            for said in machine.stdout:
                line = said.strip()
                if not line.startswith("ACCEL "):
                    continue
                key, _, value = line[6:].partition("=")
                if key == "sample":
                    self.take(value, prefix)
                elif key == "error":
                    raise Failure(f"{what}: the guest says: {value}")
                elif key == "status":
                    status = value
                elif key == "apart":
                    say(f"the clocks of guest and host have come apart: {value}")
                elif key == "idle" and value == "begin":
                    before = [time.monotonic(), cpu_seconds(machine), cpu_seconds(simulators[0])]
                elif key == "idle":
                    seconds = time.monotonic() - before[0]
                    for name, process, old in zip(
                            cpu_names, (machine, simulators[0]), before[1:], strict=True):
                        self.add(name, 100 * (cpu_seconds(process) - old) / seconds)
        finally:
            timer.cancel()
            self.processes.end(machine)
            for process in [*simulators, *([server] if server else [])]:
                self.processes.end(process)
        if status != "0":
            raise Failure(f"{what}: the program in the guest ended with {status or 'nothing'}\n"
                          + self.tail("qemu.log") + self.tail("kernel.log")
                          + self.tail("simulator.log") + self.tail("vfio-user.log"))

    def vfio_user(self):
        """A function behind vfio-user: its process, which listens, and its socket."""
        path = os.path.join(self.folder, f"vfio-user-{time.monotonic_ns()}")
        with open(os.path.join(self.folder, "vfio-user.log"), "wb") as log:
            server = self.processes.start([self.options.vfio_user, path],
                                          stdout=subprocess.PIPE, stderr=log, text=True)
        if server.stdout.readline().strip() != "listening":
            raise Failure(f"the vfio-user server does not start: {self.tail('vfio-user.log')}")
        return server, path

    def clocks(self):
        """Simulated clocks per second of `sort`, with a QEMU that does nothing, and without
        acc_poll. In turn, so that a slow moment hits both."""
        say("clocks per second of sort, bridge connected and idle, and without its poll")
        programs = {"clocks_idle": os.path.join(self.options.sim, "sort", "sort"),
                    "clocks_without": os.path.join(self.options.sim, "sort-nopoll", "sort")}
        rates = {}
        for _ in range(self.options.repeats):
            for name, program in programs.items():
                endpoint = self.endpoint("ipc", name)
                log = os.path.join(self.folder, "clocks.log")
                machine = None
                if name == "clocks_idle":
                    self.new_memory()
                    # It stands still, and waits for its simulator.
                    machine = self.qemu([endpoint], "-S", stderr=subprocess.DEVNULL)
                with open(log, "wb") as file:
                    simulator = self.processes.start(
                        [program, f"+accelerator_endpoint={endpoint}"], stdout=file, stderr=file)
                limit = time.monotonic() + self.options.timeout
                while machine and "link up" not in self.tail("clocks.log"):
                    if time.monotonic() > limit or machine.poll() is not None:
                        raise Failure("QEMU does not come to the simulator")
                    time.sleep(0.02)
                time.sleep(self.options.seconds)
                self.processes.end(simulator)
                if machine:
                    self.processes.end(machine)
                text = self.tail("clocks.log")
                rate = re.search(r"clocks_per_second=(\d+)", text)
                if not rate or (machine and "sessions=1" not in text):
                    raise Failure(f"no figure from {program}:\n{text}")
                self.add(name, float(rate[1]))
                rates.setdefault(name, []).append(float(rate[1]))
        for with_poll, without in zip(
                rates["clocks_idle"], rates["clocks_without"], strict=True):
            self.add("clocks_ratio", with_poll / without)

    def channels(self):
        """Frames and bytes per second through the NIC and the UART bridge."""
        say("network frames and serial bytes")
        endpoint = self.endpoint("ipc", "channels")
        ours, theirs, line = (os.path.join(self.folder, name) for name in ("ours", "theirs", "tty"))
        log = os.path.join(self.folder, "channels.log")
        words = ["--repeats", str(self.options.repeats), "--count", str(self.options.count)]
        simulator = self.simulator(
            os.path.join(self.options.sim, "channels_top", "channels_top"), endpoint)
        network = self.processes.start([self.options.transport, "nic", ours, theirs, *words],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # Its socket has to be there before QEMU sends to it.
        if network.stdout.readline().strip() != "bound":
            raise Failure(f"the network's other end does not start: {network.stderr.read()}")
        # No guest: its vCPU does nothing.
        with open(log, "wb") as file:
            machine = self.processes.start(
                [self.options.qemu, "-M", "q35", "-accel", "qtest", "-nodefaults", "-display",
                 "none", "-netdev", f"dgram,id=n0,local.type=unix,local.path={theirs},"
                 f"remote.type=unix,remote.path={ours}",
                 "-chardev", f"socket,id=c0,path={line},server=on,wait=off",
                 "-device", "pcie-root-port,id=rp0", "-device",
                 f"accelerator-pcie,id=acc0,bus=rp0,endpoint={endpoint},netdev=n0,chardev=c0"],
                stdout=file, stderr=file)
        # The network's other end waits for the RTL; after it the line has no reset to fear.
        try:
            for name in ("nic", "serial"):
                process = network if name == "nic" else self.processes.start(
                    [self.options.transport, "serial", line, *words],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                out, err = process.communicate(timeout=self.options.timeout)
                if process.returncode:
                    raise Failure(f"network frames and serial bytes: {err.strip()[-400:]}\n"
                                  + self.tail("channels.log") + self.tail("simulator.log"))
                for text in out.split("\n")[:-1]:
                    self.take(text)
        finally:
            for process in (machine, simulator):
                self.processes.end(process)

    def yardstick(self):
        begin = len(self.samples.get(YARDSTICK, []))
        for line in self.transport("unix"):
            self.take(line)
        self.last_yardstick = [s["value"] for s in self.samples[YARDSTICK][begin:]]

    def part(self, measure, *arguments, **options):
        """Measures, with the yardstick right before and after: what a wake-up costs on a
        virtual machine changes within a minute."""
        before = self.last_yardstick
        begin = {name: len(samples) for name, samples in self.samples.items()}
        measure(*arguments, **options)
        self.yardstick()
        base = statistics.median(before + self.last_yardstick)
        for name, samples in self.samples.items():
            if name != YARDSTICK:
                for sample in samples[begin.get(name, 0):]:
                    sample["yardstick"] = base
                    sample["part"] = self.parts
        self.parts += 1

    def bare(self, kind):
        """The transport alone."""
        say(f"the transport alone, {kind}")
        lines = self.transport("zmq", kind) + self.transport("link", kind)
        if kind == "ipc":
            lines += self.transport("way", kind, count=max(4, self.options.count // 2))
        for line in lines:
            self.take(line)

    def bare_link(self, kind):
        """Our link alone."""
        say(f"the link alone, {kind}")
        for line in self.transport("link", kind):
            self.take(line)

    def run(self):
        self.tick_hz = int(self.transport("ticks")[0].split("=")[1])
        self.yardstick()
        for kind in ("ipc", "tcp"):
            self.part(self.bare, kind)
        self.part(self.bare_link, "shm")
        # In turn: the machine may change while it is measured.
        ways = (("ipc", ""), ("shm", SHARED_MEMORY))
        for kind, prefix in ways:
            self.part(self.guest, f"guest, {kind}: reads, writes, doorbell",
                      ["read", "write", "doorbell"], kind=kind, prefix=prefix, peers=True)
        for kind, prefix in ways:
            self.part(self.guest, f"guest, {kind}: MSI-X", ["msix"], kind=kind, prefix=prefix,
                      peers=True)
        self.part(self.guest, f"guest, {BY_VFIO_USER_TITLE}: reads, writes, doorbell, MSI-X",
                  ["read", "write", "doorbell", "msix"], kind="vfio-user", prefix=BY_VFIO_USER)
        for kind, prefix in ways:
            self.part(self.guest, f"guest, {kind}: DMA, idle", ["dma", "idle"], kind=kind,
                      prefix=prefix, cpu_names=(f"{prefix}idle_cpu_qemu", f"{prefix}idle_cpu_sim"))
        self.part(self.guest, "guest, tcp: reads, writes, doorbell",
                  ["read", "write", "doorbell"], kind="tcp", prefix="tcp_")
        sleep = ("+accelerator_idle=1000",)
        self.part(self.guest, "guest, simulator told to sleep: idle, reads, doorbell",
                  ["idle", "read", "doorbell", "scale"], kind="shm", prefix="sleep_",
                  sim_arguments=sleep,
                  cpu_names=("sleep_cpu_qemu", "sleep_cpu_sim"))
        self.part(self.channels)
        self.part(self.clocks)
        for devices in (2, 4):
            self.part(self.guest, f"guest, {devices} devices with a simulator each: reads, DMA",
                      ["scale"], kind="shm", devices=devices, prefix=f"scale{devices}_",
                      sim_arguments=sleep,
                      count=max(4, self.options.count // 2))


def judge(target, figure, samples):
    """A target as text, with what it is compared with, and whether it is met; None if what it
    is in relation to was not measured."""
    kind, limit, *base = target
    if base:
        relations = bench_ratios.relation(figure["repeats"], samples.get(base[0], []))
        if not relations:
            return None
        value = statistics.median(relations)
        text = f"{'≥' if kind == '>=' else '≤'} {limit} × {BASES[base[0]]} ({value:.2f})"
    else:
        value = {"x": figure["ratio"], "p99<=": figure["p99"]}.get(kind, figure["median"])
        text = {"x": f"≤ {limit} ×", ">=": f"≥ {limit:,}", "<=": f"≤ {limit}",
                "p99<=": f"p99 ≤ {limit}"}[kind]
    return text, value >= limit if kind == ">=" else value <= limit


def summary(samples):
    figures = []
    whole = statistics.median(s["value"] for s in samples[YARDSTICK])
    for name in sorted((n for n in samples if n in ORDER), key=ORDER.__getitem__):
        title, unit, targets, original, vfio = FIGURES[name]
        values = [s["value"] for s in samples[name]]
        tails = [s["p99"] for s in samples[name] if s["p99"] is not None]
        for sample in samples[name]:
            sample.setdefault("yardstick", whole)
        # That of the part in which it was measured.
        base = statistics.median(s["yardstick"] for s in samples[name])
        figure = {
            "name": name, "title": title, "unit": unit, "median": statistics.median(values),
            "low": min(values), "high": max(values),
            "p99": statistics.median(tails) if tails else None, "repeats": samples[name],
            "yardstick": base,
            "ratio": statistics.median(values) / base if unit == "us" else None,
            "original": original, "vfio_user": vfio,
        }
        targets = targets if isinstance(targets, list) else [targets] if targets else []
        judged = [judge(target, figure, samples) for target in targets]
        figure["targets"] = [{"text": j[0], "met": j[1]} for j in judged if j]
        figures.append(figure)
    return figures


def met(figure):
    """Whether all of its targets are met; None if it has none."""
    return all(t["met"] for t in figure["targets"]) if figure["targets"] else None


SIDE_TITLES = dict(zip(SIDES, (
    "MMIO read, 4 bytes", "posted MMIO writes", "one doorbell write, from the guest",
    "MSI-X to the handler, guest halted", "the same, guest spinning",
    "the same, spinning with PAUSE"), strict=True))


def side_by_side(figures):
    """What was measured through several things, one of them a column: rows of cells, the
    first the heads of the columns."""
    there = {f["name"]: f for f in figures}
    columns = {"ZeroMQ, ipc": "", "shared memory": SHARED_MEMORY, "vfio-user": VFIO_USER,
               BY_VFIO_USER_TITLE: BY_VFIO_USER, "QEMU's edu": EDU}
    quotients = {"shared memory / vfio-user": (SHARED_MEMORY, VFIO_USER),
                 "shared memory / edu": (SHARED_MEMORY, EDU)}
    rows = [["figure", "unit", *columns, *quotients]]
    for side in SIDES:
        if side not in there:
            continue
        unit = there[side]["unit"]
        row = [SIDE_TITLES[side], unit]
        for prefix in columns.values():
            f = there.get(prefix + side)
            cell = shown(f["median"], unit) if f else ""
            row.append(cell + (f", p99 {shown(f['p99'], unit)}" if f and f["p99"] else ""))
        for above, below in quotients.values():
            values = [] if above + side not in there or below + side not in there else (
                bench_ratios.relation(there[above + side]["repeats"],
                                      there[below + side]["repeats"]))
            row.append(f"{statistics.median(values):.3f}" if values else "")
        rows.append(row)
    return rows


def shown(value, unit):
    if value is None:
        return ""
    if unit == "1/s":
        return f"{value:,.0f}"
    if unit in ("us", "MB/s", "%"):
        return f"{value:.1f}"
    return f"{value:.3f}"


def markdown(result):
    machine = result["machine"]
    lines = [f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['kernel']}; "
             f"{machine['accelerator']}; {machine['qemu']}; {machine['verilator']}; "
             f"{machine['date']}.", ""]
    if machine["forced"]:
        lines += ["**Measured on a busy machine: these figures mean little.**", ""]
    lines += ["| figure | unit | median | p99 | spread | × yardstick | target | | C original "
              "| vfio-user elsewhere |", "|---|---|---:|---:|---:|---:|---:|---|---:|---:|"]
    for f in result["figures"]:
        unit = f["unit"].replace("us", "µs")
        low, high = shown(f["low"], f["unit"]), shown(f["high"], f["unit"])
        ratio = f"{f['ratio']:.1f}" if f["ratio"] else ""
        verdicts = ["met" if t["met"] else "**missed**" for t in f["targets"]]
        lines.append(
            f"| {f['title']} | {unit} | {shown(f['median'], f['unit'])} "
            f"| {shown(f['p99'], f['unit'])} | {low} to {high} | {ratio} "
            f"| {'; '.join(t['text'] for t in f['targets'])} | {'; '.join(verdicts)} "
            f"| {f['original']} | {f['vfio_user']} |")
    heads, *rows = side_by_side(result["figures"])
    lines += ["", "| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    lines += ["| " + " | ".join(cell.replace("us", "µs") if i == 1 else cell
                                for i, cell in enumerate(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def text_table(result):
    lines = [f"{'figure':<58}{'unit':>6}{'median':>12}{'p99':>11}{'low':>12}{'high':>12}"
             f"{'x':>6}  target"]
    for f in result["figures"]:
        u = f["unit"]
        ratio = f"{f['ratio']:.1f}" if f["ratio"] else ""
        targets = "; ".join(f"{t['text']} {'met' if t['met'] else 'MISSED'}"
                            for t in f["targets"])
        lines.append(f"{f['title'][:57]:<58}{u:>6}{shown(f['median'], u):>12}"
                     f"{shown(f['p99'], u):>11}{shown(f['low'], u):>12}{shown(f['high'], u):>12}"
                     f"{ratio:>6}  {targets}")
    rows = side_by_side(result["figures"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines.append("")
    for row in rows:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def svg(result):
    """Latencies as bars on a logarithmic scale: the median, the repeats, and the p99."""
    rows = [f for f in result["figures"] if f["unit"] == "us"]
    left, width, row, top = 390, 520, 22, 46
    least, most = 1.0, 1e4
    height = top + row * len(rows) + 30

    def x(value):
        value = min(max(value, least), most)
        return left + width * math.log10(value / least) / math.log10(most / least)

    def escape(text):
        return text.replace("&", "&amp;").replace("<", "&lt;")

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" '
           f'height="{height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14">Latencies in µs: median (bar), repeats (dots), '
           f'p99 (line); {escape(result["machine"]["cpu"])}</text>']
    for tick in (1, 10, 100, 1000, 10000):
        out.append(f'<line x1="{x(tick):.1f}" y1="{top - 8}" x2="{x(tick):.1f}" '
                   f'y2="{height - 24}" stroke="#ccc"/>'
                   f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick}</text>')
    for i, f in enumerate(rows):
        y = top + row * i
        colour = {True: "#4a9", False: "#d66", None: "#79b"}[met(f)]
        out.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(f["title"])}'
                   f'</text><rect x="{left}" y="{y}" width="{x(f["median"]) - left:.1f}" '
                   f'height="14" fill="{colour}"/>')
        for repeat in f["repeats"]:
            out.append(f'<circle cx="{x(repeat["value"]):.1f}" cy="{y + 7}" r="2"/>')
        if f["p99"]:
            out.append(f'<line x1="{x(f["p99"]):.1f}" y1="{y - 1}" x2="{x(f["p99"]):.1f}" '
                       f'y2="{y + 15}" stroke="#333" stroke-width="2"/>')
        out.append(f'<text x="{left + width + 6}" y="{y + 11}">{f["median"]:.1f}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def first_line(*command):
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=30).stdout
    except OSError:
        return "?"
    return text.split("\n", 1)[0].strip()


def may_have_weight():
    """Whether our threads get more weight than others (docs/performance.md): CAP_SYS_NICE or
    RLIMIT_NICE, and the user does not say otherwise."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        capabilities = int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.MULTILINE).group(1), 16)
    permitted = capabilities >> 23 & 1 or resource.getrlimit(resource.RLIMIT_NICE)[0] in (
        40, resource.RLIM_INFINITY)
    return bool(permitted) and os.environ.get("ACCELERATOR_NICE", "") != "0"


def about(options):
    cpu = "?"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": cpu, "cpus": os.cpu_count(), "kernel": platform.platform(),
        "accelerator": options.accel, "qemu": first_line(options.qemu, "--version"),
        "verilator": first_line(options.verilator, "--version"),
        "rustc": first_line("rustc", "--version"),
        "commit": first_line("git", "describe", "--always", "--dirty"),
        "weight": may_have_weight(), "count": options.count,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "busy": round(options.busy, 3), "forced": options.forced,
    }


def check(result, smoke):
    """Every figure is there and positive; returns what is not."""
    there = {f["name"]: f for f in result["figures"]}
    faults = [f"{name} is missing" for name in FIGURES if name not in there]
    for name, f in there.items():
        # An idle process may have taken no tick at all, and a clock error may hide a time.
        zero_is_fine = f["unit"] == "%"
        if f["median"] < 0 or (f["median"] == 0 and not zero_is_fine):
            faults.append(f"{name} is {f['median']}")
    if smoke:
        return faults
    unsteady = there[YARDSTICK]
    if unsteady["high"] > 1.5 * unsteady["low"]:
        say(f"warning: the yardstick itself went from {unsteady['low']:.1f} to "
            f"{unsteady['high']:.1f} us: the machine was not quiet")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    for name in ("qemu", "guest", "sim", "transport", "vfio-user", "out"):
        run.add_argument(f"--{name}", required=True)
    run.add_argument("--verilator", default="verilator")
    run.add_argument("--accel", default="tcg")
    run.add_argument("--repeats", type=int, default=5)
    run.add_argument("--count", type=int, default=2000)
    run.add_argument("--idle", type=int, default=3)
    run.add_argument("--seconds", type=float, default=1.5)
    run.add_argument("--timeout", type=float, default=300)
    run.add_argument("--busy", type=float, default=0)
    run.add_argument("--forced", action="store_true")
    run.add_argument("--smoke", action="store_true")
    run.add_argument("--history")
    for name in ("markdown", "svg", "history"):
        commands.add_parser(name).add_argument("file")
    commands.choices["history"].add_argument("history")
    options = parser.parse_args()

    history = getattr(options, "history", None)
    if history and (fault := bench_ratios.writable(history)):
        print(f"[bench] error: {fault}", file=sys.stderr)
        return 1
    if options.command != "run":
        with open(options.file, encoding="utf-8") as file:
            result = json.load(file)
        # The titles and targets are those of today.
        result["figures"] = summary({f["name"]: f["repeats"] for f in result["figures"]})
        if options.command == "history":
            for line in bench_ratios.append(result, history, YARDSTICK):
                say(line)
        else:
            print({"markdown": markdown, "svg": svg}[options.command](result), end="")
        return 0

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options)
    begin = time.monotonic()
    machine = about(options)
    for key in ("cpu", "cpus", "kernel", "accelerator", "qemu", "verilator", "rustc", "commit"):
        say(f"{key}: {machine[key]}")
    try:
        bench.run()
    except (Failure, OSError, subprocess.SubprocessError) as e:
        print(f"[bench] error: {e}", file=sys.stderr)
        return 1
    finally:
        bench.close()
    result = {"machine": machine, "seconds": round(time.monotonic() - begin),
              "tick_hz": bench.tick_hz, "clock_error_us":
              max(s["value"] for s in bench.samples["clock_error"]) / 1e3,
              "figures": summary(bench.samples)}
    os.makedirs(options.out, exist_ok=True)
    for name, text in (("bench.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n"),
                       ("bench.md", markdown(result)), ("bench.svg", svg(result))):
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as file:
            file.write(text)
    print(text_table(result))
    say(f"{result['seconds']} s; guest's and host's clock agree to "
        f"{result['clock_error_us']:.2f} us; {options.out}/bench.json, .md and .svg")
    faults = check(result, options.smoke)
    for fault in faults:
        print(f"[bench] error: {fault}", file=sys.stderr)
    if history and not faults:
        for line in bench_ratios.append(result, history, YARDSTICK):
            say(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
