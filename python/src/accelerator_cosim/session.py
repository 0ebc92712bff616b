# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sessions and runs: who owns what was started, and where it writes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import _supervise
from ._loop import LoopThread
from ._supervisor import Process, Supervisor, describe_status
from .card import Property
from .errors import BuildError, CosimError, ProcessEnded
from .guest import Guest, Machine
from .network import Network
from .simulator import Simulator
from .workspace import VERILATOR, GuestImage, Simulation, Value, Workspace

#: Seconds for whatever is waited for, unless it is given others: a machine may be busy.
TIMEOUT = 120.0
BUILD_TIMEOUT = 3600.0
SOCKET_PREFIX = "accelerator-cosim."
# The path of a Unix socket has at most 107 characters, and we need some.
SOCKET_FOLDER_LENGTH = 60
# The supervisor locks a folder soon after it is made.
STALE_SECONDS = 60.0


def socket_root() -> Path:
    """Where folders of sockets go: a short path that is the user's own, or below /tmp."""
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    if named and len(named) <= SOCKET_FOLDER_LENGTH and os.access(named, os.W_OK):
        return Path(named)
    temporary = tempfile.gettempdir()
    return Path(temporary if len(temporary) <= SOCKET_FOLDER_LENGTH else "/tmp")


def remove_stale_sockets() -> None:
    """Removes folders of runs whose supervisor was killed together with its harness."""
    for folder in socket_root().glob(SOCKET_PREFIX + "*"):
        with contextlib.suppress(OSError):
            stat = folder.stat()
            if stat.st_uid != os.getuid() or time.time() - stat.st_mtime < STALE_SECONDS:
                continue
            lock = _supervise.lock_folder(str(folder), fcntl.LOCK_EX)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


