# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two VMs on a network, by every kind of network, and that nothing is left of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import is_over
from shell import ROOT, refused, run, start, status_of, wait_until

PATCHED, BASELINE = "build/qemu/patched", "build/qemu/baseline"
MAKE_BRIDGE, KILL = "scripts/make-bridge.sh", "scripts/kill-vnc-ports.sh"
IS_ROOT = os.geteuid() == 0
# A network namespace of its own, in which we are root.
IN_NAMESPACE = ["unshare", "-n" if IS_ROOT else "-rn"]
# VMs that boot on a loaded machine.
PATIENCE = 600


@pytest.fixture(scope="module")
def built() -> None:
    """What the VMs need."""
    run("scripts/build-sim.sh", "regs")
    run("scripts/build-guest.sh", "--out", "build/guest-plain")


@pytest.fixture(autouse=True)
def places(work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where VMs note what they are: what ours leave there is ours, and that is nothing."""
    for name in "NPU_COSIM_PORT", "BRIDGE", "COSIM_MAC", "COSIM_PLAIN_MAC":
        monkeypatch.delenv(name, raising=False)
    for name, folder in {"XDG_RUNTIME_DIR": "run", "TMPDIR": "sockets",
                         "XDG_STATE_HOME": "state"}.items():
        (work / folder).mkdir(mode=0o700, exist_ok=True)
        monkeypatch.setenv(name, str(work / folder))
    yield
    assert left(work) == []


def left(work: Path) -> list[Path]:
    """What is left behind."""
    return [file for folder in ("run", "sockets") for file in (work / folder).rglob("*")
            if not file.is_dir()]


def noted(work: Path) -> list[int]:
    """The processes that were noted in the folder, one a line."""
    files = (work / "run").glob("accelerator-cosim-*/*")
    return [int(file.read_text().split()[0]) for file in files if file.read_text().strip()]


def all_gone(*pids: int) -> None:
    """Waits until they are."""
    wait_until("all are gone", lambda: all(map(is_over, pids)), 10)


@pytest.fixture
def cosim(built: None, pytestconfig: pytest.Config) -> list[str]:
    """The command that runs both VMs."""
    del built
    given = pytestconfig.getoption("--qemu")
    plain = pytestconfig.getoption("--plain-qemu") or given or BASELINE
    return ["scripts/run-cosim.sh", "--sim", "build/sim/regs/regs", "--qemu", given or PATCHED,
            "--plain-qemu", plain, "--guest", "build/guest-plain"]


@pytest.fixture
def both(cosim: list[str], work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Both VMs without a test, and the simulator, which run."""
    log = work / "cosim.log"
    process = start(*cosim, "--console", "none", "--logs", work / "logs", out=log)
    try:
        wait_until("the VMs run", lambda: len(noted(work)) == 3
                   and "both VMs run" in log.read_text(errors="replace"), PATIENCE,
                   is_over=lambda: process.poll() is not None)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        print(log.read_text(errors="replace"))


def test_session(work: Path) -> None:
    """The settings that terminals share."""
    first = run("bash", "-c", ". scripts/sourceme.sh", env={"HOME": work})
    assert re.search("NPU_COSIM_PORT=.*BRIDGE=.*COSIM_MAC=52:54:00:.*COSIM_PLAIN_MAC=", first,
                     re.S)
    run("bash", "-c", ". scripts/sourceme.sh",
        env={"NPU_COSIM_PORT": "1234", "BRIDGE": "a b$(touch x)"})
    second = run("bash", "-c", ". scripts/saved_session.sh >/dev/null; "
                 'echo "$NPU_COSIM_PORT/$BRIDGE/$COSIM_MAC"')
    assert second.startswith("1234/a b$(touch x)/52:54:00:")
    assert not (ROOT / "x").exists()
    assert status_of("bash", "scripts/sourceme.sh")[0] != 0


IN_BRIDGE = """
set -e
make=scripts/make-bridge.sh
$make --bridge brt --address 10.77.0.254/24
before=$(ip -o link show | sed "s/ state .*//")
$make --bridge brt --address 10.77.0.254/24
[[ $(ip -o link show | sed "s/ state .*//") == "$before" ]]
[[ $(ip -o link show master brt | wc -l) == 2 ]]
ip link add other type bridge
if $make --bridge other --remove; then echo "a bridge of others was removed"; exit 1; fi
ip link show dev other >/dev/null
$make --bridge brt --remove
$make --bridge brt --remove
[[ $(ip -o link show | grep -c brt) == 0 ]]
"""


def test_make_bridge() -> None:
    """A bridge and taps, which are made once, and nobody else's is removed."""
    run(*IN_NAMESPACE, "bash", "-c", IN_BRIDGE)
    # Without the right.
    ordinary = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    refused("needs root", *(ordinary if IS_ROOT else []), MAKE_BRIDGE, "--bridge", "brt")


def test_pair(cosim: list[str]) -> None:
    """By a socket."""
    run(*cosim, "--test", "net", "--nic", "e1000")


WITH_BRIDGE = """
set -e
scripts/make-bridge.sh --bridge brt
"$@" --network bridge --bridge brt
scripts/make-bridge.sh --bridge brt --remove
"""


def test_bridge(cosim: list[str]) -> None:
    """By a bridge."""
    refused("make-bridge.sh", *cosim, "--network", "bridge", "--bridge", "nobridge", "--test",
            "ping")
    said = run(*IN_NAMESPACE, "bash", "-c", WITH_BRIDGE, "bash", *cosim, "--test", "ping", "--nic",
               "virtio-net-pci", "--mac", "52:54:00:aa:bb:01", "--plain-mac", "52:54:00:aa:bb:02")
    assert "52:54:00:aa:bb:01 driver virtio_net" in said


def test_interrupt(both: subprocess.Popen[bytes], work: Path) -> None:
    """Ctrl-C."""
    pids = noted(work)
    both.send_signal(signal.SIGINT)
    all_gone(both.pid, *pids)
    assert left(work) == []


def test_kill_ports(both: subprocess.Popen[bytes], work: Path) -> None:
    """What is left is ended, and nobody else."""
    pids = noted(work)
    # A process of somebody else that has the number of one of ours.
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        (folder,) = (work / "run").glob("accelerator-cosim-*")
        (folder / f"{stranger.pid}").write_text(f"{stranger.pid} 1 the accel VM\n")
        assert run(KILL, "--list").splitlines()[-1].endswith("3 found")
        run(KILL)
        all_gone(*pids, both.pid)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert "0 found" in run(KILL)
    assert left(work) == []
