# SPDX-License-Identifier: MIT OR Apache-2.0
"""Bundles and arrays of jobs, on this machine and with tests that start no VM. Slurm is in
tests/farm."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from accelerator_cosim._shard import shard_of
from accelerator_cosim.errors import BundleError
from accelerator_cosim.farm import unpack

PATIENCE = 30.0

# Two shards of three have something to do in it, and each outcome is there.
TESTS = """
    import os
    import time
    from pathlib import Path
    import pytest
    from helper import VALUE

    HERE = Path(__file__).parent

    @pytest.mark.parametrize("n", range(8))
    def test_passes(n):
        assert VALUE == 7

    def test_fails():
        print("before the failure \\x1b[31mred\\x1b[0m \\x00")
        assert VALUE == 8, "not eight & <not> \\x01"

    @pytest.mark.skip(reason="not today")
    def test_is_skipped():
        pass

    @pytest.mark.xfail(reason="known")
    def test_fails_as_expected():
        assert False

    class TestClass:
        def test_error(self, broken):
            pass

    @pytest.fixture
    def broken():
        raise RuntimeError("it is broken")

    def test_data():
        assert (HERE / "data.txt").read_text() == "data"
"""
SLOW = """
    import os, signal, time
    from pathlib import Path
    import pytest

    @pytest.mark.parametrize("n", range(4))
    def test_quick(n):
        pass

    def test_slow():
        Path(os.environ["FARM_MARK"]).write_text("slow")
        time.sleep(100)
