# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where the programs are, and how they are built: the scripts of the checkout. Without one they
are those of the Debian package, or of a bundle."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BuildError

#: Variable that names the checkout, where it is not above the working directory.
ROOT_VARIABLE = "ACCELERATOR_ROOT"

#: Where the Debian package has its files.
INSTALLED = Path("/opt/accelerator-cosim")

Value = int | str

#: Simulators: what builds for the first, and what each of the others is run by.
VERILATOR = "verilator"
FLOWS = ("xsim", "questa", "vcs", "xcelium")

#: Runs a script of the checkout with these words, to its end.
Builder = Callable[[str, Sequence[str]], None]


@dataclass(frozen=True)
class Simulation:
    """A simulation that is built: what is started, and how it came about."""

    command: tuple[str, ...]
    name: str
    #: Whether it can write waves.
    waves: bool = False
    #: The command that builds it, to repeat it by hand.
    build: tuple[str, ...] = ()
    #: Whether it is a script of another simulator, which compiles what it then runs.
    flow: bool = False

    @classmethod
    def of_program(cls, *command: str | Path, waves: bool = False) -> Simulation:
        """A program that was built in another way. It takes the plusargs of a simulation and
        ends with status 0 on SIGTERM."""
        words = tuple(str(word) for word in command)
        if not words:
            raise ValueError("a simulation needs a program")
        return cls(words, Path(words[0]).name, waves)


@dataclass(frozen=True)
class GuestImage:
    """A kernel and an initramfs of scripts/build-guest.sh."""

    folder: Path
    build: tuple[str, ...] = ()

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs.cpio.gz"


@dataclass(frozen=True)
class SimulationSpec:
    """What a simulation is built of: an example, or a design of the user's by its top module and
    file list."""

    example: str | None = None
    top: str | None = None
    files: Path | None = None
    #: Of the top module.
    parameters: Mapping[str, Value] = field(default_factory=dict)
    macros: Mapping[str, Value] = field(default_factory=dict)
    waves: bool = False
    #: verilator, or one of FLOWS.
    simulator: str = VERILATOR

    def key(self, base: Path) -> str:
        """A name for it that is the same wherever the folder `base` is, which files are found
        from."""
        return keyed(self.example or self.top or "", [
            self.example, self.top, [relative(path, base) for path in (self.files,) if path],
            dict(self.parameters), dict(self.macros), self.waves])

    def __str__(self) -> str:
        words = [self.example or f"{self.top} of {self.files}"]
        words += [f"{name}={value}" for name, value in {**self.parameters, **self.macros}.items()]
        return " ".join([*words, "with waves"] if self.waves else words)


@dataclass(frozen=True)
class GuestSpec:
    """What a guest is built of: modules and static programs of the user's, and a kernel package
    of the distribution."""

    modules: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()
    kernel: str | None = None

    def key(self, base: Path) -> str:
        """As that of a simulation."""
        return keyed("guest", [[relative(path, base) for path in self.modules],
                               [relative(path, base) for path in self.programs], self.kernel])

    def __str__(self) -> str:
        names = [path.name for path in (*self.modules, *self.programs)]
        return " ".join(["guest", *names, *([self.kernel] if self.kernel else [])])


def relative(path: Path, base: Path) -> str:
    return os.path.relpath(path.resolve(), base.resolve())


