# SPDX-License-Identifier: MIT OR Apache-2.0
"""Packs tests and all that they need into one file, to be run where nothing is built.

    run                   the program of a job; _job.py
    bundle.json           which tests, and how pytest is called
    tests/                the files of the tests, in the place of pytest's root folder
    python/               this package, pytest and what both import
    bin/, libexec/, lib/  QEMU, and the shared libraries that a minimal Debian lacks
    share/                its firmware
    simulations/, guests/ by the keys of what they are built of

Nothing in it knows where it lies, and nothing in it is written to.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .errors import BundleError
from .pytest_plugin import find_workspace, guest_of, qemu_of, settings_of, simulation_of
from .session import Run, Session
from .workspace import VERILATOR, GuestSpec, SimulationSpec, Workspace

#: What the format of bundle.json is called; a job refuses another one.
FORMAT = 1
DISTRIBUTION = "accelerator-cosim"
#: Of the C library: every Linux that runs programs for it has them, and they fit its loader only.
BASE_LIBRARIES = re.compile(
    r"^(ld-linux.*|lib(c|m|mvec|dl|pthread|rt|resolv|util|anl|nsl|BrokenLocale|nss_.*)\.so.*"
    r"|linux-vdso.*)")
# What is no part of a test.
IGNORED = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")

RUN = """\
#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
import os
import sys

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed, and %s is %s" % (sys.executable, sys.version))
here = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(here, "python"))
from accelerator_cosim._job import main  # noqa: E402

main(here)
"""
# The loader finds what is beside it, wherever that is.
WRAPPER = """\
#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
top=$(cd "$(dirname "$0")/{up}" && pwd)
LD_LIBRARY_PATH=$top/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} exec "$top/{program}" "$@"
"""


class Collector:
    """A plugin that keeps what pytest has collected."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []
        self.config: pytest.Config

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)
        self.config = session.config