"""


SLOW_SHARD = shard_of("test_it.py::test_slow", 2)


def cli(*words: str | Path, env: Mapping[str, str] | None = None, status: int | None = 0
        ) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "accelerator_cosim", *map(str, words)], text=True, check=False,
        capture_output=True, timeout=120, env={**os.environ, **(env or {})})
    if status is not None:
        assert result.returncode == status, result.stdout + result.stderr
    return result


def make(folder: Path, source: str, *words: str) -> Path:
    """A bundle of one file."""
    (folder / "test_it.py").write_text(textwrap.dedent(source))
    bundle = folder / "out/bundle.tar.gz"
    cli("bundle", "--out", bundle, folder / "test_it.py", *words)
    return bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tests")
    (folder / "helper.py").write_text("VALUE = 7\n")
    (folder / "data.txt").write_text("data")
    return make(folder, TESTS, "--include", str(folder / "data.txt"))


@pytest.fixture
def unpacked(bundle: Path, tmp_path: Path) -> Path:
    unpack(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_file_that_leads_elsewhere(tmp_path: Path) -> None:
    for name, kind in (("../x", tarfile.REGTYPE), ("/x", tarfile.REGTYPE), ("x", tarfile.SYMTYPE)):
        with tarfile.open(tmp_path / "bundle.tar.gz", "w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc"
            tar.addfile(member)
        with pytest.raises(BundleError, match=f"is no bundle: it has {name}"):
            unpack(tmp_path / "bundle.tar.gz", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def cases(junit: Path) -> dict[str, ElementTree.Element]:
    return {case.get("name") or "": case for case in ElementTree.parse(junit).iter("testcase")}


def errors(junit: Path) -> list[str]:
    return [error.get("message") or "" for error in ElementTree.parse(junit).iter("error")]


# ---- shards ----------------------------------------------------------------------


def test_a_test_stays_in_its_shard() -> None:
    # What it is must not change: a job that is run again has the same tests.
    assert [shard_of(f"test_sort.py::test_{n}", 4) for n in range(8)] == [0, 3, 3, 3, 3, 0, 3, 0]
    assert {shard_of(f"a::{n}", 5) for n in range(100)} == set(range(5))


# ---- bundles ---------------------------------------------------------------------


def test_what_is_in_a_bundle(unpacked: Path) -> None:
    manifest = json.loads((unpacked / "bundle.json").read_text())
    assert len(manifest["tests"]) == 13
    assert "test_it.py::test_passes[3]" in manifest["tests"]
    assert {path.name for path in unpacked.iterdir()} == {"bundle.json", "python", "run", "tests"}
    assert {path.name for path in (unpacked / "tests").iterdir()} == {
        "data.txt", "helper.py", "pytest.ini", "test_it.py"}
    names = {path.name for path in (unpacked / "python").iterdir()}
    assert {"accelerator_cosim", "pytest", "_pytest", "qemu"} <= names
    assert not list(unpacked.rglob("__pycache__"))


@pytest.mark.parametrize(("source", "words", "said"), [
    ("def test_it(): pass", ["--include", "/etc/hostname"], "is not below"),
    ("def test_it(): pass", ["--package", "no-such-package"], "no-such-package is not installed"),
    ("import no_such_module", [], "pytest cannot collect the tests: status"),
    ("def test_it(): pass", ["--include", "nowhere"], "nowhere is not there"),
])
def test_what_is_no_bundle(
    pytester: pytest.Pytester, source: str, words: Sequence[str], said: str
) -> None:
    pytester.makepyfile(test_it=source)
    options = ["--", f"--rootdir={pytester.path}"]
    result = cli("bundle", "--out", "bundle.tar.gz", "test_it.py", *words, *options, status=2)
    assert said in result.stderr
    assert not (pytester.path / "bundle.tar.gz").exists()
    assert not list(pytester.path.glob(".bundle-*"))


def test_a_bundle_of_another_libc(unpacked: Path, tmp_path: Path) -> None:
    manifest = json.loads((unpacked / "bundle.json").read_text())
    (unpacked / "bundle.json").write_text(json.dumps({**manifest, "libc": "99.1"}))
    result = cli("farm", "--jobs", "1", "--results", tmp_path / "results",
                 "--junit", tmp_path / "junit.xml", unpacked, status=1)
    assert "LOST job 0: it never began" in result.stdout
    [error] = ElementTree.parse(tmp_path / "junit.xml").iter("error")
    assert "the bundle was made with glibc 99.1, and this machine has" in (error.text or "")


# ---- results ---------------------------------------------------------------------


def test_one_report_of_all_jobs(bundle: Path, tmp_path: Path) -> None:
    results, junit = tmp_path / "results", tmp_path / "reports/junit.xml"
    result = cli("farm", "--jobs", "3", "--parallel", "2", "--results", results,
                 "--junit", junit, bundle, status=1)
    last = result.stdout.splitlines()[-1]
    assert re.fullmatch(r"9 passed, 1 failed, 1 error, 2 skipped in \d+ s", last)
    assert "FAILED test_it.py::test_fails: AssertionError: not eight" in result.stdout

    found = cases(junit)
    assert len(found) == 13
    [suite] = ElementTree.parse(junit).iter("testsuite")
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "13", "1", "1", "2"]
    assert found["test_passes[3]"].get("classname") == "test_it"
    failure = found["test_fails"].find("failure")
    assert failure is not None
    assert "not eight & <not> ?" in (failure.get("message") or "")
    assert "assert VALUE == 8" in (failure.text or "")
    assert "before the failure red ?" in (found["test_fails"].findtext("system-out") or "")
    assert found["test_error"].get("classname") == "test_it.TestClass"
    assert "it is broken" in (found["test_error"].findtext("error") or "")
    skipped = [found[name].find("skipped") for name in ("test_is_skipped",
                                                        "test_fails_as_expected")]
    assert [s.get("message") for s in skipped if s is not None] == [
        "Skipped: not today", "expected failure: known"]
    jobs = {name: next(p.get("value") for p in case.iter("property")
                       if p.get("name") == "cosim_job") for name, case in found.items()}
    assert set(jobs.values()) == {"0", "1", "2"}
    # What was unpacked is gone.
    assert not list(results.glob(".bundle-*"))


def test_nothing_in_the_bundle_is_written(unpacked: Path, tmp_path: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size)
                for path in unpacked.rglob("*")}

    before = state()
    launcher = "local"
    if os.getuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0:
        # For root too it can be read only.
        script = ('mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && '
                  '! touch "$0"/x 2>/dev/null && exec "$@"')
        launcher = shlex.join(["unshare", "-m", "sh", "-c", script, str(unpacked)])
    else:
        for path in (unpacked, *unpacked.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    result = cli("farm", "--launcher", launcher, "--jobs", "2", "--results", tmp_path / "results",
                 unpacked, status=1)
    assert "9 passed, 1 failed, 1 error, 2 skipped in" in result.stdout
    assert state() == before


def test_options_of_pytest(bundle: Path, tmp_path: Path) -> None:
    result = cli("farm", "--jobs", "2", "--results", tmp_path / "results", bundle,
                 "--", "-k", "passes and 3")
    assert result.stdout.splitlines()[-1].startswith("1 passed in")


def test_jobs_without_a_launcher(unpacked: Path, tmp_path: Path) -> None:
    """As Kubernetes runs them: each is told its number by a variable."""
    results = tmp_path / "results"
    results.mkdir()
    for variable in ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"):
        jobs = [subprocess.Popen([sys.executable, unpacked / "run", "--jobs", "3",
                                  "--results", results], env={**os.environ, variable: str(n)})
                for n in range(3)]
        assert sorted(job.wait(PATIENCE) for job in jobs) in ([0, 1, 1], [1, 1, 1], [0, 0, 1])
        result = cli("report", "--jobs", "3", "--bundle", unpacked, "--junit", tmp_path / "a.xml",
                     results, status=1)
        assert "9 passed, 1 failed, 1 error, 2 skipped in" in result.stdout
        assert len(cases(tmp_path / "a.xml")) == 13
    # One that never came.
    (results / "job-1.jsonl").unlink()
    result = cli("report", "--jobs", "3", "--bundle", unpacked, "--junit", tmp_path / "a.xml",
                 results, status=1)
    assert re.search(r"^LOST job 1: it never began; \d+ without a result$", result.stdout, re.M)
    # And who does not know which it is.
    result = subprocess.run([sys.executable, unpacked / "run", "--jobs", "3", "--results", results],
                            capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert result.returncode == 1
    assert "which job is it?" in result.stderr


# ---- jobs that are lost ----------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("slow"), SLOW)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What the slow test writes when it has begun."""
    return tmp_path / "mark"


