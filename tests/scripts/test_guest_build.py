# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/build-guest.sh takes and refuses, and how it finds packages, scripts/guest_build. A
guest itself is the suites that boot one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from shell import ROOT, refused, run, script

from builds.commands import Log
from builds.debian import KEYRING
from guest_build.apt import Apt, foreign_sources, package_file, policy
from guest_build.architecture import AARCH64, X86_64
from guest_build.compilers import install, wanted_gcc
from guest_build.distribution import Distribution, module_name, move_headers, pick_modules
from guest_build.initramfs import below
from guest_build.libraries import check_program, needed
from guest_build.packages import Packages, resolve

BUILD = ROOT / "scripts/build-guest.sh"


@pytest.mark.parametrize(("words", "told"), [
    (["--none"], "unknown option --none; see --help"),
    (["word"], "unknown option word; see --help"),
    (["--kernel"], "--kernel needs a value; see --help"),
    (["--arch", "riscv64"], "--arch is riscv64, expected x86_64 or aarch64"),
    (["--module", "/usr/bin"], "/usr/bin has neither a Kbuild file nor a Makefile"),
    (["--program", "/none"], "the program /none is not there"),
    (["--run", "/none"], "the script /none is not there"),
])
def test_refused(words: list[str], told: str, tmp_path: Path) -> None:
    """What it does not take."""
    refused(f"[build-guest.sh] error: {told}\n", BUILD, *words, status=1,
            env={"ACCELERATOR_CACHE": tmp_path})


def test_help(tmp_path: Path) -> None:
    """It does nothing else, wherever it is called."""
    said = run(BUILD, "--help", "--none", cwd=tmp_path, env={"ACCELERATOR_CACHE": "/dev/null"})
    assert said.startswith("usage: scripts/build-guest.sh [option...]\n")
    assert "vfio-pci vfio_iommu_type1" in said


# What depends on what, where the kernel of Debian for arm64 is to be had.
NEEDS = {
    "linux-image-arm64": ["linux-image-6.1.0-9-arm64"],
    "linux-image-amd64": ["linux-base", "linux-image-6.1.0-9-amd64"],
    "linux-image-generic": ["linux-image-6.8.0-9-generic"],
    "linux-headers-6.1.0-9-arm64": ["linux-headers-6.1.0-9-common", "linux-kbuild-6.1"],
    "linux-headers-6.1.0-9-amd64": ["linux-headers-6.1.0-9-common", "linux-kbuild-6.1",
                                    "linux-compiler-gcc-12-x86"],
    "linux-headers-6.1.0-9-common": ["linux-headers-6.1.0-9-common"],
    "linux-headers-6.8.0-9-generic": [],
    "linux-kbuild-6.1": ["libc6", "libelf1", "zlib1g", "dash"],
    "linux-kbuild-6.1:amd64": ["libc6:amd64", "libssl3:amd64", "pahole:amd64", "dash:amd64"],
    "pciutils": ["libc6", "libpci3", "libkmod2", "zlib1g", "dpkg", "<libc:any>"],
}


class FakeApt(Apt):
    """It has these packages."""

    def __init__(self, needs: Mapping[str, Sequence[str]], unknown: Sequence[str] = ()) -> None:
        super().__init__()
        self.needs, self.unknown = needs, unknown

    def depends(self, *words: str) -> list[str]:
        return [each for word in words for each in self.needs.get(word, [])]

    def candidates(self, *names: str) -> dict[str, str]:
        return {name: "(none)" if name in self.unknown or name.startswith("linux-modules")
                else "1:2.0" for name in names}