class Session:
    """What runs have in common: the supervisor, the builds, and saved states of VMs.

    `folder` is where runs have their folders; `shared` is where other sessions that run at the
    same time find what this one has built and booted (`folder` unless given).
    """

    def __init__(
        self, workspace: Workspace | None = None, folder: Path | None = None, *,
        timeout: float = TIMEOUT,
    ) -> None:
        self.workspace = workspace or Workspace.find()
        self.folder = folder or self.workspace.runs / "cosim"
        self.timeout = timeout
        self.folder.mkdir(parents=True, exist_ok=True)
        # What only those that run at the same time need: it goes with the last of them.
        self.shared = self.folder / "shared"
        self.workspace.shared = self.shared
        remove_stale_sockets()
        self.loop = LoopThread()
        self._log = self.folder / f"supervisor-{os.getpid()}-{id(self):x}.log"
        self.supervisor = Supervisor(self.loop, self._log)
        self.supervisor.share_folder(self.shared)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, name: str = "run", *, seed: int | None = None) -> Run:
        """A run in a folder of its own."""
        return Run(self, name, seed=seed)

    def close(self) -> None:
        """Ends whatever runs still have."""
        self.supervisor.close()
        self.loop.close()
        if self._log.exists() and not self._log.stat().st_size:
            self._log.unlink()
        # Those of runs that were kept, and of other sessions, stay.
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def saved(self, key: str, make: Callable[[Path], None]) -> Path:
        """A file that `make` writes, once for all that share it."""
        path = self.shared / key
        with open(self.shared / f"{key}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                unfinished = path.with_suffix(".unfinished")
                make(unfinished)
                unfinished.rename(path)
        return path


class Run:
    """Simulators, VMs and builds that belong together, with a folder for what they write.

    Without a session it has one of its own. As a context manager it ends what it has started,
    whatever happens, and raises ProcessEnded if one of the programs did not end as it has to.
    The folder is removed if all went well and `keep` is false.
    """

    def __init__(
        self, session: Session | None = None, name: str = "run", *, seed: int | None = None,
        keep: bool = False,
    ) -> None:
        self._own_session = session is None
        self.session = session or Session()
        self.timeout = self.session.timeout
        self.keep = keep
        #: For whatever is random. It is in `commands.txt`.
        self.seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
        #: How the run was started, for `commands.txt`.
        self.started_by = shlex.join(sys.argv)
        safe = re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).strip("-.")[:80] or "run"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{safe}-", dir=self.session.folder))
        self.sockets = self.session.supervisor.make_folder(f"{socket_root()}/{SOCKET_PREFIX}")
        self.simulators: list[Simulator] = []
        self.guests: list[Guest] = []
        self._networks = 0
        self._processes: list[Process] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def loop(self) -> LoopThread:
        return self.session.loop

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        problems = self.close(failed=error is not None)
        if problems and error is None:
            raise ProcessEnded("\n".join([*problems, f"logs: {self.folder}"]))

    # ---- what is built ----

    def build(
        self, example: str | None = None, *, top: str | None = None, files: Path | None = None,
        parameters: Mapping[str, Value] | None = None, macros: Mapping[str, Value] | None = None,
        waves: bool = False, simulator: str = VERILATOR,
    ) -> Simulation:
        """Builds a simulation with Verilator; see `Workspace.simulation`. What is for another
        simulator is compiled when it is started, and takes macros only."""
        if simulator != VERILATOR:
            if parameters:
                raise ValueError(f"{simulator} takes macros, not parameters of the top module")
            return self.session.workspace.flow(
                simulator, example, top=top, files=files, macros=macros)
        return self.session.workspace.simulation(
            self._build, example, top=top, files=files, parameters=parameters, macros=macros,
            waves=waves)

    def build_guest(
        self, *, modules: Sequence[Path] = (), programs: Sequence[Path] = (),
        kernel: str | None = None,
    ) -> GuestImage:
        """Builds a guest; see `Workspace.guest`."""
        return self.session.workspace.guest(
            self._build, modules=modules, programs=programs, kernel=kernel)

    def _build(self, script: str, words: Sequence[str]) -> None:
        log = self.folder / f"{script.removesuffix('.sh')}.log"
        root = self.session.workspace.root
        process = self.start(script, [root / "scripts" / script, *words], log=log, cwd=root)
        # The build may end; what it ends with is looked at here.
        process.may_end = True
        if process.wait(BUILD_TIMEOUT) != 0:
            raise BuildError(f"{script} {shlex.join(words)} ended {process.last_words()}")

    # ---- what is started ----

    def start(
        self, name: str, command: Sequence[str | Path], *, log: Path, nice: int = 0,
        cwd: Path | None = None,
    ) -> Process:
        """Starts a program that ends with the run."""
        process = self.session.supervisor.start(
            name, command, cwd=cwd or self.folder, env=os.environ, log=log, nice=nice)
        self._processes.append(process)
        return process

    def simulate(
        self, simulation: Simulation | str, *, plusargs: Sequence[str] = (),
        bridges: Sequence[str] = (), waves: bool = False,
    ) -> Simulator:
        """Starts a simulation, or that of an example. With `waves` they are written, if it was
        built for that."""
        if isinstance(simulation, str):
            simulation = self.build(simulation, waves=waves)
        name = f"simulator{len(self.simulators) or ''}"
        simulator = Simulator(self, name, simulation, plusargs=plusargs, bridges=bridges,
                              waves=waves)
        self.simulators.append(simulator)
        self.write_commands()
        return simulator

    def machine(self, image: GuestImage | None = None, *, qemu: Path | None = None,
                **settings: Any) -> Machine:
        """A machine with the plain guest and the QEMU of the checkout, unless others are given.
        `qemu` is a folder with bin/; `settings` are those of `Machine`."""
        return Machine(self.session.workspace.qemu(qemu), image or self.build_guest(), **settings)

    def boot(
        self, machine: Machine | None = None, *, saved: bool = False,
        cards: Sequence[Simulator | tuple[Simulator, Mapping[str, Property]]] = (),
    ) -> Guest:
        """Boots a VM and returns when it takes commands.

        `cards` are there when it boots, each with properties of the device where there are any.
        With `saved` the VM is not booted but restored from the state that one like it had when it
        had booted: it is there in a second, after the first has taken its time. The cards are
        plugged in then.
        """
        machine = machine or self.machine()
        pairs = [card if isinstance(card, tuple) else (card, {}) for card in cards]
        name = f"guest{len(self.guests) or ''}"
        if saved:
            state = self.session.saved(machine.key(), lambda path: self._save(machine, path))
            guest = Guest(self, name, machine)
        else:
            state = None
            guest = Guest(self, name, machine, cards=pairs)
        self.guests.append(guest)
        self.write_commands()
        guest.begin(state)
        if saved:
            for simulator, properties in pairs:
                guest.plug(simulator, properties)
        return guest

    def _save(self, machine: Machine, path: Path) -> None:
        guest = Guest(self, "template", machine)
        guest.begin()
        guest.save(path)
        guest.end()

    def network(self) -> Network:
        """A network of two ends, each for a VM of the run."""
        self._networks += 1
        return Network(self.sockets / f"net{self._networks}", self._networks)

    def background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs it in the loop beside everything else; called there. What goes wrong is found by
        those who wait for what it does."""
        async def quiet() -> None:
            with contextlib.suppress(CosimError):
                await coroutine

        task = asyncio.get_running_loop().create_task(quiet())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def look(self) -> None:
        """Raises ProcessEnded if one of the simulators has ended though nobody has asked it to."""
        for process in self._processes:
            if not process.running and not process.may_end:
                raise ProcessEnded(f"{process.name} has ended {process.last_words()}")

    # ---- the end ----

    def close(self, failed: bool = False) -> list[str]:
        """Ends everything, the VMs before their simulators, and returns what was not as it has to
        be. The folder stays if there is something, or if the run has failed."""
        if self._closed:
            return []
        self._closed = True
        problems = [
            f"{process.name} ended before its time {process.last_words()}"
            for process in self._processes if not process.running and not process.may_end
        ]
        # A simulator may have been started again after its VM.
        vms = [guest.process for guest in self.guests if guest.process]
        for process in [*vms, *reversed(self._processes)]:
            if process.running:
                status = process.end()
                # One that has just been started may not have come to its handler yet.
                if status not in (0, -signal.SIGTERM):
                    problems.append(f"{process.name} ended with status {describe_status(status)} "
                                    "on SIGTERM, expected 0")
        for guest in self.guests:
            guest.disconnect()
        self.session.supervisor.remove_folder(self.sockets)
        if not (failed or problems or self.keep):
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._own_session:
            self.session.close()
        return problems

    def logs(self) -> list[Path]:
        """The files of the run that have something in them."""
        return sorted(path for path in self.folder.iterdir() if path.stat().st_size)

    def write_commands(self) -> None:
        """Writes `commands.txt`: how to repeat the run by hand."""
        builds = [simulator.simulation.build for simulator in self.simulators]
        builds += [guest.machine.image.build for guest in self.guests]
        lines = [
            f"# The whole of it again, with seed {self.seed}:\n# {self.started_by}",
            "# By hand: what is built, and then one terminal for each of the rest.",
            *(shlex.join(build) for build in dict.fromkeys(builds) if build),
            f"mkdir -p {shlex.quote(str(self.sockets))}",
            *(shlex.join(simulator.words()) for simulator in self.simulators),
            *(f"{shlex.join(guest.by_hand())}   # Ctrl-A X ends it" for guest in self.guests),
        ]
        lines += [f"# What ran in {guest.name} is in {guest.commands.name}."
                  for guest in self.guests]
        (self.folder / "commands.txt").write_text("\n".join(lines) + "\n")
