# SPDX-License-Identifier: MIT OR Apache-2.0
"""A VM and what can be asked of the Linux in it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from ._agent import AgentClient, Program
from ._qmp import Qmp
from ._supervisor import Process
from .card import Card, Property
from .errors import CommandFailed, CosimError, GuestError, ProcessEnded, WaitTimeout
from .network import Network
from .simulator import Simulator
from .workspace import GuestImage

if TYPE_CHECKING:
    from .session import Run

T = TypeVar("T")

ACCELERATORS = ("tcg", "kvm")
# On the root bus: the device with the agent's port, and the first of the ports for cards.
AGENT_DEVICE = 7
FIRST_PORT = 8
# What a program gets to end by itself once it is killed.
KILL_SECONDS = 5.0

#: What a kernel says when something is wrong with it or with a driver.
COMPLAINT = re.compile(
    r"^(?:\[ *[0-9.]+\] *)?"
    r"(Kernel panic|Oops|BUG:|WARNING: |general protection|watchdog: BUG|INFO: (?:task|rcu)"
    r"|rcu: INFO|Out of memory|kernel BUG|UBSAN:)",
    re.M,
)


@dataclass(frozen=True)
class Machine:
    """What a VM is made of."""

    qemu: Path
    image: GuestImage
    #: tcg or kvm.
    accelerator: str = "tcg"
    cpus: int = 2
    #: MiB
    memory: int = 512
    #: Whether the cards are behind a virtual IOMMU (intel-iommu).
    iommu: bool = False
    #: Added to the kernel's command line.
    append: str = ""
    #: Ports for cards.
    slots: int = 2
    #: Added to QEMU's command line.
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f"the accelerator {self.accelerator!r} is none of {ACCELERATORS}")

    def port_device(self, slot: int) -> int:
        """Device number of a port on bus 0."""
        return FIRST_PORT + slot

    def key(self) -> str:
        """Stands for everything that a saved state of the machine depends on."""
        parts = [repr(astuple(self))]
        for path in (self.qemu, self.image.kernel, self.image.initramfs):
            stat = path.resolve().stat()
            parts.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def kernel_line(self, words: str) -> str:
        # On a busy host the timer may look broken to a kernel that checks it. A BAR can be looked
        # at while a driver has it.
        line = f"console=ttyS0 loglevel=7 panic=-1 no_timer_check iomem=relaxed {words}"
        if self.iommu:
            line += " intel_iommu=on"
        return f"{line} {self.append}" if self.append else line

    def command(self, words: str, ports: Sequence[str], cards: Sequence[Card]) -> list[str]:
        """QEMU's command line: with words for the guest's init, arguments for its serial ports,
        and cards that are there from the start."""
        machine = "q35"
        before: list[str] = []
        if self.iommu:
            # Interrupts are remapped as well, which KVM's own interrupt controller cannot do. The
            # IOMMU comes before what is behind it.
            machine += ",kernel-irqchip=split" if self.accelerator == "kvm" else ""
            before = ["-device", "intel-iommu,intremap=on"]
        command = [
            str(self.qemu), "-M", machine, *before,
            "-accel", self.accelerator, "-cpu", "host" if self.accelerator == "kvm" else "max",
            "-smp", str(self.cpus), "-m", str(self.memory),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs),
            "-append", self.kernel_line(words), *ports,
        ]
        for slot in range(self.slots):
            command += ["-device", f"pcie-root-port,id=rp{slot},chassis={slot + 1},bus=pcie.0,"
                                   f"addr={self.port_device(slot):#x}"]
        command += self.arguments
        for card in cards:
            words_of_card = [f"{name}={option(value)}" for name, value in card.device().items()
                             if name != "driver"]
            command += ["-device", ",".join(["accelerator-pcie", *words_of_card])]
        return command


def option(value: Property) -> str:
    """A value on QEMU's command line, where a comma is two."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(",", ",,")


