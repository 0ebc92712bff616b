# SPDX-License-Identifier: MIT OR Apache-2.0
"""A cable between two VMs. No packet leaves QEMU but over a Unix socket, so it takes no rights."""

from __future__ import annotations

from pathlib import Path

from .errors import CosimError

#: What both ends are; the last byte differs.
MAC_PREFIX = "52:54:00:c0"
# The end that connects tries again, since the other one may come later.
RECONNECT_MS = 200


class Network:
    """Two ends, which `Guest.attach` gives to VMs; `Run.network` makes it."""

    def __init__(self, socket: Path, number: int) -> None:
        self._socket = socket
        self._number = number
        self._ends = 0

    def take_end(self, name: str) -> tuple[dict[str, object], str]:
        """The arguments of netdev_add for the next end, and a MAC address for who has it."""
        if self._ends == 2:
            raise CosimError("a network has two ends, and both are taken")
        end, self._ends = self._ends, self._ends + 1
        netdev: dict[str, object] = {
            "type": "stream", "id": name, "server": end == 0,
            "addr": {"type": "unix", "path": str(self._socket)},
        }
        if end == 1:
            netdev["reconnect-ms"] = RECONNECT_MS
        return netdev, f"{MAC_PREFIX}:{self._number:02x}:{end + 1:02x}"
