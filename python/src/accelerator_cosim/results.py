# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the jobs of an array have written, as one result and one JUnit file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ._shard import shard_of

LOG_LINES = 30
# Pytest's statuses of a run that came to its end: all passed, some failed, there were none.
REGULAR_ENDS = (0, 1, 5)


@dataclass
class JobResult:
    """What one job has written."""

    number: int
    #: Identifiers of the tests that it had to run.
    tests: list[str]
    #: Records of tests, as in `_shard.py`.
    records: list[dict[str, Any]] = field(default_factory=list)
    begun: bool = False
    #: The test that had begun and not ended.
    current: str = ""
    node: str = ""
    #: Pytest's status, None if it did not come to its end.
    end: int | None = None
    #: What ended it, if it says so itself.
    why: str = ""
    log: str = ""

    @property
    def missing(self) -> list[str]:
        """Tests without a result."""
        told = {record["test"] for record in self.records}
        return [test for test in self.tests if test not in told]

    @property
    def lost(self) -> str:
        """What is to be said of the job itself, nothing if it came to its end."""
        if self.end is None:
            return self.why or ("it has ended without a word" if self.begun else "it never began")
        if self.end not in REGULAR_ENDS:
            return f"pytest ended with status {self.end}"
        return "it has left out tests" if self.missing else ""


def read_job(results: Path, number: int, jobs: int, tests: Sequence[str]) -> JobResult:
    """Reads what a job has written. `tests` are those of the whole array."""
    job = JobResult(number, [test for test in tests if shard_of(test, jobs) == number])
    path = results / f"job-{number}.jsonl"
    # A line that is not whole was being written when it ended.
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if "job" in record:
            job.begun = True
            job.node = record["node"] or record["host"]
        elif "collected" in record:
            job.tests = record["collected"]
        elif "begin" in record:
            job.current = record["begin"]
        elif "test" in record:
            job.records.append(record)
            job.current = ""
        elif "end" in record:
            job.end = record["end"]
        elif "lost" in record:
            job.why = record["lost"]
            job.end = None
    if job.end == 5:
        job.tests = []
    if job.lost:
        job.log = "\n".join(
            f"{path.name}:\n" + "\n".join(
                path.read_text(errors="replace").splitlines()[-LOG_LINES:])
            for path in (results / f"job-{number}.out", results / f"job-{number}.log")
            if path.exists() and path.stat().st_size)
    return job


@dataclass
class ArrayResult:
    """What all jobs have written, and what the launcher says of those that were lost."""

    jobs: list[JobResult]
    #: By number: what ended it, where the launcher knows.
    reasons: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, *outcomes: str) -> int:
        return sum(record["outcome"] in outcomes for job in self.jobs for record in job.records)

    @property
    def lost(self) -> list[JobResult]:
        return [job for job in self.jobs if job.lost]

    @property
    def passed(self) -> bool:
        return not self.lost and not self.count("failed", "error")

    def reason(self, job: JobResult) -> str:
        """In one line, why a job is lost."""
        # The launcher knows better of one that could not speak any more.
        words = [word for word in (self.reasons.get(job.number, ""), job.lost) if word]
        if len(words) == 2 and not job.why and job.end is None:
            words = words[:1]
        text = "; ".join(dict.fromkeys(words))
        if job.current:
            text += f"; while {job.current} ran"
        if job.missing:
            text += f"; {len(job.missing)} without a result"
        return text

    def lines(self) -> list[str]:
        """For people: what failed, what was lost, and the sum."""
        lines = [f"{record['outcome'].upper()} {record['test']}: {record['message']}"
                 for job in self.jobs for record in job.records
                 if record["outcome"] in ("failed", "error")]
        lines += [f"LOST job {job.number}{at(job)}: {self.reason(job)}" for job in self.lost]
        parts = [f"{self.count('passed')} passed"]
        for outcome, word in (("failed", "failed"), ("error", "errors"), ("skipped", "skipped")):
            if self.count(outcome):
                number = self.count(outcome)
                parts.append(f"{number} {word if number > 1 else word.removesuffix('s')}")
        if self.lost:
            parts.append(f"{len(self.lost)} of {len(self.jobs)} jobs lost")
        return [*lines, f"{', '.join(parts)} in {self.seconds:.0f} s"]

    def write_junit(self, path: Path) -> None:
        """Writes a JUnit file: a case for each test, and an error for each job that was lost."""
        suite = ElementTree.Element("testsuite", {
            "name": "accelerator-cosim",
            "tests": str(self.count("passed", "failed", "error", "skipped") + len(self.lost)),
            "failures": str(self.count("failed")),
            "errors": str(self.count("error") + len(self.lost)),
            "skipped": str(self.count("skipped")),
            "time": f"{self.seconds:.3f}",
        })
        for job in self.jobs:
            for record in job.records:
                add_test(suite, job, record)
            if job.lost:
                case = ElementTree.SubElement(suite, "testcase", {
                    "classname": "accelerator-cosim",
                    "name": f"job {job.number} of {len(self.jobs)}", "time": "0"})
                error = ElementTree.SubElement(case, "error", {
                    "message": clean(f"job {job.number}{at(job)} was lost: {self.reason(job)}")})
                error.text = clean("\n".join(
                    ["without a result:", *(f"  {test}" for test in job.missing), job.log]))
        root = ElementTree.Element("testsuites")
        root.append(suite)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".unfinished")
        ElementTree.ElementTree(root).write(unfinished, encoding="utf-8", xml_declaration=True)
        unfinished.replace(path)


def add_test(suite: ElementTree.Element, job: JobResult, record: Mapping[str, Any]) -> None:
    # A name of a parameter may have colons.
    path, _, rest = record["test"].partition("::")
    plain, bracket, parameters = rest.partition("[")
    *classes, name = plain.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    case = ElementTree.SubElement(suite, "testcase", {
        "classname": clean(".".join([module, *classes])),
        "name": clean(name + bracket + parameters) or "collection",
        "time": f"{record['seconds']:.3f}"})
    properties = ElementTree.SubElement(case, "properties")
    for key, value in [["cosim_job", str(job.number)], ["cosim_node", job.node],
                       *record["properties"]]:
        ElementTree.SubElement(properties, "property",
                               {"name": clean(key), "value": clean(value)})
    tag = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(record["outcome"])
    if tag:
        child = ElementTree.SubElement(case, tag, {"message": clean(record["message"])})
        child.text = clean(record["text"])
    if record["output"] and record["outcome"] in ("failed", "error"):
        ElementTree.SubElement(case, "system-out").text = clean(record["output"])


def at(job: JobResult) -> str:
    return f" on {job.node}" if job.node else ""


def clean(text: str) -> str:
    """Without what XML has no place for, such as the colours of a terminal."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