@dataclass(frozen=True)
class Completed:
    """A command in the guest that has ended."""

    command: str
    #: As a shell has it: 128 and more is 128 and the signal.
    status: int
    stdout: str
    stderr: str


class Command:
    """A command that runs in the guest."""

    def __init__(self, guest: Guest, command: str, program: Program) -> None:
        self._guest = guest
        self._program = program
        self.command = command
        #: Its process in the guest, that of the shell.
        self.pid = program.started.result()

    @property
    def running(self) -> bool:
        return not self._program.ended.done()

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._program.stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self._program.stderr.decode(errors="replace")

    def signal(self, number: int) -> None:
        """Sends a signal to it and what it has started."""
        self._guest._call(self._program.signal(number))

    def wait(self, timeout: float | None = None, check: bool = True) -> Completed:
        """Waits for its end. One that takes longer is killed."""
        limit = self._guest.timeout if timeout is None else timeout
        try:
            status = self._guest._call(self._ended(limit))
        except TimeoutError:
            ended = self._kill()
            raise WaitTimeout(f"in the guest, '{self.command}' did not end within {limit:g} s"
                              + ("" if ended else
                                 ", nor by SIGKILL: it, or the whole guest, waits for the card; "
                                 "the kernel's log has where (sysrq w)")
                              + f"; so far:\n{self.stdout[-2000:]}{self.stderr[-2000:]}") from None
        code = os.waitstatus_to_exitcode(status)
        completed = Completed(self.command, code if code >= 0 else 128 - code, self.stdout,
                              self.stderr)
        self._guest._note(completed)
        if check and completed.status != 0:
            raise CommandFailed(completed.command, completed.status, completed.stdout,
                                completed.stderr)
        return completed

    async def _ended(self, timeout: float) -> int:
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._program.ended)

    def _kill(self) -> bool:
        """Kills it; if it does not end the kernel is asked where it waits."""
        self.signal(signal.SIGKILL)
        try:
            self._guest._call(self._ended(KILL_SECONDS))
            return True
        except TimeoutError:
            self._guest._show_waiting()
            return False


