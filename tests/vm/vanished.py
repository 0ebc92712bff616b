#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two hosts, which are network namespaces, and a cable between them that loses everything from one
moment on, as when a machine loses its power: each side has to notice, and a QEMU that comes back
has to get a session. A simulator and a QEMU that are stopped meanwhile, as in a debugger, keep
theirs: scripts/test-vanished.sh."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from namespaces import Host, as_root, join
from suite import build_crate, options_of, qemu_in

# After so long both sides have to have noticed; it takes half a minute.
PATIENCE = 150.0
SIMULATOR = Path(__file__).with_name("dpi_simulator.py")


class Process:
    """A simulator or a QEMU on a host, and what it has said."""

    def __init__(self, folder, name, host, *words):
        self.name, self.log = name, folder / f"{name}.log"
        environment = {**os.environ, "ACCELERATOR_INSECURE": "1", "ACCELERATOR_LOG_LEVEL": "info"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                host.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment)

    def count(self, text):
        return self.log.read_text(errors="replace").count(text)

    def has_line(self, *parts):
        lines = self.log.read_text(errors="replace").splitlines()
        return any(all(part in line for part in parts) for line in lines)

    def expect(self, text, times=1):
        end = time.monotonic() + PATIENCE
        while self.count(text) < times:
            if time.monotonic() > end:
                raise SystemExit(f"{self.name} has not said {text!r} {times} times")
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with status {self.process.returncode}")
            time.sleep(0.1)

    def end(self):
        if self.process.poll() is None:
            # One that is stopped as well.
            self.process.kill()
        self.process.wait()


