# SPDX-License-Identifier: MIT OR Apache-2.0
"""The packages of scripts/package.sh in a fresh, minimal Debian that has none of the build
tools."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from shell import ROOT, Word, run

OUT = ROOT / "build/test-package"
Test = TypeVar("Test", bound=Callable[..., None])
# Releases of Debian, from the oldest on.
RELEASES = ["bookworm", "trixie"]
# Seconds that the demo may take.
LIMIT = 60
BUILD_TOOLS = re.compile(
    r"((gcc|g\+\+|cpp|clang)(-[0-9]+)?|make|cmake|ninja-build|binutils|build-essential|rustc|cargo"
    r"|verilator|git|python3-pip|lib.*-dev)")


def build_tools(names: list[str]) -> list[str]:
    """Which of these packages are some."""
    return [name for name in names if BUILD_TOOLS.fullmatch(name)]


def here() -> str:
    """The release that this is: what was built here need not run on an older one."""
    found = re.search("^VERSION_CODENAME=(.*)$", Path("/etc/os-release").read_text(), re.M)
    return found[1] if found else ""


def unless_older(release: str) -> Callable[[Test], Test]:
    """One that is older than this one is tested by name alone."""
    if RELEASES.index(release) < RELEASES.index(here()):
        return pytest.mark.by_name
    return lambda test: test


class Packages:
    """What scripts/package.sh makes; made anew, or of the last run."""

    def __init__(self, qemu: str | None) -> None:
        assert os.geteuid() == 0, "root is needed to make a Debian and to change into it"
        self.command: list[Word] = ["scripts/package.sh", *(["--qemu", qemu] if qemu else [])]
        self.folder = OUT / "packages"
        self.version = run("scripts/package.sh", "--print-version").strip()
        self.architecture = run("dpkg", "--print-architecture").strip()
        self.deb = self.folder / f"accelerator-cosim_{self.version}_{self.architecture}.deb"
        self.wheel = self.folder / f"accelerator_cosim-{self.version}-py3-none-any.whl"

    def make(self, *what: str, out: Path | None = None) -> None:
        """Makes some."""
        run(*self.command, "--out", out or self.folder, *what)


@pytest.fixture(scope="session")
def packages(request: pytest.FixtureRequest) -> Packages:
    """The .deb, which depends on no build tool, and the wheel: made anew where that is tested, else
    those of the last run if they are there."""
    made = Packages(request.config.getoption("--qemu"))
    if any(item.name == "test_same" for item in request.session.items):
        shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    if not (made.deb.is_file() and made.wheel.is_file()):
        made.make("deb", "wheel")
    fields = run("dpkg-deb", "--field", made.deb, "Depends", "Recommends")
    assert build_tools(re.findall(r"[a-z0-9][a-z0-9.+-]+", fields)) == []
    return made


@pytest.fixture
def roots() -> Iterator[Path]:
    """A folder for systems."""
    with tempfile.TemporaryDirectory(dir=OUT, prefix="roots.", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        subprocess.run(["rm", "-rf", "--one-file-system", *folder.iterdir()], check=True)


def test_same(packages: Packages) -> None:
    """They are the same, byte by byte, when they are made again."""
    packages.make("deb", "wheel", out=OUT / "again")
    for file in packages.deb, packages.wheel:
        assert filecmp.cmp(file, OUT / "again" / file.name, shallow=False), file.name
    shutil.rmtree(OUT / "again")


def test_wheel(packages: Packages, tmp_path: Path) -> None:
    """Tests of a driver with the wheel and the QEMU of the .deb, where there is no checkout: all
    but those that build RTL."""
    unpacked, wheel, tests = tmp_path / "unpacked", tmp_path / "wheel", tmp_path / "tests"
    run("dpkg-deb", "--extract", packages.deb, unpacked)
    tests.mkdir()
    shutil.copy(ROOT / "examples/driver-tests/test_sort.py", tests)
    run(Path(sys.executable).parent / "pip", "--disable-pip-version-check", "install", "--no-deps",
        "--target", wheel, packages.wheel)
    said = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".",
               "--cosim-runs", OUT / "runs", "-k", "not whatever_the_width", "test_sort.py",
               cwd=tests, env={"PYTHONPATH": wheel,
                               "ACCELERATOR_ROOT": unpacked / "opt/accelerator-cosim"})
    assert re.search("^[0-9]+ passed", said, re.M)


# ---- in a fresh Debian -----------------------------------------------------------------

# In namespaces of its own, whose processes end with it.
INSIDE = """
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev/shm"
mount -t devpts -o ptmxmode=666 devpts "$1/dev/pts"
exec chroot "$@"
"""
# For the Python package.
HARNESS = """
from accelerator_cosim import Run
with Run(seed=1) as run:
    simulator = run.simulate('sort')
    guest = run.boot(cards=[simulator])
    guest.load_module('accel_sort')
    print(guest.run('accel-sort --blocks 4 --seed 1').stdout)
    guest.shut_down()
    simulator.end()
