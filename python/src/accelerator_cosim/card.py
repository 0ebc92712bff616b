# SPDX-License-Identifier: MIT OR Apache-2.0
"""A card in a guest."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import CosimError, GuestError, QmpError, WaitTimeout
from .simulator import Simulator
from .workspace import Simulation

if TYPE_CHECKING:
    from .guest import Guest

Property = int | str | bool
WIDTHS = (1, 2, 4, 8)


class Bar:
    """A BAR of a card, as the guest's processor reaches it."""

    def __init__(self, card: Card, number: int) -> None:
        self._card = card
        self.number = number

    def read(self, offset: int, width: int = 4) -> int:
        """Reads 1, 2, 4 or 8 bytes at an offset, as one access."""
        output = self._access("read", width, offset)
        found = re.search(r"^ACCEL value=(\S+)", output, re.M)
        if not found:
            raise GuestError(f"accel-mmio printed no value: {output}")
        return int(found.group(1), 0)

    def write(self, offset: int, value: int, width: int = 4) -> None:
        """Writes 1, 2, 4 or 8 bytes at an offset, as one access."""
        if not 0 <= value < 1 << 8 * width:
            raise ValueError(f"{value:#x} does not fit into {width} bytes")
        self._access("write", width, offset, value)

    def _access(self, what: str, width: int, offset: int, *values: int) -> str:
        if width not in WIDTHS:
            raise ValueError(f"an access of {width} bytes; 1, 2, 4 and 8 are possible")
        words = [what, str(width), hex(offset), *map(hex, values)]
        # Without a driver nobody has switched the card's memory on.
        return self._card.guest.run(
            f"cd {self._card.sysfs} && {{ [ -e driver ] || [ $(cat enable) != 0 ] || "
            f"echo 1 >enable; }} && accel-mmio --function {self._card.address} "
            f"--bar {self.number} {shlex.join(words)}"
        ).stdout


class Card:
    """A card in a port of a guest, and the simulator that it is."""

    def __init__(
        self, guest: Guest, name: str, slot: int, simulator: Simulator, endpoint: str,
        properties: Mapping[str, Property],
    ) -> None:
        self.guest = guest
        #: The id that QEMU knows it by.
        self.name = name
        self.slot = slot
        self.simulator = simulator
        self.endpoint = endpoint
        self.properties = dict(properties)
        #: Its address in the guest, such as 0000:01:00.0.
        self.address = ""

    def device(self) -> dict[str, Property]:
        """The arguments of device_add."""
        return {"driver": "accelerator-pcie", "id": self.name, "bus": f"rp{self.slot}",
                "endpoint": self.endpoint, **self.properties}

    @property
    def port(self) -> str:
        """Address of the port that it is in."""
        return f"0000:00:{self.guest.machine.port_device(self.slot):02x}.0"

    @property
    def sysfs(self) -> str:
        """Its folder in the guest's sysfs."""
        return f"/sys/bus/pci/devices/{self.address}"

    def wait_present(self, timeout: float | None = None) -> None:
        """Waits until the guest has found it and a driver, if there is one for it, has probed it;
        and learns its address."""
        limit = self.guest.timeout if timeout is None else timeout
        listing = f"cd /sys/bus/pci/devices/{self.port} && echo 0000:*/config"
        deadline = time.monotonic() + limit
        while True:
            found = re.search(r"(0000:\S+)/config", self.guest.run(listing).stdout)
            if found and "*" not in found.group(1):
                self.address = found.group(1)
                break
            if time.monotonic() > deadline:
                raise WaitTimeout(f"the guest found no card in port {self.port} within {limit:g} s")
            time.sleep(0.05)
        # It is seen before its BARs are placed and a driver is looked for. Who has the bus scanned
        # waits for whoever does all that; the scan itself finds nothing new.
        self.guest.run(f"for scan in /sys/bus/pci/devices/{self.port}/pci_bus/*/rescan; do "
                       "echo 1 >$scan; done", timeout=limit)
        self._wait_probed(limit)

    def _wait_probed(self, timeout: float | None = None) -> None:
        """Waits while a driver is given the card, or has it taken away."""
        # Its attribute `driver` is there before probe() is called, and in spite of one that fails.
        # The kernel holds the device's lock meanwhile, which this file takes.
        self.guest.run(f"cat {self.sysfs}/driver_override", timeout=timeout, check=False)

    def bar(self, number: int) -> Bar:
        return Bar(self, number)

    def config(self, register: str | int, width: int = 4) -> int:
        """Reads 1, 2 or 4 bytes of config space, at an offset or a name that setpci knows."""
        suffix = {1: "b", 2: "w", 4: "l"}[width]
        where = register if isinstance(register, str) else f"{register:x}"
        return int(self.guest.run(f"setpci -s {self.address} {where}.{suffix}").stdout, 16)

    def attribute(self, name: str) -> str:
        """An attribute in sysfs."""
        return self.guest.run(f"cat {self.sysfs}/{name}").stdout.strip()

    @property
    def ids(self) -> tuple[int, int]:
        """Vendor and device."""
        return int(self.attribute("vendor"), 16), int(self.attribute("device"), 16)

    @property
    def driver(self) -> str | None:
        """The driver that has it, and whose probe() has succeeded."""
        self._wait_probed()
        link = self.guest.run(f"readlink {self.sysfs}/driver", check=False).stdout.strip()
        return link.rsplit("/", 1)[-1] or None

    def bind(self, driver: str) -> None:
        self.guest.run(f"echo {self.address} >/sys/bus/pci/drivers/{driver}/bind")

    def unbind(self) -> None:
        self.guest.run(f"echo {self.address} >{self.sysfs}/driver/unbind")

    def reset(self) -> None:
        """Resets the function, by FLR where it can."""
        self.guest.run(f"echo 1 >{self.sysfs}/reset")

    def flag(self, name: str) -> bool:
        """`link-up`, `memory-enabled`, `bus-master` or `replug`, as QEMU has them."""
        return bool(self.guest.qmp.get(f"/machine/peripheral/{self.name}", name))

    def wait_flag(self, name: str, value: bool = True, timeout: float | None = None) -> None:
        """Waits until a flag has that value and the card is not about to be plugged in again."""
        limit = self.guest.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        while True:
            try:
                if self.flag(name) is value and (name == "replug" or not self.flag("replug")):
                    return
            except QmpError as e:
                # It is out, and not yet in again.
                if "not found" not in str(e):
                    raise
            if time.monotonic() > deadline:
                raise WaitTimeout(f"{name} of {self.name} did not become {str(value).lower()} "
                                  f"within {limit:g} s")
            time.sleep(0.02)

    def unplug(self) -> None:
        """Has the guest release it and takes it out."""
        self.guest.qmp.execute("device_del", {"id": self.name})
        self.guest.qmp.wait_event("DEVICE_DELETED")
        self.guest.cards.remove(self)

    def swap(self, simulation: Simulation | None = None) -> None:
        """Puts other RTL under the running guest: ends the simulator, has the guest release the
        card, starts the new one (the same one unless given) and waits until the card is plugged
        in again and, if one had it, a driver has it."""
        back = "link-up"
        if self.driver:
            back = "bus-master" if self.flag("bus-master") else "memory-enabled"
        # The old one first: a driver that waits for it reads all ones and can let go.
        if self.simulator.running and self.simulator.end() != 0:
            raise CosimError(f"{self.simulator.name} ended badly:\n{self.simulator.text()[-2000:]}")
        self.guest.qmp.set(f"/machine/peripheral/{self.name}", "replug", True)
        self.simulator.restart(simulation)
        self.wait_flag(back)
        self.wait_present()