def main():
    parser = options_of("test-vanished.sh", """
        Joins two network namespaces by a virtual cable, with QEMUs in one and programs that play
        simulators on the DPI library in the other, and has the cable lose everything from one
        moment on. Both sides have to notice within two and a half minutes, also with frames under
        way that nobody waits for, and a QEMU that comes back from another address has to get the
        session of the one that is gone. One that is only stopped keeps its own.

        Needs root, or a system that allows user namespaces.""", keep=False)
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    options.library = build_crate("accelerator-dpi") / "debug/libaccelerator_dpi.so"
    as_root()
    folder = Path(tempfile.mkdtemp(prefix="accelerator-"))
    hosts, processes = [], []

    def simulator(name, address, port):
        processes.append(Process(folder, name, sim_host, sys.executable, SIMULATOR,
                                 options.library, f"tcp://{address}:{port}"))
        return processes[-1]

    def qemu(name, address, port):
        endpoint = f"tcp://{address}:{port}"
        processes.append(Process(
            folder, name, qemu_host, options.qemu, "-M", "q35,usb=off", "-S", "-m", "64",
            "-nodefaults", "-display", "none",
            "-qmp", f"unix:{folder}/{name}.qmp,server=on,wait=off",
            "-netdev", "hubport,id=net0,hubid=0",
            "-chardev", f"socket,id=line0,path={folder}/{name}.line,server=on,wait=off",
            "-device", "pcie-root-port,id=rp0",
            "-device", f"accelerator-pcie,id=acc0,bus=rp0,endpoint={endpoint},insecure=on,"
            "handshake-timeout=150000,netdev=net0,chardev=line0"))
        return processes[-1]

    def ask(name, *commands):
        """Has a QEMU obey QMP commands; what it says of the last."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(f"{folder}/{name}.qmp")
            with line.makefile("rw") as qmp:
                qmp.readline()
                for command, arguments in (("qmp_capabilities", {}), *commands):
                    qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                    qmp.flush()
                    while "return" not in (answer := json.loads(qmp.readline())):
                        if "error" in answer:
                            raise SystemExit(f"{name}: {command}: {answer}")
                return answer["return"]

    def reset(name):
        """Has a QEMU send a frame by each of its three connections."""
        ask(name, ("system_reset", {}), ("set_link", {"name": "net0", "up": False}))
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(f"{folder}/{name}.line")
            line.sendall(b"x")

    def rtl_link(name):
        """What a QEMU knows of the RTL's NIC bridge."""
        text = ask(name, ("human-monitor-command", {"command-line": "info network"}))
        found = re.search("rtl-link=(\\w+)", text)
        return found[1] if found else text

    try:
        hosts += [Host("acc-sim"), Host("acc-qemu")]
        sim_host, qemu_host = hosts
        # The second address of each is for those that come back or are stopped.
        join(sim_host, ("10.117.0.1", "10.117.0.11"), qemu_host, ("10.117.0.2", "10.117.0.12"))

        up = "up: PCIe True, NIC True, serial True"
        # Idle; with a frame under way from QEMU, and to it, where it is to be replaced; and two
        # pairs of which one is stopped.
        pairs = {}
        for n, name in enumerate(
                ("idle", "reset", "replaced", "stopped-simulator", "stopped-qemu")):
            address = "10.117.0.11" if name.startswith("stopped") else "10.117.0.1"
            if name.startswith("stopped"):
                qemu_host.ip("route", "replace", "10.117.0.11/32", "dev", "acc-qemu",
                             "src", "10.117.0.12")
            # The one that comes back asks at another address.
            listen = "*" if name == "replaced" else address
            pairs[name] = (simulator(f"simulator-{name}", listen, 7600 + 10 * n),
                           qemu(f"qemu-{name}", address, 7600 + 10 * n))
        for sim, _ in pairs.values():
            sim.expect(up)
        print("  five QEMUs have their links", flush=True)

        begin = time.monotonic()
        for process in pairs["stopped-simulator"][0], pairs["stopped-qemu"][1]:
            process.process.send_signal(signal.SIGSTOP)
        sim_host.lose("10.117.0.2")
        qemu_host.lose("10.117.0.1")
        reset("qemu-stopped-simulator")
        reset("qemu-reset")
        # Its host loses its power, and comes back with another address.
        pairs["replaced"][1].end()
        qemu_host.ip("addr", "add", "10.117.0.3/24", "dev", "acc-qemu")
        qemu_host.ip("route", "replace", "10.117.0.21/32", "dev", "acc-qemu", "src", "10.117.0.3")
        sim_host.ip("addr", "add", "10.117.0.21/24", "dev", "acc-sim")
        # It is told that another host has the session, until that is given up.
        sim = pairs["replaced"][0]
        again, tries = None, 0
        while sim.count(up) < 2:
            if again is None or again.process.poll() is not None:
                again = qemu(f"qemu-again-{tries}", "10.117.0.21", 7620)
                tries += 1
            if time.monotonic() > begin + PATIENCE:
                raise SystemExit("the QEMU that came back does not get its links")
            time.sleep(0.5)
        print(f"  the QEMU that came back has its links after {tries} starts, "
              f"{time.monotonic() - begin:.0f} s", flush=True)
        for name in "idle", "reset":
            for process, side, text in zip(
                    pairs[name], ("simulator", "QEMU"), ("link down", "is down"), strict=True):
                process.expect(text)
                print(f"  {name}: the {side} has noticed after {time.monotonic() - begin:.0f} s",
                      flush=True)
            # Its two channels too, each with a connection of its own.
            qemu_name = f"qemu-{name}"
            while rtl_link(qemu_name) != "absent":
                if time.monotonic() > begin + PATIENCE:
                    raise SystemExit(
                        f"{qemu_name}: the NIC channel is there still: {rtl_link(qemu_name)}")
                time.sleep(0.5)
            while not pairs[name][1].has_line("acc0 (serial): no connection",
                                              "the connection was lost"):
                if time.monotonic() > begin + PATIENCE:
                    raise SystemExit(f"{qemu_name}: the serial channel is there still")
                time.sleep(0.5)
            print(f"  {name}: QEMU's channels have noticed after "
                  f"{time.monotonic() - begin:.0f} s", flush=True)

        # Longer than either side waits for one that has vanished.
        time.sleep(max(0.0, begin + 60 - time.monotonic()))
        for name, which in ("stopped-simulator", 0), ("stopped-qemu", 1):
            pairs[name][which].process.send_signal(signal.SIGCONT)
        time.sleep(2)
        for name in "stopped-simulator", "stopped-qemu":
            sim, vm = pairs[name]
            for process, text in (sim, "link down"), (vm, "is down"):
                if process.process.poll() is not None or process.count(text):
                    raise SystemExit(f"{name}: the session was given up")
        print("  who was stopped for a minute keeps its session", flush=True)
        if again.process.poll() is not None:
            raise SystemExit("the QEMU that came back has ended")
    except BaseException:
        for process in processes:
            for line in process.log.read_text(errors="replace").splitlines()[-12:]:
                print(f"  | {process.name}: {line}")
        raise
    finally:
        for process in processes:
            process.end()
        for host in hosts:
            host.end()
        shutil.rmtree(folder)
    print("PASS")


if __name__ == "__main__":
    main()