"""


class Debian:
    """One in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, release: str) -> None:
        """A minimal one of a release, with a user."""
        mirror = run("bash", "-c", ". scripts/lib.sh; debian_mirror").strip()
        assert mirror, "apt here knows no mirror of Debian"
        # What apt was told here, for instance of mirrors that are frozen.
        told = [f"--aptopt={line}" for line in run("apt-config", "dump").splitlines() if re.match(
            "Acquire::(Check-Valid-Until|http::Proxy|https::Proxy) ", line)]
        run("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", *told, release,
            self.root, mirror)
        run("chroot", self.root, "useradd", "--create-home", "user")

    def inside(self, *command: Word) -> str:
        """What a command says there."""
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", INSIDE,
                   "sh", self.root, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb",
                   "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *command)

    def as_user(self, *command: Word, name: str = "user") -> str:
        """The same by an ordinary user."""
        return self.inside("runuser", "-u", name, "--", "env", f"HOME=/home/{name}", *command)

    def build_tools(self) -> list[str]:
        """Those that are installed."""
        return build_tools(self.inside("dpkg-query", "--show", "--showformat",
                                       "${Package}\\n").split())


def installed_in(release: str, packages: Packages, roots: Path,
                 capfd: pytest.CaptureFixture[str]) -> None:
    """apt installs the .deb in a minimal Debian, accelerator-demo passes as an ordinary user in
    less than a minute, a record of it has a page and is replayed, a script of the Python package
    runs, nothing is left when the package is removed."""
    debian = Debian(roots / release)
    debian.make(release)
    assert debian.build_tools() == []
    shutil.copy(packages.deb, debian.root / "tmp")
    debian.inside("apt-get", "-q", "update")

    begin = time.monotonic()
    debian.inside("apt-get", "-q", "-y", "install", f"/tmp/{packages.deb.name}")
    installed = time.monotonic()
    said = debian.as_user("accelerator-demo", "--seed", "1")
    passed = time.monotonic()
    assert said.splitlines()[-1] == "PASS"
    assert re.search("^ *blocks counted by device +64$", said, re.M)
    with capfd.disabled():
        print(f"\nDebian {release}: apt install {installed - begin:.3f} s, accelerator-demo "
              f"{passed - installed:.3f} s, from apt install to PASS {passed - begin:.3f} s")
    assert passed - installed < LIMIT
    # The .deb has brought none.
    assert debian.build_tools() == []

    assert "ACCEL result=PASS" in debian.as_user("python3", "-c", HARNESS)
    # A record of a run, what is made of it, and the run again without QEMU.
    debian.as_user("accelerator-demo", "--seed", "1", "--blocks", "4", "--record",
                   "/home/user/record", "--contents", "--report", "/home/user/page.html")
    debian.as_user("accelerator-trace", "summary", "/home/user/record")
    debian.as_user("accelerator-replay", "/home/user/record", "--registers",
                   "/opt/accelerator-cosim/hdl/examples/sort/registers.toml", "--",
                   "/opt/accelerator-cosim/simulations/sort")
    page = debian.root / "home/user/page.html"
    assert "plotly.js v" in page.read_text(errors="replace")
    debian.as_user("accelerator-qemu-system-x86_64", "-device", "accelerator-pcie,help")

    debian.inside("apt-get", "-q", "-y", "purge", "accelerator-cosim")
    out = [word for name in ("home", "tmp", "var")
           for word in ("-path", debian.root / name, "-o")][:-1]
    assert run("find", debian.root, "(", *out, ")", "-prune", "-o", "-iname", "*accelerator*",
               "-print") == ""


@unless_older("bookworm")
def test_bookworm(packages: Packages, roots: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Debian 12."""
    installed_in("bookworm", packages, roots, capfd)


@unless_older("trixie")
def test_trixie(packages: Packages, roots: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Debian 13."""
    installed_in("trixie", packages, roots, capfd)


# ---- the image -------------------------------------------------------------------------

def test_image(packages: Packages, roots: Path) -> None:
    """skopeo reads the OCI image, umoci unpacks it, its demo passes, as its configuration says."""
    packages.make("oci")
    image = packages.deb.with_name(f"{packages.deb.stem}.oci.tar")
    assert run("skopeo", "inspect", f"oci-archive:{image}", "--format",
               "{{.Os}} {{.Architecture}} {{len .Layers}}").strip() == (
                   f"linux {packages.architecture} 1")
    layout = f"{roots}/layout:{packages.version}"
    run("skopeo", "--insecure-policy", "copy", f"oci-archive:{image}", f"oci:{layout}")
    run("umoci", "unpack", "--image", layout, roots / "image")
    process = json.loads((roots / "image/config.json").read_text())["process"]
    assert (process["user"]["uid"], process["args"]) == (1000, ["accelerator-demo"])
    said = Debian(roots / "image/rootfs").as_user("accelerator-demo", "--seed", "1", name="cosim")
    assert said.splitlines()[-1] == "PASS"