def keyed(name: str, parts: Sequence[object]) -> str:
    text = json.dumps(parts, sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def settings_of(option: str, values: Mapping[str, Value]) -> list[str]:
    return [word for name, value in values.items() for word in (option, f"{name}={value}")]


@dataclass
class Workspace:
    """A checkout of accelerator-pcie.

    What is asked for is built, which takes a second or two where it is up to date, and once for
    each `shared` folder: processes that have it in common (the workers of pytest-xdist) share
    what they have built.
    """

    root: Path
    #: Whether to build, or to take what is there.
    build: bool = True
    shared: Path | None = None
    _done: set[tuple[str, ...]] = field(default_factory=set, repr=False)

    @classmethod
    def at(cls, root: Path) -> Workspace:
        """The checkout in a folder, or what a Debian package has put there, or a bundle."""
        if is_bundle(root):
            return Bundle(root.resolve())
        if is_installation(root):
            return Installation(root.resolve())
        if not is_checkout(root):
            raise BuildError(f"{root} is no checkout of accelerator-pcie: it has no "
                             "scripts/build-sim.sh")
        return cls(root.resolve())

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The checkout that $ACCELERATOR_ROOT names, or the one that `start` (the working
        directory unless given) is in, or else the Debian package that is installed."""
        named = os.environ.get(ROOT_VARIABLE)
        if named:
            return cls.at(Path(named))
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if is_checkout(folder):
                return cls(folder)
        if is_installation(INSTALLED):
            return Installation(INSTALLED)
        raise BuildError(f"{here} is not in a checkout of accelerator-pcie; ${ROOT_VARIABLE} "
                         "can name one")

    @property
    def runs(self) -> Path:
        """Where runs have their folders."""
        return self.root / "build/run"

    def qemu(self, folder: Path | None = None) -> Path:
        """The QEMU with the device. It is not built here: that takes minutes."""
        program = (folder or self.root / "build/qemu/patched") / "bin/qemu-system-x86_64"
        if not program.exists():
            raise BuildError(f"{program} is not there; build it with "
                             f"{self.root / 'scripts/build-qemus.sh'} --patched-only")
        return program

    def simulation(
        self,
        builder: Builder,
        example: str | None = None,
        *,
        top: str | None = None,
        files: Path | None = None,
        parameters: Mapping[str, Value] | None = None,
        macros: Mapping[str, Value] | None = None,
        waves: bool = False,
    ) -> Simulation:
        """Builds an example, or a design of the user's from its top module and file list, with
        Verilator. `parameters` are those of the top module."""
        if (example is None) == (top is None and files is None):
            raise ValueError("an example, or top and files, is needed")
        if example is not None:
            name, what = example, [example]
        elif top is not None and files is not None:
            name, what = top, ["--top", top, "--files", str(files)]
        else:
            raise ValueError("a design needs both top and files")
        what += settings_of("-G", parameters or {}) + settings_of("-D", macros or {})
        program = name
        if waves:
            what.append("--waves")
            program += "-waves"
        folder = program
        # Each has a folder of its own, or they would take turns in one.
        if example is None or parameters or macros:
            folder += "-" + hashlib.sha256("\0".join(what).encode()).hexdigest()[:8]
        out = self.root / "build/sim" / folder
        words = (*what, "--out", str(out))
        if self.build:
            self._run(builder, "build-sim.sh", words)
        path = out / program
        if not path.exists():
            raise BuildError(f"{path} is not there; build it with "
                             f"{self._shown('build-sim.sh', words)}")
        return Simulation((str(path),), name, waves, self._script("build-sim.sh", words))

    def flow(
        self, simulator: str, example: str | None = None, *, top: str | None = None,
        files: Path | None = None, macros: Mapping[str, Value] | None = None,
    ) -> Simulation:
        """An example or a design of the user's for another simulator: the script that compiles and
        runs it."""
        if simulator not in FLOWS:
            raise ValueError(f"the simulator {simulator!r} is none of {(VERILATOR, *FLOWS)}")
        script = self.root / "scripts" / f"run-{simulator}.sh"
        if not script.exists():
            raise BuildError(f"{self.root} has no {script.name}: simulations for {simulator} take "
                             "a checkout")
        if example is not None:
            name, what = example, [example]
        elif top is not None and files is not None:
            name, what = top, ["--top", top, "--files", str(files)]
        else:
            raise ValueError("an example, or top and files, is needed")
        words = (str(script), *what, *settings_of("-D", macros or {}))
        return Simulation(words, name, flow=True)

    def guest(
        self,
        builder: Builder,
        *,
        modules: Sequence[Path] = (),
        programs: Sequence[Path] = (),
        kernel: str | None = None,
    ) -> GuestImage:
        """Builds the guest, with modules (folders with a Kbuild file) and static programs of the
        user's, for a kernel package of the distribution."""
        what = [word for path in modules for word in ("--module", str(path))]
        what += [word for path in programs for word in ("--program", str(path))]
        if kernel is not None:
            what += ["--kernel", kernel]
        folder = "guest-plain"
        if what:
            folder = "guest-" + hashlib.sha256("\0".join(what).encode()).hexdigest()[:8]
        words = (*what, "--out", str(self.root / "build" / folder))
        if self.build:
            self._run(builder, "build-guest.sh", words)
        image = GuestImage(self.root / "build" / folder, self._script("build-guest.sh", words))
        if not image.initramfs.exists():
            raise BuildError(f"{image.initramfs} is not there; build it with "
                             f"{self._shown('build-guest.sh', words)}")
        return image

    def _script(self, script: str, words: Sequence[str]) -> tuple[str, ...]:
        return (str(self.root / "scripts" / script), *words)

    def _shown(self, script: str, words: Sequence[str]) -> str:
        return " ".join(self._script(script, words))

    def _run(self, builder: Builder, script: str, words: Sequence[str]) -> None:
        key = (script, *words)
        if key in self._done:
            return
        if self.shared is None:
            builder(script, words)
        else:
            self._run_once(builder, script, words, self.shared)
        self._done.add(key)

    def _run_once(
        self, builder: Builder, script: str, words: Sequence[str], shared: Path
    ) -> None:
        key = hashlib.sha256(json.dumps([script, *words]).encode()).hexdigest()[:16]
        with open(shared / f"{key}.built", "a+") as stamp:
            fcntl.flock(stamp, fcntl.LOCK_EX)
            stamp.seek(0)
            if not stamp.read():
                builder(script, words)
                stamp.write("built\n")


@dataclass
class Installation(Workspace):
    """What the Debian package has: its QEMU, its simulations, its guest. Nothing is built."""

    @property
    def runs(self) -> Path:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        return Path(state) / "accelerator-cosim/run"

    def qemu(self, folder: Path | None = None) -> Path:
        return super().qemu(folder or self.root)

    def simulation(
        self,
        builder: Builder,
        example: str | None = None,
        *,
        top: str | None = None,
        files: Path | None = None,
        parameters: Mapping[str, Value] | None = None,
        macros: Mapping[str, Value] | None = None,
        waves: bool = False,
    ) -> Simulation:
        """A simulation of the package. Others are programs of the user's own."""
        program = self.root / "simulations" / (example or "-")
        if parameters or macros or waves or not program.is_file():
            names = ", ".join(sorted(path.name for path in program.parent.iterdir()))
            raise BuildError(f"to build a simulation takes a checkout, and {self.root} is a "
                             f"package: it has {names}, without waves. Name a program that is "
                             "built")
        return Simulation((str(program),), program.name)

    def guest(
        self,
        builder: Builder,
        *,
        modules: Sequence[Path] = (),
        programs: Sequence[Path] = (),
        kernel: str | None = None,
    ) -> GuestImage:
        """The guest of the package. Files can be put into one that runs."""
        if modules or programs or kernel is not None:
            raise BuildError(f"to build a guest takes a checkout, and {self.root} is a package")
        return GuestImage(self.root / "guest")


@dataclass
class Bundle(Installation):
    """What `accelerator_cosim.bundle` has packed: the tests, and what they need. Nothing is built,
    and nothing in it is written."""

    @property
    def tests(self) -> Path:
        """The folder in the place of the one that pytest has called the root of the tests."""
        return self.root / "tests"

    def qemu(self, folder: Path | None = None) -> Path:
        # A bundle has one, whatever a test calls it.
        return super().qemu(self.root)

    def simulation(
        self,
        builder: Builder,
        example: str | None = None,
        *,
        top: str | None = None,
        files: Path | None = None,
        parameters: Mapping[str, Value] | None = None,
        macros: Mapping[str, Value] | None = None,
        waves: bool = False,
    ) -> Simulation:
        spec = SimulationSpec(example, top, files, parameters or {}, macros or {}, waves)
        program = self._path("simulations", spec.key(self.tests), spec) / "program"
        return Simulation((str(program),), example or top or "", waves)

    def guest(
        self,
        builder: Builder,
        *,
        modules: Sequence[Path] = (),
        programs: Sequence[Path] = (),
        kernel: str | None = None,
    ) -> GuestImage:
        spec = GuestSpec(tuple(modules), tuple(programs), kernel)
        return GuestImage(self._path("guests", spec.key(self.tests), spec))

    def _path(self, kind: str, key: str, spec: object) -> Path:
        path = self.root / kind / key
        if not path.is_dir():
            raise BuildError(f"the bundle {self.root} has no {spec}: what a test builds itself, "
                             "its marker cosim has to name in `simulations`")
        return path


def is_bundle(folder: Path) -> bool:
    return (folder / "bundle.json").is_file()


def is_installation(folder: Path) -> bool:
    return (folder / "simulations").is_dir() and (folder / "guest/vmlinuz").is_file()


def is_checkout(folder: Path) -> bool:
    return (folder / "scripts/build-sim.sh").is_file() and (folder / "hdl/bridge.f").is_file()
