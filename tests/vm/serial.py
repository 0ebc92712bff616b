#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Bytes between a chardev of a real QEMU and the UART bridge in RTL, compared byte for byte, with
pauses at both ends.

Run by scripts/test-serial.sh, which builds what is needed and explains the options."""

import argparse
import random
import re
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qemu", required=True)
    parser.add_argument("--bytes", type=int, default=1 << 20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="accserial-"))
    processes: list[Process] = []
    failed = True
    try:
        endpoint, path = f"ipc://{folder}/card", folder / "tty"
        simulator = Simulator("simulator", ROOT / "build/sim/channels_top/channels_top", folder,
                              {None: endpoint})
        processes.append(simulator)
        # No guest is needed: its vCPU does nothing.
        qemu = Process("qemu", [
            options.qemu, "-M", "q35", "-accel", "qtest", "-nodefaults", "-display", "none",
            "-chardev", f"socket,id=c0,path={path},server=on,wait=off",
            "-device", "pcie-root-port,id=rp0",
            "-device", f"accelerator-pcie,id=acc0,bus=rp0,endpoint={endpoint},chardev=c0",
        ], folder)
        processes.append(qemu)
        # A host that comes resets the RTL, and what it has taken by then is lost.
        for what in ("link up", "has opened the channel"):
            wait_for(f"the simulator's line '{what}'", lambda what=what: what in simulator.text(),
                     PATIENCE)
        time.sleep(0.3)
        line = Line(path)
        for name, check in CHECKS.items():
            begin = time.monotonic()
            # There and back is each way; alone it is for the sake of the other path in the RTL.
            count = options.bytes if name == "loop" else max(1, options.bytes // 8)
            text = check(line, count, rng)
            summary = f"{check.__doc__}{'; ' if text else ''}{text}"
            print(f"ok      {name:9} {time.monotonic() - begin:6.1f} s  {count} {summary}",
                  flush=True)
        line.socket.close()
        for process in (qemu, simulator):
            status = process.end()
            if status != 0:
                raise Failure(f"{process.name} ended with status {status}")
        text = simulator.text()
        for name, expected in (("bytes_from_host", line.sent), ("bytes_to_host", line.got)):
            if counted(text, name) != expected:
                raise Failure(f"{name} is {counted(text, name)}, expected {expected}")
        pauses, full = counted(text, "pauses"), counted(text, "tx_full_polls")
        if options.bytes >= 1 << 20 and (pauses < 100 or full < 1000):
            raise Failure(f"the RTL paused {pauses} times and found its transmit FIFO full {full} "
                          "times: flow control was not tried")
        print(f"{line.sent} bytes to the RTL, {line.got} from it; the RTL paused {pauses} times "
              f"and found its transmit FIFO full {full} times")
        failed = False
    except (Failure, OSError) as e:
        print(f"FAILED  {type(e).__name__}: {e}")
    finally:
        for process in reversed(processes):
            try:
                process.end()
            except Failure as e:
                print(e)
                failed = True
        if failed:
            for process in processes:
                sys.stdout.write(process.tail())
        if failed or options.keep:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
