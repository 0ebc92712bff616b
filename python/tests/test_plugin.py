# SPDX-License-Identifier: MIT OR Apache-2.0
"""The plugin, in a checkout whose scripts make simulations that only wait. VMs are in
examples/driver-tests."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

# It writes what it was started with, and the waves that it is asked for.
SIMULATION = """\
#!/bin/sh
echo "arguments: $*"
for word in "$@"; do
  case $word in
    +waves=*) echo waves >"${word#+waves=}" ;;
    +die) echo "%Error: it has died"; exit 5 ;;
  esac
done
trap 'exit 0' TERM
echo ready
while :; do sleep 0.01; done
"""
BUILD_SIM = """\
#!/bin/sh
name=$1 all="$*"
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2 ;;
    --waves) name=$name-waves ;;
    fails) echo "%Error: no such design"; exit 1 ;;
  esac
  shift
done
mkdir -p "$out"
cp "${0%/*}/simulation" "$out/$name"
echo "$all" >>"${0%/*}/builds"
"""


@pytest.fixture
def checkout(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("ACCELERATOR_ROOT", raising=False)
    for name, text in {
        "scripts/simulation": SIMULATION, "scripts/build-sim.sh": BUILD_SIM, "hdl/bridge.f": "",
    }.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return pytester


def runs(checkout: pytest.Pytester) -> list[Path]:
    """Folders of runs that were kept."""
    return sorted((checkout.path / "build/run").glob("pytest-*/*"))


def run(checkout: pytest.Pytester, *words: str) -> pytest.RunResult:
    # Its own process: the supervisor's children have nothing to do with ours.
    return checkout.runpytest_subprocess("-p", "no:cacheprovider", *words)


def test_a_test_that_passes_leaves_nothing(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        @pytest.mark.cosim(example="sort", plusargs=["+mine=1"])
        def test_it(simulator, cosim):
            assert simulator.running
            assert simulator.endpoint.startswith("ipc:///")
            while "ready" not in simulator.text():
                pass
            assert f"+accelerator_endpoint={simulator.endpoint} +mine=1" in simulator.text()
            assert (cosim.folder / "commands.txt").exists()
    """)
    run(checkout, "-v").assert_outcomes(passed=1)
    assert runs(checkout) == []
    assert not list((checkout.path / "build/run").iterdir())


FAILS = """
    import pytest

    @pytest.mark.cosim(example="sort")
    @pytest.mark.seeds(2)
    def test_it(simulator, seed):
        while "ready" not in simulator.text():
            pass
        assert seed == 0
"""