def make_bundle(
    out: Path, tests: Sequence[str], *, options: Sequence[str] = (),
    include: Sequence[Path] = (), packages: Sequence[str] = (),
) -> int:
    """Builds what the tests need and packs it into `out`, a .tar.gz. Returns the number of tests.

    `options` are for pytest, here and in the jobs; `include` are further files and folders of the
    tests, `packages` further distributions of Python that they import.
    """
    collector = Collector()
    # We are imported already, which pytest warns of.
    quiet = ["-qq", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    status = pytest.main(["--collect-only", *quiet, *options, *tests], plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise BundleError(f"pytest cannot collect the tests: status {int(status)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as folder:
        root = Path(folder) / "root"
        packing = Packing(root, collector)
        packing.add_tests(include)
        packing.add_python(packages)
        packing.add_programs()
        packing.write_manifest(options)
        unfinished = Path(folder) / "bundle.tar.gz"
        write_tar(root, unfinished)
        unfinished.replace(out)
    return len(collector.items)


class Packing:
    """A bundle that comes about."""

    def __init__(self, root: Path, collected: Collector) -> None:
        self.root = root
        self.config = collected.config
        self.items = collected.items
        #: Those that start something.
        self.cosim_items = [item for item in self.items
                            if "cosim" in getattr(item, "fixturenames", ())]
        #: Pytest's root folder, where the identifiers of tests begin.
        self.base = self.config.rootpath
        self.paths: list[str] = []
        self._libraries: set[Path] = set()
        root.mkdir()

    # ---- tests ----

    def add_tests(self, include: Sequence[Path]) -> None:
        """The files that were named, what they find beside them, and pytest's settings."""
        for argument in self.config.args:
            name, *rest = argument.split("::", 1)
            path = (self.config.invocation_params.dir / name).resolve()
            inside = self._inside(path)
            self.paths.append("::".join([str(inside), *rest]))
            self._copy(path)
            folder = path if path.is_dir() else path.parent
            if path.is_file():
                for helper in folder.glob("*.py"):
                    self._copy(helper)
            while folder != self.base.resolve():
                folder = folder.parent
                for name in ("conftest.py", "__init__.py"):
                    if (folder / name).is_file():
                        self._copy(folder / name)
        for path in include:
            self._copy(path.resolve())
        for item in self.items:
            program = settings_of(item).program
            if program is not None:
                self._copy((item.path.parent / program).resolve())
        settings = self.config.inipath
        if settings is None:
            # Or pytest would look for one above the bundle.
            (self.root / "tests/pytest.ini").write_text("[pytest]\n")
        else:
            shutil.copyfile(settings, self.root / "tests" / settings.name)

    def _inside(self, path: Path) -> Path:
        try:
            return path.relative_to(self.base.resolve())
        except ValueError:
            raise BundleError(f"{path} is not below {self.base}, which is pytest's root folder: "
                              "name another one with -- --rootdir DIR") from None

    def _copy(self, path: Path) -> None:
        target = self.root / "tests" / self._inside(path)
        if path.is_dir():
            shutil.copytree(path, target, ignore=IGNORED, dirs_exist_ok=True)
        elif path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        else:
            raise BundleError(f"{path} is not there")

    # ---- Python ----

    def add_python(self, packages: Sequence[str]) -> None:
        """This package and what it and the tests import, as they are installed here."""
        for name in closure([f"{DISTRIBUTION}[pytest]", *packages]):
            distribution = importlib.metadata.distribution(name)
            if name == DISTRIBUTION:
                # It may be installed as a link to its sources.
                shutil.copytree(Path(__file__).parent, self.root / "python/accelerator_cosim",
                                ignore=IGNORED, dirs_exist_ok=True)
            elif is_link(distribution):
                raise BundleError(f"{name} is installed as a link to its sources (pip install -e): "
                                  "install it as a copy")
            for file in distribution.files or ():
                if ".." in file.parts or "__pycache__" in file.parts or file.suffix == ".pth":
                    continue
                if file.suffix == ".so":
                    raise BundleError(f"{name} is not pure Python, it has {file}: a bundle runs "
                                      "with any Python from 3.11 on")
                target = self.root / "python" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(distribution.locate_file(file)), target)

    # ---- programs ----

    def add_programs(self) -> None:
        """QEMU, the simulations and the guests, built where they are not up to date."""
        if not self.cosim_items:
            return
        option = self.config.getoption
        root = option("--cosim-root")
        workspace = Workspace.at(Path(root)) if root else find_workspace(self.config)
        workspace.build = option("--cosim-build") == "auto"
        with Session(workspace) as session, session.run("bundle") as run:
            for simulation in self._simulations():
                program = Path(run.build(**vars(simulation)).command[0])
                self._add_program(program, f"simulations/{simulation.key(self.base)}", "program")
            for guest in dict.fromkeys(guest_of(item) for item in self.cosim_items):
                self._add_guest(run, guest)
            self._add_qemu(workspace)
        for library in sorted(self._libraries):
            target = self.root / "lib" / library.name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(library, target)
            strip(target)

    def _simulations(self) -> Iterable[SimulationSpec]:
        found: dict[str, SimulationSpec] = {}
        for item in self.cosim_items:
            if settings_of(item).simulator != VERILATOR:
                raise BundleError(f"{item.nodeid}: a bundle has simulations of Verilator, and none "
                                  f"of {settings_of(item).simulator}")
            callspec = getattr(item, "callspec", None)
            rtl = callspec.params.get("rtl_parameters", {}) if callspec else {}
            specs = [simulation_of(item, rtl)]
            for arguments in settings_of(item).simulations:
                values = dict(arguments)
                if values.get("files"):
                    values["files"] = (item.path.parent / values["files"]).resolve()
                specs.append(SimulationSpec(**values))
            found.update({spec.key(self.base): spec for spec in specs if spec})
        return found.values()

    def _add_program(self, program: Path, folder: str, name: str) -> None:
        """A program, in a wrapper if it needs libraries that we bring."""
        libraries = libraries_of(program)
        self._libraries |= libraries
        target = self.root / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if libraries:
            binary = self.root / "libexec" / Path(folder).name / name
            if folder == "bin":
                # QEMU finds its firmware from where it is itself.
                binary = self.root / "libexec" / name
            binary.parent.mkdir(parents=True, exist_ok=True)
            up = os.path.relpath(self.root, target.parent)
            target.write_text(WRAPPER.format(up=up, program=binary.relative_to(self.root)))
            target.chmod(0o755)
        else:
            binary = target
        shutil.copy2(program, binary)
        strip(binary)

    def _add_guest(self, run: Run, spec: GuestSpec) -> None:
        image = run.build_guest(**vars(spec))
        folder = self.root / "guests" / spec.key(self.base)
        folder.mkdir(parents=True)
        for path in (image.kernel, image.initramfs):
            shutil.copyfile(path, folder / path.name)

    def _add_qemu(self, workspace: Workspace) -> None:
        programs = {workspace.qemu(qemu_of(item)) for item in self.cosim_items}
        if len(programs) != 1:
            raise BundleError("a bundle has one QEMU, and the tests name several: "
                              + ", ".join(sorted(map(str, programs))))
        program = programs.pop()
        self._add_program(program, "bin", program.name)
        share = program.parent.parent / "share"
        if share.is_dir():
            shutil.copytree(share, self.root / "share")

    # ---- the whole ----

    def write_manifest(self, options: Sequence[str]) -> None:
        settings = self.config.inipath
        (self.root / "bundle.json").write_text(json.dumps({
            "format": FORMAT,
            "tests": [item.nodeid for item in self.items],
            "paths": self.paths,
            "settings": settings.name if settings else "pytest.ini",
            "options": list(options),
            "libc": libc_version(),
        }, indent=1) + "\n")
        run = self.root / "run"
        run.write_text(RUN)
        run.chmod(0o755)


def closure(requirements: Iterable[str]) -> list[str]:
    """Names of the distributions that these need, as they are installed here."""
    found: dict[str, set[str]] = {}
    wanted = [Requirement(requirement) for requirement in requirements]
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found and requirement.extras <= found[name]:
            continue
        found.setdefault(name, set()).update(requirement.extras)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            raise BundleError(f"{requirement} is not installed here, and the bundle needs it"
                              ) from None
        for need in map(Requirement, needs):
            extras = requirement.extras or {""}
            if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(need)
    return sorted(found)


def is_link(distribution: importlib.metadata.Distribution) -> bool:
    text = distribution.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def libraries_of(program: Path) -> set[Path]:
    """Shared libraries that a program is loaded with, but for those of the C library."""
    # A script has none, and is refused by ldd.
    result = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    found = set()
    for line in result.stdout.splitlines():
        name, _, rest = line.strip().partition(" ")
        if BASE_LIBRARIES.match(Path(name).name):
            continue
        if "not found" in rest:
            raise BundleError(f"{program} needs {name}, which is not here")
        path = re.search(r"=> (/\S+)", rest)
        if path:
            # By the name that it is asked for; what is in it may have another one.
            found.add(Path(path[1]))
    return found


def strip(program: Path) -> None:
    """Takes out what only a debugger needs, where there is a `strip` and it can."""
    program.chmod(program.stat().st_mode | 0o200)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["strip", "--strip-unneeded", str(program)], capture_output=True,
                       check=False)


def libc_version() -> str:
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")


def write_tar(root: Path, out: Path) -> None:
    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        # Whoever unpacks it: all can read it.
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(out, "w:gz", compresslevel=6) as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name, filter=plain)
