# SPDX-License-Identifier: MIT OR Apache-2.0
"""A plugin of pytest for a job of an array: it runs the tests of one shard, and writes what has
become of each as soon as that is known. A job of which nothing more is heard has told what it
could.

Records are lines of JSON:

    {"collected": ["a.py::test_b", ...]}
    {"begin": "a.py::test_b"}
    {"test": "a.py::test_b", "outcome": "failed", "seconds": 1.5, "message": "", "text": "",
     "output": "", "properties": [["cosim_seed", "7"]]}
    {"end": 1}                               pytest's status

The job's own program writes into the same file; `_job.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

#: Characters of a text in a record; the last ones are kept.
TEXT_LIMIT = 100_000


def shard_of(test: str, count: int) -> int:
    """The number of the shard that a test is in. It is by its identifier alone, so that other
    tests come and go without it moving."""
    return int.from_bytes(hashlib.sha256(test.encode()).digest()[:8]) % count


def append(path: Path, record: dict[str, Any]) -> None:
    """Writes a record at the end of a file, at once."""
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cosim")
    group.addoption("--cosim-shard", metavar="K/N", help=argparse_text("the K-th of N, from 0"))
    group.addoption("--cosim-records", metavar="FILE", help=argparse_text("where results go"))
    group.addoption("--cosim-failures", metavar="DIR",
                    help=argparse_text("where folders of runs that fail are copied"))


def argparse_text(text: str) -> str:
    return f"of a job of an array: {text}"


def pytest_configure(config: pytest.Config) -> None:
    records = config.getoption("--cosim-records")
    # A worker of pytest-xdist tells the process that has started it, and that one writes.
    if records and not hasattr(config, "workerinput"):
        config.pluginmanager.register(
            Recorder(Path(records), Path(config.getoption("--cosim-failures"))), "cosim-recorder")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    number, count = map(int, config.getoption("--cosim-shard").split("/"))
    chosen = [item for item in items if shard_of(item.nodeid, count) == number]
    others = [item for item in items if shard_of(item.nodeid, count) != number]
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


class Recorder:
    """Writes the records of a run of pytest."""

    def __init__(self, records: Path, failures: Path) -> None:
        self.records = records
        self.failures = failures
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self._collected = False

    def _write(self, record: dict[str, Any]) -> None:
        append(self.records, record)

    def _write_collected(self, tests: Sequence[str]) -> None:
        if not self._collected:
            self._collected = True
            self._write({"collected": list(tests)})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self._write_collected([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:
        self._write_collected(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write({"test": report.nodeid or "collection", "outcome": "error", "seconds": 0.0,
                         "message": "collection failure", "text": cut(report.longreprtext),
                         "output": "", "properties": []})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"begin": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.setdefault(report.nodeid, []).append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._finish(nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        # One whose worker has died has no end of its own.
        for nodeid in list(self._reports):
            self._finish(nodeid)
        self._write({"end": int(exitstatus)})

    def _finish(self, nodeid: str) -> None:
        reports = self._reports.pop(nodeid, [])
        if not reports:
            return
        properties = dict.fromkeys(
            (str(name), str(value)) for report in reports for name, value in report.user_properties)
        record = record_of(nodeid, reports)
        record["properties"] = [list(pair) for pair in properties]
        folder = next((value for name, value in properties if name == "cosim_folder"), None)
        if folder and Path(folder).is_dir():
            kept = self._keep(Path(folder))
            # Where it can be found when the job is over.
            record = json.loads(json.dumps(record).replace(
                json.dumps(folder)[1:-1], json.dumps(str(kept))[1:-1]))
        self._write(record)

    def _keep(self, folder: Path) -> Path:
        target = self.failures / folder.name
        # A result without its logs is better than none.
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(folder, target, ignore=lambda at, names: [
                name for name in names
                if not (Path(at) / name).is_file() and not (Path(at) / name).is_dir()])
        return target


def record_of(nodeid: str, reports: Sequence[pytest.TestReport]) -> dict[str, Any]:
    """What has become of a test, from the reports of its parts."""
    outcome, messages, texts = "passed", [], []
    for report in reports:
        if report.failed:
            # An assertion that failed counts more than what came of it at the end.
            if outcome != "failed":
                outcome = "failed" if report.when == "call" else "error"
            messages.append(first_line(report, f"failed on {report.when}"))
            texts.append(report.longreprtext)
        elif report.skipped and outcome == "passed":
            outcome = "skipped"
            reason = getattr(report, "wasxfail", None)
            messages.append(f"expected failure: {reason}" if reason is not None
                            else skip_reason(report))
    sections = dict.fromkeys(section for report in reports for section in report.sections)
    return {
        "test": nodeid,
        "outcome": outcome,
        "seconds": round(sum(report.duration for report in reports), 3),
        "message": "; ".join(messages),
        "text": cut("\n\n".join(texts)),
        "output": cut("\n".join(f"--- {name} ---\n{text}" for name, text in sections)),
    }


def first_line(report: pytest.TestReport, otherwise: str) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = getattr(crash, "message", "") or report.longreprtext
    return text.strip().splitlines()[0] if text.strip() else otherwise


def skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return report.longreprtext


def cut(text: str) -> str:
    if len(text) <= TEXT_LIMIT:
        return text
    return f"[{len(text) - TEXT_LIMIT} characters left out]\n{text[-TEXT_LIMIT:]}"
