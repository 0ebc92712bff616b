#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Bytes between a chardev of a real QEMU and the UART bridge in RTL, compared byte for byte, with
pauses at both ends: scripts/test-serial.sh."""

import random
import re
import socket
import struct
import sys
import threading
import time

from suite import Bench, at_least, options_of, qemu_in, run, script, step
from vm import ROOT, Failure, Process, Simulator, wait_for

# So long without a byte taken is no pause of the RTL, whose longest is 65,535 clocks.
STUCK = 0.4
# What we take at once when the other side is stuck; less than a third of what it can keep,
# so that it comes to that again and again.
CHUNK = 96 * 1024
PATIENCE = 120.0


class Line:
    """Our end of the serial line. Commands are those of hdl/bench/channels_uart.sv."""

    def __init__(self, path):
        def dial():
            line = socket.socket(socket.AF_UNIX)
            # So that it is the RTL that we wait for, not the socket.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
            try:
                line.connect(str(path))
            except OSError:
                line.close()
                return None
            return line
        self.socket = wait_for("QEMU's chardev", dial, PATIENCE)
        self.socket.settimeout(PATIENCE)
        self.sent = self.got = 0

    def command(self, what, count, pauses=False):
        self.send(struct.pack("<cBI", what, int(pauses), count))

    def send(self, data):
        self.socket.sendall(data)
        self.sent += len(data)

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(min(65536, count - len(data)))
            if not part:
                raise Failure("QEMU closed the serial line")
            data += part
        self.got += len(data)
        return bytes(data)

    def expect_silence(self):
        self.socket.settimeout(0.3)
        try:
            more = self.socket.recv(1)
            raise Failure(f"{more!r} came that nobody sent")
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(PATIENCE)


class Writer(threading.Thread):
    """Sends data, piece by piece, and knows when the last one was taken."""

    def __init__(self, line, data):
        super().__init__(daemon=True)
        self.line, self.data = line, data
        self.last = time.monotonic()
        self.error = None
        self.start()

    def run(self):
        try:
            for at in range(0, len(self.data), 1024):
                self.line.send(self.data[at:at + 1024])
                self.last = time.monotonic()
        except OSError as e:
            self.error = e

    def is_stuck(self):
        return self.is_alive() and time.monotonic() - self.last > STUCK


def same(what, got, expected):
    if got == expected:
        return
    for at, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other:
            raise Failure(f"{what}: byte {at} of {len(expected)} is {one:#04x}, "
                          f"expected {other:#04x}")
    raise Failure(f"{what}: {len(got)} bytes came, expected {len(expected)}")


def check_loop(line, count, rng):
    """bytes there and back at once; the chardev's reader and the RTL pause"""
    data = rng.randbytes(count)
    line.command(b"L", count, pauses=True)
    writer = Writer(line, data)
    got, stalls = b"", 0
    while len(got) < count:
        # Not a byte is read before the whole way is full.
        wait_for("the writer", lambda: writer.is_stuck() or not writer.is_alive(), PATIENCE)
        stalls += writer.is_alive()
        writer.last = time.monotonic()
        got += line.receive(min(CHUNK, count - len(got)))
    writer.join(PATIENCE)
    if writer.error or writer.is_alive():
        raise Failure(f"the writer did not end: {writer.error}")
    same("the bytes that came back", got, data)
    line.expect_silence()
    if count >= 1 << 20 and stalls < 3:
        raise Failure(f"the line was full {stalls} times, expected 3 at least: "
                      "flow control was not tried")
    return f"the line was full {stalls} times"


def check_to_rtl(line, count, rng):
    """bytes to the RTL, which pauses, by their sum"""
    data = rng.randbytes(count)
    total = 0
    for byte in data:
        total = ((total << 8 | total >> 24) + byte) & 0xFFFFFFFF
    line.command(b"K", count, pauses=True)
    line.send(data)
    same("the sum", line.receive(4), struct.pack("<I", total))
    line.expect_silence()
    return ""


