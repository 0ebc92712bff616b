# SPDX-License-Identifier: MIT OR Apache-2.0
"""Hosts that are network namespaces of this one, and a cable between two of them."""

import os
import subprocess
import sys
import time

__all__ = ["Host", "as_root", "join"]

# Of nobody: what is sent there is lost.
NOBODY = "02:00:00:00:00:99"


def as_root():
    """An ordinary user's program begins anew as root of a user namespace."""
    if os.geteuid() == 0:
        return
    root = ["unshare", "--user", "--map-root-user", "--"]
    if subprocess.run([*root, "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        raise SystemExit("neither root nor allowed to make user namespaces: run it with sudo")
    os.execvp(root[0], [*root, sys.executable, *sys.argv])


class Host:
    """A network namespace with one device. It lives as long as a process is in it."""

    def __init__(self, device):
        self.device = device
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        own = os.readlink("/proc/self/ns/net")
        end = time.monotonic() + 60
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == own:
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit("a network namespace cannot be made")
            time.sleep(0.05)

    def command(self, *words):
        return ["nsenter", "--target", str(self.process.pid), "--net", "--", *map(str, words)]

    def ip(self, *words):
        subprocess.run(self.command("ip", *words), check=True)

    def lose(self, address):
        """From now on nothing arrives at an address."""
        self.ip("neigh", "replace", address, "lladdr", NOBODY, "nud", "permanent",
                "dev", self.device)

    def find(self, address):
        self.ip("neigh", "del", address, "dev", self.device)

    def end(self):
        self.process.kill()
        self.process.wait()


def join(one, its_addresses, other, others_addresses):
    """A cable between two hosts, whose devices are its ends, with these addresses."""
    one.ip("link", "add", one.device, "type", "veth", "peer", "name", other.device)
    one.ip("link", "set", other.device, "netns", other.process.pid)
    for host, addresses in ((one, its_addresses), (other, others_addresses)):
        for address in addresses:
            host.ip("addr", "add", f"{address}/24", "dev", host.device)
        host.ip("link", "set", host.device, "up")
