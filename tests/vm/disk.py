#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A disk image of the user's: a Debian that boots from it beside the card, in which the driver and
its program are built: scripts/test-disk.sh."""

import socket
import subprocess
import sys

import debian
import pexpect
import pexpect.socket_pexpect
from suite import Bench, build_simulations, first_line, options_of, qemu_in, run, step
from vm import PATIENCE, ROOT, Failure

PROMPT = r"root@\S+:\S*# "


class Console:
    """A root's shell on a serial port, by pexpect."""

    def __init__(self, child):
        self.child = child
        self.child.expect(PROMPT, timeout=PATIENCE)
        self.count = 0
        self.ok("stty -echo; bind 'set enable-bracketed-paste off'; dmesg -n 1")

    def ok(self, command):
        """Runs a line that has to succeed and returns what it prints."""
        self.count += 1
        # The mark is not in the line itself, which may be echoed.
        self.child.sendline(f"{command}; echo =END''{self.count}=$?=")
        self.child.expect(rf"=END{self.count}=(\d+)=", timeout=PATIENCE)
        output = self.child.before
        if self.child.match[1] != "0":
            raise Failure(f"'{command}' ended with status {self.child.match[1]}: {output[-800:]}")
        return output


class Disk(Bench):
    """What was started in a terminal ends with the suite."""

    def __init__(self, options):
        super().__init__(options, "accdisk-")
        self.image = None
        self.children = []

    def spawn(self, name, *command):
        log = open(self.folder / f"{name}.log", "w", encoding="utf-8")  # noqa: SIM115 - its child's
        child = pexpect.spawn(str(command[0]), [str(word) for word in command[1:]], cwd=str(ROOT),
                              encoding="utf-8", codec_errors="replace", logfile=log,
                              dimensions=(50, 200))
        self.children.append(child)
        return child

    def end(self, failed):
        for child in self.children:
            # Hangs up, as a terminal that is closed does; the script ends what it has started.
            child.close()
        return super().end(failed)


def check_module(bench):
    """Debian boots from a disk image, the driver is built there and sorts"""
    source = bench.folder / "source.tar"
    subprocess.run(["tar", "-cf", source, "-C", ROOT, "guest"], check=True)
    child = bench.spawn(
        "demo", "scripts/demo.sh", "--qemu", bench.options.qemu, "--sim", "build/sim/sort/sort",
        "--shell", "--disk", bench.image, "--snapshot", "--qemu-args",
        f"-drive file={source},format=raw,if=virtio,readonly=on")
    console = Console(child)
    if "10ee:7024" not in console.ok("lspci -n"):
        raise Failure("the system does not see the card")
    console.ok("mkdir /tmp/source && tar -xf /dev/vdb -C /tmp/source && cd /tmp/source/guest")
    console.ok("make -C /lib/modules/$(uname -r)/build M=$PWD/driver modules")
    console.ok("mkdir /tmp/tools && make -C tools OUT=/tmp/tools /tmp/tools/accel-sort")
    console.ok("insmod driver/accel_sort.ko")
    said = console.ok("/tmp/tools/accel-sort --blocks 4 --seed 5")
    if "ACCEL result=PASS" not in said:
        raise Failure(f"accel-sort says {said}")
    child.sendline("systemctl poweroff")
    child.expect(pexpect.EOF, timeout=PATIENCE)
    child.close()
    if child.exitstatus != 0:
        raise Failure(f"the demo ended with status {child.exitstatus}")


def check_two(bench):
    """Both VMs of run-cosim.sh boot from it, and ping each other"""
    child = bench.spawn(
        "cosim", "scripts/run-cosim.sh", "--qemu", bench.options.qemu, "--plain-qemu",
        bench.options.plain_qemu or bench.options.qemu, "--disk", bench.image, "--plain-disk",
        bench.image, "--snapshot", "--console", "accel", "--logs", bench.folder / "cosim")
    child.expect(r"plain VM: socat \S* UNIX-CONNECT:(\S+)", timeout=PATIENCE)
    path = child.match[1]
    ours = Console(child)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        other = pexpect.socket_pexpect.SocketSpawn(line, encoding="utf-8", codec_errors="replace")
        # It may have come to its prompt before.
        other.sendline("")
        theirs = Console(other)
        nic = "$(ls /sys/class/net | grep -v lo)"
        for console, address in ((ours, "10.77.0.1"), (theirs, "10.77.0.2")):
            console.ok(f"ip link set {nic} up && ip address add {address}/24 dev {nic}")
        ours.ok("ping -c 3 -W 20 10.77.0.2")
        if "10ee:7024" not in ours.ok("lspci -n") or "10ee:7024" in theirs.ok("lspci -n"):
            raise Failure("the card is not in the first VM alone")
        child.sendline("systemctl poweroff")
        child.expect(pexpect.EOF, timeout=PATIENCE)


CHECKS = {"module": check_module, "two": check_two}


def main():
    parser = options_of("test-disk.sh", """
        Makes a disk image with a Debian of this machine's release, kernel headers and a
        compiler; it is kept in the cache. Boots it with a card, builds the card's driver in
        it, and sorts. Then two VMs boot it, and ping each other.""", CHECKS)
    parser.add_argument("--plain-qemu", metavar="DIR",
                        help="the QEMU of the VM without a card (default: that of --qemu)")
    options = parser.parse_args()
    qemu_in(options.qemu)
    build_simulations("sort")
    bench = Disk(options)

    def everything():
        bench.image = step("image", "a Debian that boots by itself", debian.image)
        for name in options.checks or CHECKS:
            step(name, first_line(CHECKS[name]), lambda name=name: CHECKS[name](bench))
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