def test_packages(tmp_path: Path) -> None:
    """Those of a guest, in order, for this machine and for another one."""
    log = Log(tmp_path / "log")
    here = resolve(FakeApt(NEEDS), X86_64, "", log)
    assert (here.kernel, here.release) == ("linux-image-6.1.0-9-amd64", "6.1.0-9-amd64")
    assert here.names == [
        "linux-image-6.1.0-9-amd64", "linux-headers-6.1.0-9-amd64", "linux-headers-6.1.0-9-common",
        "linux-kbuild-6.1", "busybox-static", "pci.ids", "pciutils", "libpci3", "ethtool",
        "libmnl0"]
    assert here.libraries == ["libc6", "libelf1", "zlib1g"]
    assert here.sources.startswith("linux-image-6.1.0-9-amd64=1:2.0 linux-headers-")
    assert here.sources.endswith(" libmnl0=1:2.0 ")
    foreign = resolve(FakeApt(NEEDS), AARCH64, "", log)
    assert foreign.names[3:] == ["linux-kbuild-6.1:amd64", "busybox-static", "pci.ids", "pciutils",
                                 "libpci3", "ethtool", "libmnl0", "libc6", "libkmod2", "zlib1g"]
    assert foreign.libraries == ["libc6", "libssl3", "pahole"]
    foreign.write(tmp_path / "kept")
    assert Packages.read(tmp_path / "kept") == foreign
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_kernels(tmp_path: Path) -> None:
    """Another kernel, or none."""
    log = Log(tmp_path / "log")
    other = resolve(FakeApt(NEEDS), X86_64, "linux-image-unsigned-6.8.0-9-generic", log)
    assert other.release == "6.8.0-9-generic"
    apt = FakeApt(NEEDS, ["linux-image-6.1.0-9-amd64"])
    assert resolve(apt, X86_64, "", log).kernel == "linux-image-6.8.0-9-generic"
    with pytest.raises(SystemExit, match="package linux-none is not to be had"):
        resolve(FakeApt(NEEDS, ["linux-none"]), X86_64, "linux-none", log)
    with pytest.raises(SystemExit, match="looked for linux-image-amd64 linux-image-generic"):
        resolve(FakeApt({}), X86_64, "", log)
    with pytest.raises(SystemExit, match="package ethtool is not to be had"):
        resolve(FakeApt(NEEDS, ["ethtool"]), X86_64, "", log)


def test_policy() -> None:
    """What apt-cache says of candidates."""
    assert policy(["one:", "  Installed: (none)", "  Candidate: 1:2.0-3", "  Version table:",
                   "two:amd64:", "  Candidate: (none)"]) == {
        "one": "1:2.0-3", "two:amd64": "(none)"}


def test_foreign_sources() -> None:
    """The mirrors of Debian that are there, each once."""
    line = "Debian http://deb.debian.org/debian/ bookworm main"
    said = foreign_sources([line, line, "Debian http://deb.debian.org/debian/ bookworm contrib",
                            "Other http://example.org/ stable main", ""])
    assert said == (f"deb [arch=arm64,amd64 signed-by={KEYRING}] http://deb.debian.org/debian/ "
                    "bookworm main\n")


def test_package_file(tmp_path: Path) -> None:
    """That of a version, whatever its architecture."""
    (tmp_path / "libpci3_1%3a3.9.0-4_amd64.deb").write_text("")
    (tmp_path / "libpci3_1%3a3.9.0-4_amd64.deb.part").write_text("")
    found = package_file(tmp_path, "libpci3:amd64", "1:3.9.0-4")
    assert found == tmp_path / "libpci3_1%3a3.9.0-4_amd64.deb"
    assert package_file(tmp_path, "libpci3", "1:3.9.0-40") is None
    assert package_file(tmp_path, "libpci", "1:3.9.0-4") is None


@pytest.mark.parametrize(("config", "gcc"), [
    ("CONFIG_A=y\nCONFIG_GCC_VERSION=120200\n", "12"), ("CONFIG_GCC_VERSION=0\n", ""), ("", "")])
def test_wanted_gcc(config: str, gcc: str) -> None:
    """Which compiler a kernel names."""
    assert wanted_gcc(config) == gcc


def test_needed() -> None:
    """Libraries and the loader, of what readelf says."""
    assert needed(["      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]",
                   " 0x0000000000000001 (NEEDED)  Shared library: [libpci.so.3]",
                   " 0x000000000000000e (SONAME)  Library soname: [libx.so.1]"]) == [
        "ld-linux-aarch64.so.1", "libpci.so.3"]


