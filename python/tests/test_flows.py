# SPDX-License-Identifier: MIT OR Apache-2.0
"""Simulators other than Verilator, by the scripts of the checkout. Their programs are the stand-ins
of hdl/tests/flows, which refuse what the vendors do not document; what runs waits, as a simulation
does, until it is to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accelerator_cosim import BuildError, ProcessEnded, Run, Session, Workspace
from accelerator_cosim.workspace import FLOWS

ROOT = Path(__file__).resolve().parents[2]
STANDIN = ROOT / "hdl/tests/flows"
TOOLS = ("xvlog", "xelab", "xsim", "vlib", "vlog", "vsim", "vcs", "simv", "xrun")

# Called by the name of a tool: first its stand-in, and then what the tool would do.
TOOL = """\
#!/bin/sh
name=${0##*/}
"CHECKED/$name" "$@" || exit
case $name in
  vcs) ln -sf "BIN/simv" simv; exit 0 ;;
  xsim | vsim | simv | xrun) ;;
  *) exit 0 ;;
esac
for word in "$@"; do
  case $word in
    +stop_file=* | stop_file=*) stop=${word#*=} ;;
    +accelerator_endpoint=* | accelerator_endpoint=*) endpoint=${word#*=} ;;
    +dies) exit 3 ;;
  esac
done
echo "function 10ee:7024 waits for QEMU at $endpoint"
while [ ! -e "$stop" ]; do sleep 0.02; done
echo "mmio_reads=3"
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    binaries, checked = tmp_path / "bin", tmp_path / "checked"
    binaries.mkdir()
    checked.mkdir()
    for name in TOOLS:
        (checked / name).symlink_to(STANDIN / "tool.py")
        (binaries / name).write_text(
            TOOL.replace("CHECKED", str(checked)).replace("BIN", str(binaries)))
        (binaries / name).chmod(0o755)
    files = subprocess.run([sys.executable, STANDIN / "files.py",
                            ROOT / "hdl/examples/regs/regs.f"], check=True, capture_output=True)
    (tmp_path / "files").write_bytes(files.stdout)
    for name, value in {"LOG": "calls", "FILES": "files", "OUT": "out"}.items():
        monkeypatch.setenv(f"FLOW_{name}", str(tmp_path / value))
    monkeypatch.setenv("FLOW_ROOT", str(ROOT))
    monkeypatch.setenv("PATH", str(binaries), prepend=":")
    with Session(Workspace.at(ROOT), tmp_path / "runs") as session:
        run = session.run("flow")
        yield run
        run.close()


@pytest.mark.parametrize("name", FLOWS)
def test_it_runs_and_ends_in_order(run: Run, tmp_path: Path, name: str) -> None:
    simulation = run.build("regs", simulator=name, macros={"MINE": 7})
    simulator = run.simulate(simulation, plusargs=["+clock_ps=5000"])
    assert simulator.running
    assert f"waits for QEMU at {simulator.endpoint}" in simulator.text()
    calls = (tmp_path / "calls").read_text()
    assert "ACCELERATOR_TOP=regs_top" in calls
    assert "MINE=7" in calls
    assert "clock_ps=5000" in calls
    # Not by a signal: the bridge says goodbye to QEMU in its final block.
    assert simulator.end() == 0
    assert simulator.statistics()["mmio_reads"] == 3
    # And again, in the same folder.
    simulator.restart()
    assert simulator.running
    assert run.close() == []


def test_it_ends_by_itself(run: Run) -> None:
    with pytest.raises(ProcessEnded, match="simulator has ended with status 3"):
        run.simulate(run.build("regs", simulator="questa"), plusargs=["+dies"])


def test_what_it_does_not_take(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="questa takes macros, not parameters"):
        run.build("regs", simulator="questa", parameters={"A": 1})
    with pytest.raises(ValueError, match="'ghdl' is none of"):
        run.build("regs", simulator="ghdl")
    with pytest.raises(BuildError, match=r"has no run-vcs\.sh: simulations for vcs"):
        Workspace(tmp_path).flow("vcs", "regs")