def processes(mark: Path) -> list[int]:
    """Those that have the mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"FARM_MARK={mark}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_for_mark(mark: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_gone(mark: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := processes(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was not said")


@pytest.fixture
def farm(slow: Path, mark: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A farm whose slow test runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "accelerator_cosim", "farm", "--jobs", "2",
         "--results", tmp_path / "results", "--junit", tmp_path / "junit.xml", "--voice", "1",
         slow], env={**os.environ, "FARM_MARK": str(mark)}, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_mark(mark)
        # All others have been run.
        read_until(process, f"job {1 - SLOW_SHARD} has ended")
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_job_that_is_killed(
    farm: subprocess.Popen[str], mark: Path, tmp_path: Path
) -> None:
    number = SLOW_SHARD
    # Whoever waits is told so.
    read_until(farm, "jobs: 1 running; ")
    victims = [pid for pid in processes(mark)
               if f"/run\0--jobs\x002\0--results\0{tmp_path}/results" in
               Path(f"/proc/{pid}/cmdline").read_text()
               and f"--index\0{number}" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(victims) == 1
    os.kill(victims[0], signal.SIGKILL)
    output, _ = farm.communicate(timeout=PATIENCE)
    assert farm.returncode == 1
    [error] = errors(tmp_path / "junit.xml")
    assert re.fullmatch(rf"job {number} on \S+ was lost: ended with status -9 \(SIGKILL\); while "
                        r"test_it.py::test_slow ran; 1 without a result", error)
    assert output.splitlines()[-1].startswith("4 passed, 1 of 2 jobs lost in ")
    wait_until_gone(mark)


def test_a_job_that_takes_too_long(slow: Path, mark: Path, tmp_path: Path) -> None:
    result = cli("farm", "--jobs", "2", "--time", "20", "--results", tmp_path / "results",
                 "--junit", tmp_path / "junit.xml", slow, env={"FARM_MARK": str(mark)}, status=1)
    [error] = errors(tmp_path / "junit.xml")
    assert "; the time limit of 20 s; while test_it.py::test_slow ran; 1 without" in error
    assert "4 passed, 1 of 2 jobs lost" in result.stdout
    wait_until_gone(mark)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_farm_that_is_interrupted(
    farm: subprocess.Popen[str], mark: Path, tmp_path: Path, number: signal.Signals
) -> None:
    farm.send_signal(number)
    output, _ = farm.communicate(timeout=PATIENCE)
    assert farm.returncode == 128 + number
    assert f"{number.name}: cancelling; jobs left: 1" in output
    [error] = errors(tmp_path / "junit.xml")
    assert "was lost: cancelled; it was ended by SIGTERM; while test_it.py::test_slow ran" in error
    wait_until_gone(mark)


def test_a_farm_that_is_killed(
    farm: subprocess.Popen[str], mark: Path, tmp_path: Path
) -> None:
    farm.kill()
    farm.communicate(timeout=PATIENCE)
    wait_until_gone(mark)
    # What had come by then is not lost.
    result = cli("report", tmp_path / "results", status=1)
    assert "4 passed, 1 of 2 jobs lost" in result.stdout


def test_a_worker_that_dies(tmp_path: Path) -> None:
    """Pytest ends with a status that is none of its own."""
    bundle = make(tmp_path, """
        import os

        def test_passes():
            pass

        def test_exits():
            os._exit(9)
    """)
    cli("farm", "--jobs", "1", "--results", tmp_path / "results",
        "--junit", tmp_path / "junit.xml", bundle, status=1)
    [error] = errors(tmp_path / "junit.xml")
    assert "while test_it.py::test_exits ran; 1 without a result" in error


@pytest.mark.parametrize(("words", "said"), [
    (["--launcher", "/no/such/program", "BUNDLE"], "/no/such/program"),
    (["--launcher", "slurm", "/no/such/bundle"], "is no bundle"),
    (["/etc/hostname"], "cannot be unpacked"),
])
def test_a_farm_that_does_not_begin(
    bundle: Path, tmp_path: Path, words: Sequence[str], said: str
) -> None:
    real = [str(bundle) if word == "BUNDLE" else word for word in words]
    result = cli("farm", "--jobs", "1", "--results", tmp_path / "results", *real, status=2)
    assert said in result.stderr


def test_no_slurm(bundle: Path, tmp_path: Path) -> None:
    result = cli("farm", "--jobs", "1", "--launcher", "slurm", "--results", tmp_path / "results",
                 bundle, env={"PATH": str(tmp_path)}, status=2)
    assert "sbatch is not there: this machine cannot submit jobs to Slurm" in result.stderr