def test_program(tmp_path: Path) -> None:
    """Programs that a guest cannot run are refused."""
    check_program(script(tmp_path / "script", "#!/bin/sh\n"), X86_64)
    python = Path(sys.executable).resolve()
    with pytest.raises(SystemExit, match="is linked dynamically"):
        check_program(python, X86_64)
    with pytest.raises(SystemExit, match="is not for aarch64, which the guest is"):
        check_program(python, AARCH64)
    (tmp_path / "text").write_text("text")
    with pytest.raises(SystemExit, match="neither an ELF file nor a script"):
        check_program(tmp_path / "text", X86_64)


def test_install(tmp_path: Path) -> None:
    """What a link leads to is left alone."""
    (tmp_path / "busybox").write_text("all")
    (tmp_path / "lspci").symlink_to("busybox")
    (tmp_path / "new").write_text("lspci")
    install(tmp_path / "new", tmp_path / "lspci")
    assert (tmp_path / "busybox").read_text() == "all"
    assert (tmp_path / "lspci").read_text() == "lspci"
    assert (tmp_path / "lspci").stat().st_mode & 0o777 == 0o755


def test_modules(tmp_path: Path, capfd: pytest.CaptureFixture[str],
                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are taken with what they need, and uncompressed; one that is built in is no
    warning."""
    assert module_name("kernel/net/virtio-net.ko.xz") == "virtio_net"
    script(tmp_path / "modinfo",
           '#!/bin/sh\ncase $3 in *virtio_net.ko) echo net-failover ;; esac\n')
    script(tmp_path / "depmod", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    there = tmp_path / "all/lib/modules/6.1"
    for name in ("virtio_net.ko", "net-failover.ko", "vfio-pci.ko", "other.ko"):
        file = there / "kernel/drivers" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    run("gzip", there / "kernel/drivers/net-failover.ko")
    (there / "modules.builtin").write_text("kernel/drivers/virtio/virtio_pci.ko\n")
    made = Distribution(tmp_path / "root", "6.1")
    made.folder.mkdir()
    pick_modules(made, tmp_path / "all", Log(tmp_path / "log"))
    to = made.folder / "lib/modules/6.1"
    assert sorted(str(file.relative_to(to)) for file in to.rglob("*.ko")) == [
        f"kernel/drivers/{name}.ko" for name in ("net-failover", "vfio-pci", "virtio_net")]
    assert (to / "kernel/drivers/net-failover.ko").read_text() == "net-failover.ko"
    warned = [line.partition(" no module ")[2].partition(":")[0]
              for line in capfd.readouterr().err.splitlines()]
    assert warned == ["vfio_iommu_type1", "virtio_console", "e1000"]
    (there / "kernel/drivers/e1000.ko.lz").write_text("")
    (there / "kernel/drivers/e1000.ko.gq").write_text("")
    with pytest.raises(SystemExit, match="compressed in a way that is not known here"):
        pick_modules(made, tmp_path / "all", Log(tmp_path / "log"))


def test_headers(tmp_path: Path) -> None:
    """They refer to each other where they are now."""
    made = Distribution(tmp_path, "6.1-amd64")
    made.headers.mkdir(parents=True)
    script(made.headers / ".make", "include /usr/src/linux-headers-6.1-common/Makefile\n")
    (made.headers / "include").mkdir()
    move_headers(made)
    text = (made.headers / ".make").read_text()
    assert text == f"include {tmp_path}/usr/src/linux-headers-6.1-common/Makefile\n"
    assert (made.headers / ".make").stat().st_mode & 0o777 == 0o755


def test_below(tmp_path: Path) -> None:
    """As find lists a folder, with links and what is empty."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_text("")
    (tmp_path / "link").symlink_to("a")
    wanted = run("find", ".", cwd=tmp_path).encode().splitlines()
    assert sorted(below(tmp_path)) == sorted(wanted)