def check_from_rtl(line, count, rng):
    """bytes from the RTL, to a reader that pauses"""
    line.command(b"S", count)
    got = b""
    while len(got) < count:
        got += line.receive(min(rng.randrange(1, 2 * CHUNK), count - len(got)))
        time.sleep(0.1)
    same("the bytes", got, bytes(sum(n.to_bytes(4, "little")) & 0xFF for n in range(count)))
    line.expect_silence()
    return ""


CHECKS = {"loop": check_loop, "to_rtl": check_to_rtl, "from_rtl": check_from_rtl}


def counted(text, name):
    found = re.search(rf"\b{name}=(\d+)", text)
    if not found:
        raise Failure(f"the simulator does not say {name}")
    return int(found.group(1))


class Serial(Bench):
    """A simulator with a UART bridge and a QEMU whose chardev it is."""

    def __init__(self, options):
        super().__init__(options, "accserial-")
        endpoint, path = f"ipc://{self.folder}/card", self.folder / "tty"
        self.simulator = self.own(Simulator(
            "simulator", ROOT / "build/sim/channels_top/channels_top", self.folder,
            {None: endpoint}))
        # No guest is needed: its vCPU does nothing.
        self.qemu = self.own(Process("qemu", [
            options.qemu, "-M", "q35", "-accel", "qtest", "-nodefaults", "-display", "none",
            "-chardev", f"socket,id=c0,path={path},server=on,wait=off",
            "-device", "pcie-root-port,id=rp0",
            "-device", f"accelerator-pcie,id=acc0,bus=rp0,endpoint={endpoint},chardev=c0",
        ], self.folder))
        self.path = path

    def dial(self):
        # A host that comes resets the RTL, and what it has taken by then is lost.
        for what in ("link up", "has opened the channel"):
            wait_for(f"the simulator's line '{what}'",
                     lambda what=what: what in self.simulator.text(), PATIENCE)
        time.sleep(0.3)
        return Line(self.path)

    def end_process(self, process):
        status = process.end()
        if status != 0:
            raise Failure(f"{process.name} ended with status {status}")


def compare(bench, line):
    """What both ends have counted in all; the processes end for it."""
    line.socket.close()
    for process in (bench.qemu, bench.simulator):
        bench.end_process(process)
    text = bench.simulator.text()
    for name, expected in (("bytes_from_host", line.sent), ("bytes_to_host", line.got)):
        if counted(text, name) != expected:
            raise Failure(f"{name} is {counted(text, name)}, expected {expected}")
    pauses, full = counted(text, "pauses"), counted(text, "tx_full_polls")
    if bench.options.bytes >= 1 << 20 and (pauses < 100 or full < 1000):
        raise Failure(f"the RTL paused {pauses} times and found its transmit FIFO full {full} "
                      "times: flow control was not tried")
    print(f"{line.sent} bytes to the RTL, {line.got} from it; the RTL paused {pauses} times "
          f"and found its transmit FIFO full {full} times")


def main():
    parser = options_of("test-serial.sh", """
        Starts QEMU and a simulator with accelerator_uart_bridge, and sends bytes from a chardev
        to the RTL and back, with pauses at both ends, then fewer each way alone. Every byte is
        compared; both ends' counters have to agree, and each end has to have waited for the
        other.""")
    parser.add_argument("--bytes", type=at_least(1), default=1 << 20, metavar="N",
                        help="there and back (default: 1048576)")
    parser.add_argument("--seed", type=at_least(0), default=random.randrange(1 << 32), metavar="N",
                        help="of the data, to repeat a run; each prints its own")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    script("build-sim.sh", "--top", "channels_top", "--files", "hdl/bench/channels.f")
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    bench = Serial(options)

    def everything():
        line = bench.dial()
        for name, check in CHECKS.items():
            # There and back is each way; alone it is for the sake of the other path in the RTL.
            count = options.bytes if name == "loop" else max(1, options.bytes // 8)
            text = step(name, f"{count} {check.__doc__}",
                        lambda check=check, count=count: check(line, count, rng))
            if text:
                print(f"  {text}")
        compare(bench, line)
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
