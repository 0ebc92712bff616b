# SPDX-License-Identifier: MIT OR Apache-2.0
"""Fixtures, markers and options for pytest. `docs/driver-tests.md` is how they are used."""

from __future__ import annotations

import itertools
import random
import shlex
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from .card import Card, Property
from .guest import ACCELERATORS, Guest, Machine
from .session import TIMEOUT, Run, Session
from .simulator import Simulator
from .workspace import FLOWS, VERILATOR, GuestSpec, Simulation, SimulationSpec, Value, Workspace

SEED_LIMIT = 1 << 31
TAIL_LINES = 8

BOOTS = ("saved", "cold")
WAVES = ("off", "failed", "all")
KEEPS = ("failed", "all")
BUILDS = ("auto", "never")


@dataclass(frozen=True)
class Settings:
    """What the marker `cosim` says about a test; each has the name that the marker has for it."""

    #: An example of hdl/examples.
    example: str | None = None
    #: verilator, or one of workspace.FLOWS.
    simulator: str = VERILATOR
    #: A design of the user's: its top module and file list.
    top: str | None = None
    files: str | Path | None = None
    #: A simulation that is built already.
    program: str | Path | None = None
    #: Simulations that the test builds itself, each the arguments of `Run.build`.
    simulations: tuple[Mapping[str, Any], ...] | list[Mapping[str, Any]] = ()
    #: Parameters of the top module, and macros.
    parameters: Mapping[str, Value] = field(default_factory=dict)
    macros: Mapping[str, Value] = field(default_factory=dict)
    plusargs: tuple[str, ...] | list[str] = ()
    #: Properties of the device.
    properties: Mapping[str, Property] = field(default_factory=dict)
    #: Of the guest: modules and programs of the user's, the kernel's package.
    modules: tuple[str | Path, ...] | list[str | Path] = ()
    programs: tuple[str | Path, ...] | list[str | Path] = ()
    kernel: str | None = None
    #: Of the VM.
    qemu: str | Path | None = None
    accelerator: str | None = None
    boot: str = "saved"
    cpus: int = 2
    memory: int = 512
    iommu: bool = False
    append: str = ""
    slots: int = 2
    #: Whether panics, oopses and warnings of the guest's kernel fail the test.
    complaints: bool = True


SETTINGS = {setting.name for setting in fields(Settings)}
# They are added to those of the class or the module; the others replace them.
MERGED = ("parameters", "macros", "properties")

MARKERS = (
    "cosim(**settings): what the fixtures `simulator`, `card` and `guest` are made of: "
    + ", ".join(sorted(SETTINGS)),
    "rtl(**parameters): runs the test with each combination of these values of parameters of the "
    "top module, as in rtl(DataWidth=[64, 128])",
    "seeds(count_or_list): runs the test with so many values of the fixture `seed`, or with these",
)