class Guest:
    """A VM; `Run.boot` starts it."""

    #: QEMU's monitor.
    qmp: Qmp
    _agent: AgentClient

    def __init__(
        self, run: Run, name: str, machine: Machine, *,
        cards: Sequence[tuple[Simulator, Mapping[str, Property]]] = (),
    ) -> None:
        self._run = run
        self.name = name
        self.machine = machine
        #: Seconds for whatever is not given others.
        self.timeout = run.timeout
        self.cards: list[Card] = []
        self.console = run.folder / f"{name}.console.log"
        self.commands = run.folder / f"{name}.commands.log"
        #: QEMU, once it is started.
        self.process: Process | None = None
        self._closers: list[Callable[[], None]] = []
        self._netdevs = 0
        #: Ports that have a network card, by its name there.
        self._nics: dict[int, str] = {}
        for simulator, properties in cards:
            self._new_card(simulator, simulator.endpoint, properties)

    def begin(self, incoming: Path | None = None) -> None:
        """Starts QEMU, with the state in a file if there is one, and waits for the agent."""
        self._check_accelerator()
        agent = self._run.sockets / f"{self.name}.agent"
        monitor = self._run.sockets / f"{self.name}.qmp"
        ports = [
            "-chardev", f"file,id=console,path={option(str(self.console))},append=on",
            "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,path={option(str(agent))},server=on,wait=off",
            "-device", f"virtio-serial-pci,id=ports,bus=pcie.0,addr={AGENT_DEVICE:#x}",
            "-device", "virtserialport,bus=ports.0,chardev=agent,name=accel-agent",
            "-qmp", f"unix:{option(str(monitor))},server=on,wait=off",
        ]
        command = self.machine.command("accel.run=agent", ports, self.cards)
        if incoming:
            command += ["-incoming", f"file:{incoming}"]
        self.process = self._run.start(
            self.name, command, log=self._run.folder / f"{self.name}.log")
        self.qmp = Qmp(self._run.loop, self.name, monitor, self._look, self.timeout)
        self._closers.append(self.qmp.close)
        if incoming:
            self._restore()
        self._agent = AgentClient()
        self._closers.append(lambda: self._run.loop.call(self._agent.close()))
        self._call(self._agent.connect(agent, self.timeout))
        for card in self.cards:
            card.wait_present()

    def _check_accelerator(self) -> None:
        if self.machine.accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise CosimError("the accelerator is kvm, and /dev/kvm is not there or not yours")

    def _restore(self) -> None:
        """Waits until the state of the machine is in, and lets it run."""
        deadline = time.monotonic() + self.timeout
        while self.qmp.execute("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise WaitTimeout(f"the state of the VM was not loaded within {self.timeout:g} s")
            time.sleep(0.01)
        self.qmp.execute("cont")

    def save(self, path: Path) -> None:
        """Writes the state of the machine, which has no card, to a file. It stands still then."""
        self._call(self._settle())
        self.qmp.execute("stop")
        self.qmp.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        self.qmp.execute("migrate", {"uri": f"file:{path}"})
        deadline = time.monotonic() + self.timeout
        while (state := self.qmp.execute("query-migrate"))["status"] != "completed":
            if state["status"] == "failed" or time.monotonic() > deadline:
                raise CosimError(f"the state of the VM cannot be saved: {state}")
            time.sleep(0.02)

    def by_hand(self) -> list[str]:
        """A command that boots the same machine, with its cards, to a prompt."""
        return self.machine.command("accel.run=shell", ["-serial", "mon:stdio"], self.cards)

    async def _settle(self) -> None:
        """Returns when the agent has taken all that was sent: what is on its way is not saved."""
        program = await self._agent.start("true")
        await program.ended

    def _show_waiting(self) -> None:
        """Has the kernel log what waits and cannot be interrupted; if it still does anything."""
        async def show() -> None:
            async with asyncio.timeout(KILL_SECONDS):
                program = await self._agent.start("echo w >/proc/sysrq-trigger")
                await program.ended

        with contextlib.suppress(TimeoutError):
            self._call(show())

    # ---- what runs ----

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.pid

    @property
    def running(self) -> bool:
        return self._qemu.running

    @property
    def _qemu(self) -> Process:
        assert self.process, "the VM has not been started"
        return self.process

    @property
    def release(self) -> str:
        """Of the kernel, as uname has it."""
        return self._agent.release

    def _note(self, completed: Completed) -> None:
        with open(self.commands, "a") as log:
            log.write(f"$ {completed.command}\n{completed.stdout}{completed.stderr}"
                      f"[{completed.status}]\n")

    def _look(self) -> None:
        if not self._qemu.running and not self._qemu.may_end:
            complaints = "".join(f"\nthe kernel: {line}" for line in self.complaints())
            raise ProcessEnded(
                f"QEMU has ended {self._qemu.last_words()}{complaints}\n"
                f"the last of the guest's console:\n{indent(self.kernel_log(), 20)}")
        self._run.look()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._run.loop.call(coroutine, self._look)
        except GuestError:
            # The connection ends a moment before QEMU does, which is what there is to say.
            if not self._qemu.may_end:
                with contextlib.suppress(WaitTimeout):
                    self._qemu.wait(2)
                self._look()
            raise

    # ---- commands ----

    def start(self, command: str | Sequence[str], input: bytes = b"") -> Command:
        """Starts a line of shell, or the words of a command, with that standard input."""
        line = command if isinstance(command, str) else shlex.join(command)

        async def start() -> Program:
            program = await self._agent.start(line)
            # One that reads little may end before it has all.
            self._run.background(program.feed(input))
            return program

        return Command(self, line, self._call(start()))

    def run(
        self, command: str | Sequence[str], *, input: bytes = b"", check: bool = True,
        timeout: float | None = None,
    ) -> Completed:
        """Runs a line of shell, or the words of a command, to its end. Unless `check` is false,
        another status than 0 is CommandFailed."""
        return self.start(command, input).wait(timeout, check)

    def wait_for(
        self, condition: Callable[[], T], what: str, timeout: float | None = None
    ) -> T:
        """Waits until the condition returns something true, and returns it."""
        limit = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        while not (result := condition()):
            self._look()
            if time.monotonic() > deadline:
                raise WaitTimeout(f"{what}: not within {limit:g} s")
            time.sleep(0.02)
        return result

    # ---- files ----

    def write_file(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Writes a file in the guest, and the folders above it."""
        content = data.encode() if isinstance(data, str) else data
        where = shlex.quote(path)
        folder = shlex.quote(str(PurePosixPath(path).parent))
        digest = hashlib.sha256(content).hexdigest()
        self.run(f"mkdir -p {folder} && cat >{where} && chmod {mode:o} {where} && "
                 f"echo '{digest}  '{where} | sha256sum -c -s", input=content)

    def read_file(self, path: str) -> bytes:
        """What is in a file in the guest."""
        command = self.start(f"cat {shlex.quote(path)}")
        command.wait()
        return bytes(command._program.stdout)

    def put(self, local: Path, remote: str) -> None:
        """Copies a file into the guest, with its mode. If `remote` ends in a slash it is the
        folder."""
        target = remote + local.name if remote.endswith("/") else remote
        self.write_file(target, local.read_bytes(), local.stat().st_mode & 0o777)

    def get(self, remote: str, local: Path) -> Path:
        """Copies a file out of the guest, and returns where it is. If `local` is a folder, it
        goes there."""
        target = local / PurePosixPath(remote).name if local.is_dir() else local
        target.write_bytes(self.read_file(remote))
        return target

    # ---- the kernel ----

    def load_module(self, name: str, **parameters: int | str) -> None:
        """Loads a module: a path in the guest (it ends in .ko), one of those that
        scripts/build-guest.sh has built, or one of the kernel's own."""
        words = shlex.join(f"{key}={value}" for key, value in parameters.items())
        path = name
        if not name.endswith(".ko"):
            found = self.run(f"find /modules -name {shlex.quote(name + '.ko')} | head -n 1").stdout
            path = found.strip()
        if path:
            self.run(f"insmod {shlex.quote(path)} {words}")
        else:
            self.run(f"modprobe {shlex.quote(name)} {words}")

    def unload_module(self, name: str) -> None:
        self.run(["rmmod", name])

    def modules(self) -> list[str]:
        """Names of the modules that are loaded."""
        return [line.split()[0] for line in self.run("cat /proc/modules").stdout.splitlines()]

    def dmesg(self) -> str:
        """The kernel's log, from the boot on."""
        return self.run("dmesg").stdout

    def kernel_log(self) -> str:
        """What the kernel has written to the console since the test has the guest: the same
        lines as in `dmesg`, also if the guest answers no more."""
        if not self.console.exists():
            return ""
        return self.console.read_text(errors="replace").replace("\r", "")

    def wait_dmesg(
        self, pattern: str, timeout: float | None = None, since: int = 0
    ) -> re.Match[str]:
        """Waits for a line in `kernel_log` that the pattern is in, from the character `since`
        on. A line that has come already is found."""
        limit = self.timeout if timeout is None else timeout
        expression = re.compile(pattern)
        deadline = time.monotonic() + limit
        while True:
            for line in self.kernel_log()[since:].splitlines():
                if found := expression.search(line):
                    return found
            self._look()
            if time.monotonic() > deadline:
                raise WaitTimeout(f"the kernel did not say {pattern!r} within {limit:g} s; its "
                                  f"last lines:\n{indent(self.kernel_log(), 10)}")
            time.sleep(0.02)

    def complaints(self) -> list[str]:
        """Panics, oopses and warnings in `kernel_log`, the first line of each."""
        log = self.kernel_log()
        return [log[found.start():].splitlines()[0] for found in COMPLAINT.finditer(log)]

    # ---- cards ----

    def _free_slot(self) -> int:
        taken = {card.slot for card in self.cards} | set(self._nics)
        for slot in range(self.machine.slots):
            if slot not in taken:
                return slot
        raise CosimError(f"all {self.machine.slots} ports have a card; ask for more slots")

    def _new_card(
        self, simulator: Simulator, endpoint: str, properties: Mapping[str, Property]
    ) -> Card:
        slot = self._free_slot()
        card = Card(self, f"acc{slot}", slot, simulator, endpoint, properties)
        self.cards.append(card)
        return card

    def plug(
        self, simulator: Simulator, properties: Mapping[str, Property] | None = None, *,
        bridge: str = "",
    ) -> Card:
        """Plugs in a card that a simulator is, and waits until the guest has found it.
        `properties` are those of the device; `bridge` is which one of a simulator with several."""
        endpoint = simulator.endpoints[bridge] if bridge else simulator.endpoint
        card = self._new_card(simulator, endpoint, properties or {})
        try:
            self.qmp.execute("device_add", card.device())
        except CosimError:
            self.cards.remove(card)
            raise
        card.wait_present()
        self._run.write_commands()
        return card

    # ---- networks ----

    def attach(self, network: Network) -> dict[str, Property]:
        """Gives one end of a network to QEMU and returns properties for the device that is to have
        it: a card with a network port takes them in `plug`."""
        name = f"net{self._netdevs}"
        self._netdevs += 1
        netdev, mac = network.take_end(name)
        self.qmp.execute("netdev_add", netdev)
        return {"netdev": name, "mac": mac}

    def plug_nic(self, network: Network, address: str | None = None) -> str:
        """Plugs in a network card (virtio-net) at one end of a network, and returns the name of
        its interface in the guest. With an address, such as "10.0.0.1/24", it is up."""
        slot = self._free_slot()
        properties = self.attach(network)
        self.load_module("virtio_net")
        self.qmp.execute("device_add", {"driver": "virtio-net-pci", "id": f"nic{slot}",
                                        "bus": f"rp{slot}", **properties})
        self._nics[slot] = f"nic{slot}"
        port = f"/sys/bus/pci/devices/0000:00:{self.machine.port_device(slot):02x}.0"

        def interface() -> str:
            listing = f"ls {port}/0000:*/virtio*/net 2>/dev/null"
            return self.run(listing, check=False).stdout.strip()

        name = self.wait_for(interface, f"the guest has a network interface in {port}")
        if address:
            self.run(f"ip link set {name} up && ip address add {shlex.quote(address)} dev {name}")
        return name

    def shut_down(self, timeout: float | None = None) -> None:
        """Has the guest power off, and waits for QEMU's end."""
        self._qemu.may_end = True
        self.start("poweroff -f")
        status = self._qemu.wait(self.timeout if timeout is None else timeout)
        if status != 0:
            raise ProcessEnded(f"QEMU has ended {self._qemu.last_words()}")

    def wait_end(self, timeout: float | None = None) -> int:
        """Waits until QEMU has ended by itself, after a panic for instance, and returns its
        status. It may, then."""
        status = self._qemu.wait(self.timeout if timeout is None else timeout)
        self._qemu.may_end = True
        return status

    def end(self) -> int:
        """Ends QEMU at once and returns its status, 0 if all was well with it."""
        status = self._qemu.end()
        self.disconnect()
        return status

    def disconnect(self) -> None:
        """Lets go of its sockets."""
        while self._closers:
            self._closers.pop()()


def indent(text: str, lines: int) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:])