def test_a_failure_keeps_its_folder_and_names_it(checkout: pytest.Pytester) -> None:
    checkout.makepyfile(FAILS)
    result = run(checkout, "--junit-xml=report.xml", "--cosim-seed=7")
    result.assert_outcomes(failed=2)
    kept = runs(checkout)
    assert [folder.name.rsplit("-", 1)[0] for folder in kept] == ["test_it-seed0", "test_it-seed1"]
    for folder in kept:
        assert {"simulator.log", "commands.txt"} <= {path.name for path in folder.iterdir()}
    result.stdout.fnmatch_lines([
        "*- cosim -*", "seed 7; again: pytest *", f"folder {kept[0]}", "  commands.txt",
        "the end of simulator.log:", "  | ready",
        "seed 8; again: pytest *",
    ])
    properties = [
        {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in ElementTree.parse(checkout.path / "report.xml").iter("testcase")
    ]
    assert [p["cosim_folder"] for p in properties] == [str(folder) for folder in kept]
    assert [p["cosim_seed"] for p in properties] == ["7", "8"]
    commands = (kept[1] / "commands.txt").read_text()
    assert "scripts/build-sim.sh sort --out" in commands
    assert "+accelerator_endpoint=ipc://" in commands


def test_the_command_of_a_report_runs_the_same_again(checkout: pytest.Pytester) -> None:
    checkout.makepyfile(FAILS)
    result = run(checkout)
    again = re.findall(r"^seed (\d+); again: pytest (.*)$", str(result.stdout), re.M)
    assert len(again) == 2
    for seed, command in again:
        repeated = run(checkout, *shlex.split(command))
        repeated.assert_outcomes(failed=1)
        repeated.stdout.fnmatch_lines([f"seed {seed}; again: pytest {command}"])


def test_seeds(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        def note(request, seed):
            with open("seeds", "a") as file:
                print(request.node.name, seed, file=file)

        @pytest.mark.seeds(3)
        def test_counted(request, seed):
            note(request, seed)

        @pytest.mark.seeds([5, 9])
        def test_listed(request, seed):
            note(request, seed)

        def test_single(request, seed):
            note(request, seed)
    """)

    def seeds(*words: str) -> dict[str, int]:
        (checkout.path / "seeds").unlink(missing_ok=True)
        run(checkout, *words).assert_outcomes(passed=6)
        lines = (checkout.path / "seeds").read_text().splitlines()
        return {name: int(seed) for name, seed in (line.split() for line in lines)}

    assert seeds("--cosim-seed=40") == {
        "test_counted[seed0]": 40, "test_counted[seed1]": 41, "test_counted[seed2]": 42,
        "test_listed[seed=5]": 5, "test_listed[seed=9]": 9, "test_single": 40,
    }
    # New ones each time, and for each test; the workers of xdist agree on them, or it would
    # refuse to run.
    one, two = seeds(), seeds("-n2")
    assert one["test_counted[seed1]"] == one["test_counted[seed0]"] + 1
    assert len({one["test_single"], one["test_counted[seed0]"], two["test_single"]}) == 3


def test_parameters_of_the_rtl(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        pytestmark = pytest.mark.cosim(example="sort", parameters={"A": 1, "B": 2})

        @pytest.mark.rtl(B=[3, 4], C=["x"])
        def test_it(simulator):
            pass
    """)
    result = run(checkout, "-v", "-n2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["*test_it?B=3-C=x?*", "*test_it?B=4-C=x?*"])
    builds = (checkout.path / "scripts/builds").read_text().splitlines()
    assert sorted(build.split(" --out")[0] for build in builds) == [
        "sort -G A=1 -G B=3 -G C=x", "sort -G A=1 -G B=4 -G C=x"]


def test_a_simulation_is_built_once(checkout: pytest.Pytester) -> None:
    # What the workers share goes with the last of them: each waits for the other, which on a busy
    # machine may begin when this one is done.
    checkout.makepyfile("""
        import os
        import time
        from pathlib import Path
        import pytest

        @pytest.mark.cosim(example="sort")
        @pytest.mark.seeds(8)
        def test_it(simulator):
            Path(os.environ["PYTEST_XDIST_WORKER"] + ".here").touch()
            deadline = time.monotonic() + 60
            while len(list(Path().glob("gw*.here"))) < 2:
                assert time.monotonic() < deadline, "the other worker does not come"
                time.sleep(0.01)
    """)
    run(checkout, "-n2").assert_outcomes(passed=8)
    assert len((checkout.path / "scripts/builds").read_text().splitlines()) == 1


def test_settings_of_module_class_and_test(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest
        from accelerator_cosim.pytest_plugin import settings_of

        pytestmark = pytest.mark.cosim(example="sort", cpus=4, parameters={"A": 1})

        @pytest.mark.cosim(cpus=1, parameters={"B": 2})
        class TestClass:
            @pytest.mark.cosim(memory=256)
            def test_it(self, request):
                settings = settings_of(request.node)
                assert (settings.example, settings.cpus, settings.memory) == ("sort", 1, 256)
                assert settings.parameters == {"A": 1, "B": 2}

        @pytest.mark.cosim(top="mine", files="mine.f")
        def test_another_design(request):
            settings = settings_of(request.node)
            assert (settings.example, settings.top, settings.cpus) == (None, "mine", 4)

        @pytest.mark.cosim(program="simulation")
        def test_a_program(request):
            settings = settings_of(request.node)
            assert (settings.example, settings.program) == (None, "simulation")
    """)
    run(checkout).assert_outcomes(passed=3)


@pytest.mark.parametrize(("marker", "said"), [
    ("cosim(exmaple='sort')", "the marker cosim has no setting 'exmaple'; there are: *example*"),
    ("cosim('sort')", "the marker cosim takes settings by name only"),
    ("cosim(boot='warm')", "boot is 'warm', expected one of saved, cold"),
])
def test_a_slip_in_a_marker(checkout: pytest.Pytester, marker: str, said: str) -> None:
    checkout.makepyfile(f"""
        import pytest

        @pytest.mark.{marker}
        def test_it():
            pass
    """)
    result = run(checkout)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *::test_it: {said}*"])


def test_no_design(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("def test_it(simulator): pass")
    result = run(checkout)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the marker cosim has to name an example, top and files, *"])


def test_rtl_that_does_not_build(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        @pytest.mark.cosim(example="fails")
        def test_it(simulator):
            pass
    """)
    result = run(checkout)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*BuildError: build-sim.sh fails --out *", "*Error: no such*"])
    assert len(runs(checkout)) == 1


def test_a_simulator_that_dies_fails_the_test(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        @pytest.mark.cosim(example="sort", plusargs=["+die"])
        def test_it(simulator):
            while simulator.running:
                pass
    """)
    result = run(checkout)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["simulator ended before its time with status 5*",
                                 "*%Error: it has died"])
    assert len(runs(checkout)) == 1


def test_what_a_test_kills_itself_is_no_failure(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        @pytest.mark.cosim(example="sort")
        def test_it(simulator):
            simulator.kill()
            simulator.restart()
            assert simulator.running
    """)
    run(checkout).assert_outcomes(passed=1)


def test_a_kernel_that_complains_fails_the_test(checkout: pytest.Pytester) -> None:
    checkout.makepyfile("""
        import pytest

        class FakeGuest:
            name = "guest"
            process = None

            def complaints(self):
                return ["WARNING: CPU: 0 PID: 1 at mydriver.c:7"]

            def disconnect(self):
                pass

        def test_it(cosim):
            cosim.guests.append(FakeGuest())

        @pytest.mark.cosim(complaints=False)
        def test_it_may(cosim):
            cosim.guests.append(FakeGuest())
    """)
    result = run(checkout)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["guest's kernel: WARNING: CPU: 0 PID: 1 at mydriver.c:7"])


WAVES = """
    import pytest

    @pytest.mark.cosim(example="sort")
    @pytest.mark.parametrize("passes", [True, False])
    def test_it(simulator, passes):
        while "ready" not in simulator.text():
            pass
        assert passes
"""


@pytest.mark.parametrize(("words", "kept"), [
    ([], [[]]),
    (["--cosim-waves=failed"], [["simulator.fst"]]),
    (["--cosim-waves=failed", "--cosim-keep=all"], [["simulator.fst"], []]),
    (["--cosim-waves=all"], [["simulator.fst"], ["simulator.fst"]]),
])
def test_waves(checkout: pytest.Pytester, words: list[str], kept: list[list[str]]) -> None:
    checkout.makepyfile(WAVES)
    run(checkout, *words).assert_outcomes(passed=1, failed=1)
    found = [sorted(path.name for path in folder.glob("*.fst")) for folder in runs(checkout)]
    assert found == kept


def test_no_checkout(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(cosim): pass")
    result = pytester.runpytest_subprocess(f"--cosim-root={pytester.path}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is no checkout of accelerator-pcie*"])