SESSION = pytest.StashKey[Session]()
RUN = pytest.StashKey[Run]()
FAILED = pytest.StashKey[bool]()
FIRST_SEED = pytest.StashKey[int]()
#: What all processes of a run have in common.
SHARED = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cosim", "driver tests with RTL in a simulator")
    group.addoption("--cosim-root", metavar="DIR",
                    help="the checkout of accelerator-pcie (default: $ACCELERATOR_ROOT, or the one "
                         "that the tests or the working directory are in)")
    group.addoption("--cosim-runs", metavar="DIR",
                    help="where runs have their folders (default: build/run in the checkout)")
    group.addoption("--cosim-qemu", metavar="DIR",
                    help="the QEMU in DIR/bin (default: build/qemu/patched in the checkout)")
    group.addoption("--cosim-kernel", metavar="PACKAGE",
                    help="kernel package of the guest, for scripts/build-guest.sh")
    group.addoption("--cosim-accelerator", choices=ACCELERATORS, default="tcg",
                    help="what runs the guest's code (default: tcg)")
    group.addoption("--cosim-build", choices=BUILDS, default="auto",
                    help="build simulations and guests that are not up to date, or take what is "
                         "there (default: auto)")
    group.addoption("--cosim-waves", choices=WAVES, default="off",
                    help="write waves, and keep those of failures or of all (default: off)")
    group.addoption("--cosim-keep", choices=KEEPS, default="failed",
                    help="which runs keep their folders (default: failed)")
    group.addoption("--cosim-seed", type=int, metavar="N",
                    help="seed of the first run of each test (default: a new one)")
    group.addoption("--cosim-timeout", type=float, default=TIMEOUT, metavar="S",
                    help=f"seconds for whatever is waited for (default: {TIMEOUT:g})")


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    # The workers of pytest-xdist have them from here, so that all of them collect the same.
    if not hasattr(config, "workerinput"):
        config.stash[SHARED] = {
            "id": uuid.uuid4().hex[:8],
            "seed": random.SystemRandom().randrange(SEED_LIMIT),
        }
    else:
        config.stash[SHARED] = config.workerinput["accelerator_cosim"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist: tells a worker what all of them share."""
    node.workerinput["accelerator_cosim"] = node.config.stash[SHARED]


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session:
        session.close()


# ---- markers ---------------------------------------------------------------------


def settings_of(item: pytest.Item) -> Settings:
    """What the markers of a test, its class and its module say, the nearest having the last
    word."""
    values: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("cosim"))):
        if marker.args:
            raise pytest.UsageError(f"{item.nodeid}: the marker cosim takes settings by name only")
        for name, value in marker.kwargs.items():
            if name not in SETTINGS:
                raise pytest.UsageError(f"{item.nodeid}: the marker cosim has no setting {name!r}; "
                                        f"there are: {', '.join(sorted(SETTINGS))}")
            merged = {**values.get(name, {}), **value} if name in MERGED else value
            values[name] = merged
        # A design of its own replaces another one altogether.
        if "example" in marker.kwargs:
            values.update(top=None, files=None, program=None)
        if "program" in marker.kwargs:
            values.update(example=None, top=None, files=None)
        if "top" in marker.kwargs:
            values.update(example=None, program=None)
    settings = Settings(**values)
    if settings.boot not in BOOTS:
        raise pytest.UsageError(f"{item.nodeid}: boot is {settings.boot!r}, expected one of "
                                + ", ".join(BOOTS))
    if settings.simulator not in (VERILATOR, *FLOWS):
        raise pytest.UsageError(f"{item.nodeid}: simulator is {settings.simulator!r}, expected one "
                                "of " + ", ".join((VERILATOR, *FLOWS)))
    return settings


def pytest_itemcollected(item: pytest.Item) -> None:
    # A slip is said before anything is started.
    settings_of(item)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    combinations = rtl_combinations(metafunc)
    if combinations:
        metafunc.parametrize(
            "rtl_parameters", combinations, indirect=True,
            ids=["-".join(f"{name}={value}" for name, value in combination.items())
                 for combination in combinations])
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker:
        wanted = marker.args[0]
        if isinstance(wanted, int):
            first = first_seed(metafunc.config, metafunc.definition.nodeid)
            wanted = [(first + n) % SEED_LIMIT for n in range(wanted)]
            # By their number: a name that is another each time cannot be selected.
            ids = [f"seed{n}" for n in range(len(wanted))]
        else:
            ids = [f"seed={value}" for value in wanted]
        metafunc.parametrize("seed", wanted, indirect=True, ids=ids)


def rtl_combinations(metafunc: pytest.Metafunc) -> list[dict[str, Value]]:
    values: dict[str, list[Value]] = {}
    for marker in reversed(list(metafunc.definition.iter_markers("rtl"))):
        values.update(marker.kwargs)
    if not values:
        return []
    return [dict(zip(values, chosen, strict=True))
            for chosen in itertools.product(*values.values())]


def first_seed(config: pytest.Config, nodeid: str) -> int:
    """The seed that was asked for; or one that is the same for all workers of a run, and another
    one for each test."""
    asked: int | None = config.getoption("--cosim-seed")
    if asked is not None:
        return asked
    return random.Random(f"{config.stash[SHARED]['seed']} {nodeid}").randrange(SEED_LIMIT)


# ---- what a test is made of ------------------------------------------------------


def absolute(item: pytest.Item, path: str | Path) -> Path:
    """A path in a marker is relative to the file of the test."""
    return (item.path.parent / path).resolve()


def waves_wanted(config: pytest.Config) -> bool:
    wanted: str = config.getoption("--cosim-waves")
    return wanted != "off"


def simulation_of(
    item: pytest.Item, rtl_parameters: Mapping[str, Value]
) -> SimulationSpec | None:
    """The simulation of a test, if it is one that is built."""
    settings = settings_of(item)
    if settings.example is None and settings.top is None:
        return None
    return SimulationSpec(
        settings.example, settings.top,
        absolute(item, settings.files) if settings.files else None,
        {**settings.parameters, **rtl_parameters}, settings.macros, waves_wanted(item.config),
        settings.simulator)


def guest_of(item: pytest.Item) -> GuestSpec:
    settings = settings_of(item)
    return GuestSpec(
        tuple(absolute(item, path) for path in settings.modules),
        tuple(absolute(item, path) for path in settings.programs),
        settings.kernel or item.config.getoption("--cosim-kernel"))


def qemu_of(item: pytest.Item) -> Path | None:
    """The folder with QEMU, if it is not that of the checkout."""
    qemu = settings_of(item).qemu or item.config.getoption("--cosim-qemu")
    return Path(qemu).resolve() if qemu else None


# ---- fixtures --------------------------------------------------------------------


@pytest.fixture(scope="session")
def cosim_session(pytestconfig: pytest.Config) -> Session:
    """The session that all runs of this process are in."""
    if SESSION in pytestconfig.stash:
        return pytestconfig.stash[SESSION]
    root = pytestconfig.getoption("--cosim-root")
    workspace = Workspace.at(Path(root)) if root else find_workspace(pytestconfig)
    workspace.build = pytestconfig.getoption("--cosim-build") == "auto"
    runs = pytestconfig.getoption("--cosim-runs")
    folder = Path(runs).resolve() if runs else workspace.runs
    session = Session(workspace, folder / f"pytest-{pytestconfig.stash[SHARED]['id']}",
                      timeout=pytestconfig.getoption("--cosim-timeout"))
    pytestconfig.stash[SESSION] = session
    return session


def find_workspace(config: pytest.Config) -> Workspace:
    """The checkout that the tests are in, or the working directory."""
    for argument in config.args:
        path = config.invocation_params.dir / argument.split("::", 1)[0]
        if path.exists():
            return Workspace.find(path)
    return Workspace.find(config.invocation_params.dir)


@pytest.fixture
def rtl_parameters(request: pytest.FixtureRequest) -> Mapping[str, Value]:
    """The combination of the marker `rtl` that the test runs with."""
    parameters: Mapping[str, Value] = getattr(request, "param", {})
    return parameters


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A number for whatever is random in the test. The report of a failure has it, and
    --cosim-seed takes it."""
    value: int
    if hasattr(request, "param"):
        value = request.param
        # The option names the first one of several.
        first = (value - request.node.callspec.indices["seed"]) % SEED_LIMIT
    else:
        value = first = first_seed(request.config, request.node.nodeid)
    request.node.user_properties.append(("cosim_seed", value))
    request.node.stash[FIRST_SEED] = first
    return value


@pytest.fixture
def cosim(
    request: pytest.FixtureRequest, cosim_session: Session, seed: int
) -> Iterator[Run]:
    """The run of a test: it starts further simulators and VMs, and has the folder with the logs."""
    option = request.config.getoption
    run = Run(cosim_session, request.node.name, seed=seed,
              keep="all" in (option("--cosim-keep"), option("--cosim-waves")))
    first = request.node.stash[FIRST_SEED]
    run.started_by = f"pytest {shlex.quote(request.node.nodeid)} --cosim-seed {first}"
    request.node.stash[RUN] = run
    settings = settings_of(request.node)
    yield run
    complaints = [
        f"{guest.name}'s kernel: {line}" for guest in run.guests for line in guest.complaints()
    ] if settings.complaints else []
    failed = request.node.stash.get(FAILED, False) or bool(complaints)
    problems = complaints + run.close(failed)
    if not run.folder.exists():
        del request.node.stash[RUN]
    elif option("--cosim-waves") == "failed" and not (failed or problems):
        for path in run.folder.glob("*.fst"):
            path.unlink()
    if problems and not request.node.stash.get(FAILED, False):
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def simulator(
    request: pytest.FixtureRequest, cosim: Run, rtl_parameters: Mapping[str, Value]
) -> Simulator:
    """A simulator with the RTL of the test."""
    settings = settings_of(request.node)
    with_waves = waves_wanted(request.config)
    if settings.program is not None:
        simulation = Simulation.of_program(absolute(request.node, settings.program),
                                           waves=with_waves)
    else:
        spec = simulation_of(request.node, rtl_parameters)
        if spec is None:
            raise pytest.UsageError(f"{request.node.nodeid}: the marker cosim has to name an "
                                    "example, top and files, or a program")
        simulation = cosim.build(**vars(spec))
    return cosim.simulate(simulation, plusargs=settings.plusargs, waves=with_waves)


@pytest.fixture
def machine(request: pytest.FixtureRequest, cosim: Run) -> Machine:
    """The machine that the test's VM is."""
    settings = settings_of(request.node)
    option = request.config.getoption
    image = cosim.build_guest(**vars(guest_of(request.node)))
    return cosim.machine(
        image, qemu=qemu_of(request.node),
        accelerator=settings.accelerator or option("--cosim-accelerator"),
        cpus=settings.cpus, memory=settings.memory, iommu=settings.iommu, append=settings.append,
        slots=settings.slots)


@pytest.fixture
def guest(
    request: pytest.FixtureRequest, cosim: Run, machine: Machine, simulator: Simulator
) -> Guest:
    """A VM that has booted and has the card, with no driver loaded."""
    settings = settings_of(request.node)
    return cosim.boot(machine, cards=[(simulator, settings.properties)],
                      saved=settings.boot == "saved")


@pytest.fixture
def card(guest: Guest) -> Card:
    """The card in the guest."""
    return guest.cards[0]




# ---- the report ------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    run = item.stash.get(RUN, None)
    if report.failed:
        item.stash[FAILED] = True
        if run:
            report.sections.append(("cosim", describe(run)))
            item.user_properties.append(("cosim_folder", str(run.folder)))
            report.user_properties = list(item.user_properties)
    return report


def describe(run: Run) -> str:
    """Where to look after a failure."""
    lines = [f"seed {run.seed}; again: {run.started_by}", f"folder {run.folder}"]
    for path in run.logs():
        lines.append(f"  {path.name}")
    for path in run.logs():
        if path.suffix == ".log" and path.stat().st_size:
            tail = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            lines += [f"the end of {path.name}:", *(f"  | {line}" for line in tail)]
    return "\n".join(lines)
