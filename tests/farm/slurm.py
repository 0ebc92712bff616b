# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Slurm with a controller and two nodes, all on this machine and all by the user who runs it.

Nothing of it is installed but its programs: its settings, keys, sockets and states are in a folder
of its own, and its processes end with us, whichever way."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from accelerator_cosim._loop import LoopThread
from accelerator_cosim._supervisor import Process, Supervisor

#: The Debian packages that have it.
PACKAGES = "munge slurm-client slurmctld slurmd"
NODES = ("n0", "n1")
PATIENCE = 60.0

SETTINGS = """\
ClusterName=accelerator
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
# Short, so that what is lost is noticed in a test.
SlurmdTimeout=5
KillWait=5
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=120 State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not found:
        raise FileNotFoundError(f"{name} is not there; Debian has it in one of: {PACKAGES}")
    return found


class Cluster:
    """Slurm at work."""

    def __init__(self) -> None:
        self._loop = LoopThread()
        folder = Path(tempfile.gettempdir())
        self._supervisor = Supervisor(self._loop, folder / f"slurm-{os.getpid()}.log")
        (folder / f"slurm-{os.getpid()}.log").unlink()
        # It has a socket, whose path is short.
        self.folder = self._supervisor.make_folder(f"{folder}/slurm.")
        self.folder.chmod(0o755)
        self._daemons: dict[str, Process] = {}
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        user = pwd.getpwuid(os.getuid()).pw_name
        (self.folder / "slurm.conf").write_text(SETTINGS.format(
            folder=self.folder, host=socket.gethostname().split(".")[0], user=user, nodes=NODES,
            ports=free_ports(3)))
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))

    def start(self) -> None:
        at = self.folder
        self._start("munged", "--foreground", f"--key-file={at}/munge.key",
                    f"--socket={at}/munge.socket", f"--pid-file={at}/munged.pid",
                    f"--log-file={at}/munged.log", f"--seed-file={at}/munged.seed")
        self._wait((at / "munge.socket").exists, "munged has its socket")
        self._start("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._start("slurmd", "-D", "-N", node, name=node)
        self._wait(lambda: self.state_of(node) in ("idle", "mixed", "allocated"),
                   f"node {node} is there")

    def state_of(self, node: str) -> str:
        return self.command("sinfo", "--noheader", f"--nodes={node}", "--format=%T",
                            check=False).strip()

    def _start(self, daemon: str, *words: str, name: str = "") -> None:
        self._daemons[name or daemon] = self._supervisor.start(
            name or daemon, [program(daemon), *words], cwd=self.folder, env=self.environment,
            log=self.folder / f"{name or daemon}.out")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            for name, process in self._daemons.items():
                assert process.running, f"{name} has ended {process.last_words()}"
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s\n" + "".join(
                process.last_words() for process in self._daemons.values())
            time.sleep(0.2)

    def command(self, *words: str, check: bool = True) -> str:
        result = subprocess.run(words, env=self.environment, capture_output=True, text=True,
                                check=False, timeout=PATIENCE)
        assert not check or result.returncode == 0, result.stderr
        return result.stdout

    def queue(self) -> dict[str, tuple[str, str]]:
        """State and node of the jobs that have not ended, by their number in the array."""
        lines = self.command("squeue", "--array", "--noheader", "--format=%K|%T|%N").splitlines()
        return {number: (state, node) for number, state, node in
                (line.split("|") for line in lines)}

    def array(self) -> str:
        """Number of the array that is there."""
        return self.command("squeue", "--noheader", "--format=%F").split()[0]

    def wait_queue_empty(self, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while queue := self.queue():
            assert time.monotonic() < deadline, queue
            time.sleep(0.5)

    def lose(self, node: str) -> None:
        """Kills everything on a node, as if its power was gone."""
        victims = {self._daemons.pop(node).pid}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "environ").read_bytes().split(b"\0")
                if not {f"SLURM_CONF={self.folder}/slurm.conf".encode(),
                        f"SLURMD_NODENAME={node}".encode()} <= set(words):
                    continue
                victims.add(int(folder.name))
                # What watches over a job does not have its environment.
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if (Path("/proc") / str(parent) / "comm").read_text() == "slurmstepd\n":
                    victims.add(parent)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self._supervisor.close()
        self._loop.close()
