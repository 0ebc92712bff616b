#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Co-simulation across two hosts, which are network namespaces of this one, with keys:
scripts/test-two-hosts.sh."""

import re
import sys

from namespaces import Host, as_root, join
from suite import Bench, build_guest, build_simulations, options_of, qemu_in, run, script
from vm import ROOT, Failure, Process

ENDPOINT = "tcp://10.117.0.1:7557"
# Some 1,700 accesses under TCG, a boot, and a loaded machine.
PATIENCE = 400.0


class Pair(Bench):
    """A simulator with the example regs on one host, and QEMUs on the other."""

    def __init__(self, options):
        super().__init__(options, "acchosts-")
        self.keys = self.folder / "keys"
        self.hosts = []

    def start(self):
        self.hosts += [Host("acc-sim"), Host("acc-qemu")]
        join(self.hosts[0], ["10.117.0.1"], self.hosts[1], ["10.117.0.2"])
        script("make-keys.sh", str(self.keys), "simulator", "qemu", "stranger")
        program = ROOT / "build/sim/regs/regs"
        self.simulator = self.own(Process(
            "simulator", self.hosts[0].command(program, f"+accelerator_endpoint={ENDPOINT}"),
            self.folder, {
                "ACCELERATOR_CURVE_SECRET": str(self.keys / "simulator.key_secret"),
                "ACCELERATOR_CURVE_CLIENTS": str(self.keys / "qemu.key"),
                "ACCELERATOR_LOG_LEVEL": "info"}))

    def key(self, prop, name):
        return f"{prop}={self.keys}/{name}"

    def run_qemu(self, name, properties):
        """A VM whose guest runs the test of regs; its status, when it has ended."""
        guest = self.options.guest
        qemu = self.own(Process(f"qemu-{name}", self.hosts[1].command(
            self.options.qemu, "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512",
            "-smp", "2", "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", f"{guest}/vmlinuz", "-initrd", f"{guest}/initramfs.cpio.gz",
            "-append", "console=ttyS0 loglevel=4 panic=-1 no_timer_check accel.run=regs "
                       "accel.args=--seed,1,test,0x10,0x80 accel.tty=ttyS1",
            "-serial", f"file:{self.folder}/kernel.log",
            "-serial", f"file:{self.folder}/guest-{name}.log",
            "-device", "pcie-root-port,id=rp0",
            "-device", f"accelerator-pcie,id=acc0,bus=rp0,endpoint={ENDPOINT},{properties}"),
            self.folder))
        return qemu, qemu.process.wait(PATIENCE)

    def refused(self, name, properties, text):
        """The port is open for everybody, and yet nobody gets in without a key."""
        qemu, status = self.run_qemu(name, f"handshake-timeout=4000,{properties}")
        if status == 0:
            raise Failure(f"{name}: QEMU started")
        if text not in qemu.text():
            raise Failure(f"{name}: QEMU does not say: {text}")
        print(f"ok      {name}: refused, and QEMU says: {text}", flush=True)

    def end(self, failed):
        failed = super().end(failed)
        for host in self.hosts:
            host.end()
        return failed


def check(pair):
    own, server = pair.key("curve-secret", "qemu.key_secret"), pair.key(
        "curve-server", "simulator.key")
    pair.refused("no-key", "insecure=on", "set curve-secret and curve-server")
    pair.refused("unlisted", f"{pair.key('curve-secret', 'stranger.key_secret')},{server}",
                 "does not know our public key")
    pair.refused("other-simulator", f"{own},{pair.key('curve-server', 'stranger.key')}",
                 "another one than curve-server")
    text = pair.simulator.text()
    for words in ("only one side use", "refused a host at 10.117.0.2",
                  "expects another key of ours"):
        if not re.search(f"WARN.*{words}", text):
            raise Failure(f"the simulator does not say: {words}")
    if "link up" in text:
        raise Failure("the simulator had a session with a stranger")

    _, status = pair.run_qemu("keys", f"{own},{server}")
    if status != 0:
        raise Failure(f"QEMU ended with status {status}")
    guest = (pair.folder / "guest-keys.log").read_text(errors="replace")
    if not re.search(r"(?m)^ACCEL status=0", guest):
        raise Failure("the guest's test failed")
    told = re.findall(r"(?m)^(ACCEL (?:accesses|reads|writes|result)=\S+)", guest)
    print(f"ok      keys: {' '.join(told)}", flush=True)

    status = pair.simulator.end()
    if status != 0:
        raise Failure(f"the simulator ended with status {status}")
    counts = re.findall(r"(?m)^.*_reads=.*$", pair.simulator.text())
    if not counts:
        raise Failure("the simulator printed no counts")
    print("\n".join(counts))


def main():
    parser = options_of("test-two-hosts.sh", """
        Puts a simulator with the example regs and a VM into two network namespaces that are joined
        by nothing but a virtual cable, with keys of scripts/make-keys.sh, and has the guest test
        every size and alignment of access. Then the same with a QEMU whose key is not listed, with
        one that has none, and with one that expects another simulator: they have to fail, and say
        why.

        Needs root, or a system that allows user namespaces.""")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("regs")
    options.guest = build_guest("guest-plain")
    as_root()
    pair = Pair(options)

    def everything():
        pair.start()
        check(pair)
    return run(pair, everything)


if __name__ == "__main__":
    sys.exit(main())
