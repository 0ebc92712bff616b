# SPDX-License-Identifier: MIT OR Apache-2.0
"""Configures and compiles."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from builds import messages
from builds.cache import content_key
from builds.commands import started
from builds.messages import die, say
from qemu_build.build import Build, remade
from qemu_build.device import MARK
from qemu_build.options import Options

# Of the machines that a release can leave out only virt is of use here; the devices of all the
# others take minutes.
DEVICES = "accelerator-pcie"
STEP = re.compile(r"\[(\d+)/(\d+)\]")
# So few steps are over at once.
FEW_STEPS = 20
SHOWN_LINES = 200
STRUCTURED = re.compile(r"[^ ]*libaccelerator_pcie\.rlib\.p/structured/")


def flags(options: Options) -> list[str]:
    """What QEMU is configured with."""
    # Guests of another processor are not virtualised; configure refuses to.
    is_alike = options.target != "aarch64" or platform.machine() == "aarch64"
    found = [f"--target-list={options.target}-softmmu", "--disable-docs", "--disable-werror",
             "--disable-install-blobs", "--enable-tcg",
             "--enable-kvm" if is_alike else "--disable-kvm", "--disable-user", "--disable-tools",
             "--disable-guest-agent"]
    if options.full:
        found += ["--enable-vnc", "--enable-sdl", "--enable-gtk", "--enable-curses",
                  "--enable-spice", "--enable-slirp", "--enable-pixman", "--enable-opengl",
                  "--enable-usb-redir", "--enable-libusb", "--enable-pa", "--enable-alsa",
                  "--enable-virtfs", "--enable-linux-aio", "--enable-linux-io-uring"]
    else:
        found.append("--without-default-features")
    # Without it there is no -sandbox, which managers of VMs use.
    if options.target == "aarch64":
        found += ["--enable-fdt=system", "--enable-seccomp", f"--with-devices-aarch64={DEVICES}"]
    else:
        found += ["--disable-fdt", "--enable-seccomp"]
    found.append("--enable-debug" if options.debug else "--disable-debug-info")
    if options.asan:
        found += ["--enable-asan", "-Doptimization=1"]
    return found


def place_devices(source: Path, version: str) -> None:
    """Leaves out the machines that are of no use."""
    folder = source / "configs/devices"
    lines = [line for name in ("arm", "aarch64")
             for line in (folder / f"{name}-softmmu/default.mak").read_text().splitlines()]
    found = [each[1] for each in (re.fullmatch("#? *(CONFIG_[A-Z0-9_]+=n)", line)
                                  for line in lines) if each]
    left = [each for each in found if not re.search("_(VIRT|DEVICES)=n$", each)]
    if "CONFIG_RASPI=n" not in left:
        die(f"configs/devices of QEMU {version} does not list machines as it is known here")
    (folder / f"aarch64-softmmu/{DEVICES}.mak").write_text("".join(f"{each}\n" for each in left))


class Progress:
    """How far ninja is: on a terminal in one line, else every tenth."""

    def __init__(self) -> None:
        self.is_line = sys.stdout.isatty()
        self.shown = -1

    def see(self, line: str) -> None:
        """Shows what a line of ninja's tells."""
        found = STEP.match(line)
        if not found or int(found[2]) <= FEW_STEPS:
            return
        percent = int(found[1]) * 100 // int(found[2])
        if self.is_line:
            print(f"\r[{messages.script}] compiling: {percent:3d} % ({found[1]} of {found[2]})",
                  end="", flush=True)
        elif percent // 10 > self.shown // 10 or self.shown < 0:
            say(f"compiling: {percent} % ({found[1]} of {found[2]})")
        self.shown = percent

    def end(self) -> None:
        """Leaves the line."""
        if self.is_line and self.shown >= 0:
            print(flush=True)


def said_of(lines: Iterable[str], failed: bool) -> Iterator[str]:
    """What compilers said of files of ours, or when they failed, without the commands."""
    rest, is_on = iter(lines), False
    for line in rest:
        if STEP.match(line):
            is_on = not failed and "accelerator_pcie" in line
        elif failed and line.startswith("FAILED: "):
            is_on = True
            yield line
            next(rest, None)
        elif is_on:
            yield STRUCTURED.sub("qemu-rust-device/src/", line)


def run_ninja(build: Build, folder: Path, version: str) -> None:
    """Runs ninja."""
    target, lines, progress = build.options.emulator, list[str](), Progress()
    build.log.write(f"\n== ninja {target}\n")
    with build.log.file.open("ab") as log, started(
            "ninja", "-C", folder, "-j", build.options.jobs, target,
            env={"NINJA_STATUS": "[%f/%t] "}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as ninja:
        assert ninja.stdout is not None
        for said in ninja.stdout:
            log.write(said)
            log.flush()
            lines.append(said.decode(errors="surrogateescape").rstrip("\n"))
            progress.see(lines[-1])
    progress.end()
    failed = ninja.returncode != 0
    if failed:
        build.log.write("== ninja failed\n")
    for line in list(said_of(lines, failed))[:SHOWN_LINES]:
        print(line, file=sys.stderr)
    if failed:
        die(f"QEMU {version} does not compile; the whole log is {build.log.file}")


def configure(build: Build, flavour: str, version: str, source: Path, folder: Path, bindgen: str,
              toolchain: str) -> None:
    """Has a build tree that is configured for what is there now."""
    options = flags(build.options)
    options.append("--disable-rust" if flavour == "baseline" else "--enable-rust")
    mark, stamp = folder / MARK, content_key(f"source: {source}", *options, toolchain)
    if (folder / "build.ninja").is_file() and mark.is_file() and (
            mark.read_text().rstrip("\n") == stamp):
        return
    say(f"configuring QEMU {version} ({flavour})")
    remade(folder)
    if build.options.target == "aarch64":
        place_devices(source, version)
    build.log.run("configure", source / "configure", *options, cwd=folder,
                  env={"BINDGEN": bindgen})
    mark.write_text(f"{stamp}\n")


def compile_qemu(build: Build, flavour: str, version: str, source: Path, folder: Path) -> None:
    """Compiles it."""
    say(f"compiling QEMU {version} ({flavour})")
    run_ninja(build, folder, version)
    if build.options.target == "x86_64" and not (source / "pc-bios/kvmvapic.bin").is_file():
        compile_option_roms(build, source, folder / "option-roms")


def compile_option_roms(build: Build, source: Path, folder: Path) -> None:
    """QEMU's configure would have these compiled only where there is a 32-bit libgcc, which they do
    not use."""
    folder.mkdir(exist_ok=True)
    text = (source / "pc-bios/optionrom/Makefile").read_bytes()
    (folder / "Makefile").write_bytes(text)
    (folder / "config.mak").write_text(
        f"TOPSRC_DIR={source}\nCC=cc\nOBJCOPY=objcopy\nPYTHON=python3\nEXTRA_CFLAGS=-m32\n")
    build.log.run("option ROMs", "make", "-C", folder, "all")


