#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the scripts ask of a running QEMU, over its QMP socket.

    qmp.py SOCKET find [ID]              path of the accelerator-pcie device
    qmp.py SOCKET state PATH             its flags, name=true or name=false
    qmp.py SOCKET replug PATH            asks the guest to release it, to be plugged in again
    qmp.py SOCKET wait PATH FLAG SECONDS waits until it is plugged in again and FLAG is set
    qmp.py SOCKET COMMAND [JSON]         any command; prints what it returns

Ends with status 0, or 1 and a line on standard error.
"""

import json
import socket
import sys
import time

TYPE = "child<accelerator-pcie>"
FLAGS = ("link-up", "memory-enabled", "bus-master", "replug")


class QmpError(Exception):
    """QEMU refused a command, or does not answer."""


class Qmp:
    """A connection to the QMP socket of a QEMU; `events` collects what comes unasked."""

    def __init__(self, path, timeout=30.0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.events = []
        self.buffer = b""
        try:
            self.socket.connect(path)
            self._receive()
        except (OSError, ValueError) as e:
            raise QmpError(f"{path}: {e} (is it a QMP socket, and does nobody else use it?)") from e
        self.command("qmp_capabilities")

    def close(self):
        self.socket.close()

    def _receive(self):
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise QmpError("QEMU has ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, arguments=None):
        """Returns what the command returns."""
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
            while True:
                answer = self._receive()
                if "event" in answer:
                    self.events.append(answer)
                elif "error" in answer:
                    raise QmpError(f"{name}: {answer['error'].get('desc', answer['error'])}")
                else:
                    return answer.get("return")
        except OSError as e:
            raise QmpError(f"{name}: {e}") from e

    def wait_event(self, name, timeout=60.0):
        """Returns the oldest event of that name, which may have come already."""
        deadline = time.monotonic() + timeout
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(i)
            if time.monotonic() > deadline:
                raise QmpError(f"no event {name} within {timeout:.0f} s")
            # Events come with the next answer.
            self.command("query-status")
            time.sleep(0.02)

    def get(self, path, name):
        return self.command("qom-get", {"path": path, "property": name})

    def find(self, wanted=None):
        """Path of the device with that id, or of the only one."""
        found = []
        for folder in ("/machine/peripheral", "/machine/peripheral-anon"):
            for item in self.command("qom-list", {"path": folder}):
                if item["type"] == TYPE and wanted in (None, item["name"]):
                    found.append(f"{folder}/{item['name']}")
        if len(found) != 1:
            called = f" called {wanted}" if wanted else ""
            what = f"{len(found)} accelerator-pcie devices{called}"
            raise QmpError(what + ", expected one" + (": " + ", ".join(found) if found else ""))
        return found[0]

    def replug(self, path):
        self.command("qom-set", {"path": path, "property": "replug", "value": True})

    def is_back(self, path, flag):
        """Whether the device was made again and the flag is set."""
        try:
            return not self.get(path, "replug") and self.get(path, flag)
        except QmpError as e:
            if "not found" in str(e):
                return False
            raise

    def wait_back(self, path, flag, timeout):
        deadline = time.monotonic() + timeout
        while not self.is_back(path, flag):
            if time.monotonic() > deadline:
                raise QmpError(f"{path}: {flag} is not set within {timeout:.0f} s")
            time.sleep(0.02)


def main(arguments):
    if len(arguments) < 2 or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    path, what, *rest = arguments
    qmp = Qmp(path)
    if what == "find":
        print(qmp.find(rest[0] if rest else None))
    elif what == "state":
        for name in FLAGS:
            print(f"{name}={'true' if qmp.get(rest[0], name) else 'false'}")
    elif what == "replug":
        qmp.replug(rest[0])
    elif what == "wait":
        qmp.wait_back(rest[0], rest[1], float(rest[2]))
    else:
        result = qmp.command(what, json.loads(rest[0]) if rest else None)
        if result != {}:
            print(json.dumps(result))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (QmpError, ValueError, IndexError) as e:
        sys.exit(f"qmp.py: {e}")
