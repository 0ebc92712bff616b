# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/demo.sh says and does when something goes wrong, and its options for the VM."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shell import ROOT, run, script, start, status_of, wait_until

from builds.debian import owners_of

DEMO = ROOT / "scripts/demo.sh"
REGS, PROBE = "build/sim/regs/regs", "build/sim/probe/probe"

# What the guest runs.
RUN = r"""#!/bin/sh
case $1 in
  panic) echo c >/proc/sysrq-trigger ;;
  # regs.sv: raises that vector, of which there are eight.
  vector) accel-mmio write 4 0xc 200 ;;
  # For a minute and longer.
  talk)
    i=0
    while [ "$i" -lt 700 ]; do
      echo "talks on $i"
      i=$((i + 1))
      sleep 0.1
    done
    ;;
  look)
    echo "ACCEL groups=$(ls /sys/kernel/iommu_groups | wc -l)"
    echo "ACCEL memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
    echo "ACCEL word=$(grep -c mine=yes /proc/cmdline)"
    ;;
esac
"""

# As Debian 13's says it, whose libc6 has moved the dynamic linker.
DPKG_QUERY = """#!/bin/sh
[ "$*" = '--search */ld-linux-x86-64.so.2 */libz.so.1' ] && [ "$LC_ALL" = C ] || exit 2
cat <<'LINES'
diversion by libc6 from: /lib64/ld-linux-x86-64.so.2
diversion by libc6 to: /lib64/ld-linux-x86-64.so.2.usr-is-merged
local diversion from: /usr/lib/x86_64-linux-gnu/libz.so.1
libc6:amd64: /usr/lib64/ld-linux-x86-64.so.2
zlib1g:amd64, zlib1g:i386: /usr/lib/x86_64-linux-gnu/libz.so.1
LINES
"""

# A boot sector that tells on the first serial port what it finds, writes itself to the sector
# behind, and resets the machine.
BOOT = r"""
.code16
.globl _start
_start:
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  movb %dl, drive
  movw $boots, %si
  call say
  # PCI BIOS: find the first function with these ids.
  movw $0xb102, %ax
  movw $0x7011, %cx
  movw $0x10ee, %dx
  xorw %si, %si
  int $0x1a
  jc 1f
  movw $card, %si
  call say
1: movw $0x0301, %ax
  movw $0x0002, %cx
  xorb %dh, %dh
  movb drive, %dl
  movw $_start, %bx
  int $0x13
  jc 2f
  movw $wrote, %si
  call say
2: movb $0xfe, %al
  outb %al, $0x64
3: hlt
  jmp 3b
say:
  movw $0x3fd, %dx
4: inb %dx, %al
  testb $0x20, %al
  jz 4b
  movw $0x3f8, %dx
  lodsb
  outb %al, %dx
  cmpb $10, %al
  jne say
  ret
boots: .ascii "DISK boots\r\n"
card: .ascii "DISK sees the card\r\n"
wrote: .ascii "DISK is written\r\n"
drive: .byte 0
.org 510
  .word 0xaa55
"""


@pytest.fixture(scope="module", autouse=True)
def _simulations() -> None:
    """What is simulated."""
    for name in "regs", "probe":
        run("scripts/build-sim.sh", name)


@pytest.fixture(scope="module")
def guest(work: Path) -> Path:
    """A guest with the program above."""
    run("scripts/build-guest.sh", "--run", script(work / "run", RUN), "--out", work / "guest")
    return work / "guest"


class Demo:
    """scripts/demo.sh, where sockets and the like are in a folder that is empty without it."""

    def __init__(self, work: Path, qemu: str) -> None:
        self.work, self.qemu, self.sockets = work, qemu, work / "sockets"
        self.sockets.mkdir(exist_ok=True)

    def ends(self, status: int, *arguments: str | Path) -> str:
        """What it says, which has to end with that status."""
        words = [str(word) for word in arguments]
        ended, said = status_of(DEMO, "--qemu", self.qemu, *words,
                                env={"TMPDIR": str(self.sockets)})
        assert ended == status
        if "--shell" not in words:
            assert ("FAIL" if status else "PASS") in said
        return said

    def left(self) -> list[str]:
        """What has been left behind."""
        return os.listdir(self.sockets)


@pytest.fixture
def demo(work: Path, qemu: str) -> Iterator[Demo]:
    """The demo, which leaves nothing behind."""
    made = Demo(work, qemu)
    yield made
    assert made.left() == []


def test_diverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Debian whose packages have moved files the guest's sources are found."""
    script(tmp_path / "dpkg-query", DPKG_QUERY)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert owners_of(["libz.so.1", "ld-linux-x86-64.so.2"]) == [
        "libc6:amd64", "zlib1g:amd64", "zlib1g:i386"]


def test_refusals(demo: Demo, tmp_path: Path) -> None:
    """A folder as a simulation, a program that needs shared libraries, what QEMU's own
    vfio-user-pci has not."""
    folder = "build/sim/regs"
    assert f"{folder} is a folder" in demo.ends(1, "--sim", folder, "--shell")
    assert f"{REGS}, which is no folder" in demo.ends(
        1, "--sim", REGS, "--shell", "--sim-folder", REGS)
    assert "does not support a virtual IOMMU" in demo.ends(
        1, "--sim", REGS, "--shell", "--vfio-user", "--iommu")
    assert "has a network side" in demo.ends(
        1, "--example", "virtio_net", "--shell", "--vfio-user")
    program = shutil.which("ls")
    assert program
    status, said = status_of("scripts/build-guest.sh", "--program", program, "--out",
                             tmp_path / "none")
    assert status != 0
    assert "is linked dynamically" in said


def no_card(demo: Demo, tmp_path: Path, *arguments: str) -> None:
    """A simulator that ends before there is a card."""
    early = script(tmp_path / "early", "#!/bin/bash\n"
                   'echo "Bar0Size is 3000, expected a power of two" >&2; exit 3\n')
    said = demo.ends(1, "--sim", early, *arguments)
    assert "the simulator has ended with status 3" in said
    assert "Bar0Size is 3000" in said
    assert "no simulator at" not in said


def test_early(demo: Demo, tmp_path: Path) -> None:
    """A simulator that ends before there is a card."""
    no_card(demo, tmp_path, "--example", "regs")


def test_shell(demo: Demo, tmp_path: Path) -> None:
    """The same for a demo with a prompt."""
    no_card(demo, tmp_path, "--shell")


Dies = Callable[[str, str], Path]


@pytest.fixture
def dies(tmp_path: Path) -> Dies:
    """Makes a simulation of a design that ends when the guest has said a line, and leaves a file
    `died`."""
    def make(design: str, line: str) -> Path:
        return script(tmp_path / "dies", f"""#!/bin/bash
"{ROOT}/build/sim/{design}/{design}" "$@" &
log=$(readlink /proc/$$/fd/1)
until grep -q '{line}' "${{log%/*}}/serial.log" 2>/dev/null; do sleep 0.2; done
kill -KILL $!
echo '%Error: {design}.sv:1: Assertion failed: on purpose' >&2
: >"{tmp_path}/died"
exit 134
""")
    return make


def said_soon(said: str, tmp_path: Path) -> None:
    """The death is told of with its words, and within half a minute the demo is over: it looks each
    second, and ends the VM. The guest would go on for twice as long."""
    took = time.time() - (tmp_path / "died").stat().st_mtime
    assert "the simulator has ended with status 134 (SIGABRT)" in said
    assert "Assertion failed: on purpose" in said
    print(f"{took:.0f} s from the simulator's death to the end of the demo")
    assert took <= 30


def test_middle(demo: Demo, dies: Dies, tmp_path: Path) -> None:
    """A simulator that ends while the guest works, and says nothing for a minute."""
    said = demo.ends(1, "--sim", dies("probe", "test_config_space=pass"), "--example", "probe",
                     "--rounds", "100000000")
    said_soon(said, tmp_path)


def test_talk(demo: Demo, dies: Dies, guest: Path, tmp_path: Path) -> None:
    """The same while the guest talks all the time."""
    said = demo.ends(1, "--sim", dies("regs", "talks on 20"), "--run", "--guest", guest,
                     "--append", "accel.args=talk")
    said_soon(said, tmp_path)
    assert "talks on 600" not in said


def test_complaints(demo: Demo, guest: Path) -> None:
    """RTL that raises a vector which it has not: the summary has it."""
    said = demo.ends(0, "--sim", REGS, "--run", "--guest", guest, "--append", "accel.args=vector")
    for text in "What the simulator complained of", "200", "logs: ":
        assert text in said


def test_panic(demo: Demo, guest: Path) -> None:
    """A guest's kernel that panics is named."""
    said = demo.ends(1, "--sim", REGS, "--run", "--guest", guest, "--append", "accel.args=panic")
    assert "the guest's kernel: Kernel panic" in said


def test_options(demo: Demo, guest: Path) -> None:
    """Memory, CPUs, kernel arguments, a virtual IOMMU."""
    said = demo.ends(0, "--sim", REGS, "--run", "--guest", guest, "--iommu", "--memory", "768",
                     "--cpus", "3", "--append", "mine=yes accel.args=look", "--qemu-args",
                     "-name mine")
    value = {name: int(number) for name, number in re.findall(r"^  (\w+) *(\d+)$", said, re.M)}
    assert value["groups"] > 0
    # About 768 MiB, in KiB.
    assert value["memory"] > 600000
    assert value["word"] == 1
    assert re.search(r"kernel, vCPUs .*, 3\n", said)


def test_disk(demo: Demo, tmp_path: Path) -> None:
    """A disk image of the user's boots, sees the card, and is left alone with --snapshot."""
    (tmp_path / "boot.s").write_text(BOOT, encoding="utf-8")
    run("as", "--32", "-o", tmp_path / "boot.o", tmp_path / "boot.s")
    run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", tmp_path / "boot",
        tmp_path / "boot.o")
    sector = (tmp_path / "boot").read_bytes()
    before = sector + bytes((1 << 20) - len(sector))
    disk = tmp_path / "disk.img"
    disk.write_bytes(before)
    status, said = status_of(DEMO, "--qemu", demo.qemu, "--sim", REGS, "--disk", disk)
    assert status != 0
    assert "--disk needs --shell" in said
    said = demo.ends(0, "--sim", REGS, "--shell", "--disk", disk, "--snapshot")
    for text in "DISK boots", "DISK sees the card", "DISK is written":
        assert text in said
    assert disk.read_bytes() == before
    assert "DISK is written" in demo.ends(0, "--sim", REGS, "--shell", "--disk", disk)
    assert disk.read_bytes()[512:640] == sector[:128]


def test_waves(demo: Demo) -> None:
    """Waves from when the driver comes."""
    said = demo.ends(0, "--example", "regs", "--waves-from", "driver")
    (name,) = re.findall("^Waveform: (.*)$", said, re.M)
    waves = ROOT / name
    assert waves.stat().st_size > 0
    # They have not begun at the start.
    log = (waves.parent / "simulator.log").read_text(errors="replace")
    assert re.search("waves go to .* from clock [1-9]", log)
    shutil.rmtree(waves.parent)


@pytest.mark.parametrize("when", ["starting", 8, 12])
def test_interrupt(when: str | int, demo: Demo, tmp_path: Path) -> None:
    """Ctrl-C leaves nothing behind, in the beginning and after seconds."""
    out = tmp_path / "out"
    demo_run = start(DEMO, "--qemu", demo.qemu, "--sim", PROBE, "--example", "probe", "--rounds",
                     "100000000", out=out, env={"TMPDIR": demo.sockets})
    try:
        if isinstance(when, int):
            time.sleep(when)
        else:
            wait_until(when, lambda: when in out.read_text(errors="replace"), 600,
                       is_over=lambda: demo_run.poll() is not None)
        demo_run.send_signal(signal.SIGINT)
        assert demo_run.wait(60) == 128 + signal.SIGINT
    finally:
        end(demo_run)
        print(out.read_text(errors="replace"))
    assert demo.left() == []


def end(demo_run: subprocess.Popen[bytes]) -> None:
    """Ends a demo, which ends what it has started."""
    demo_run.terminate()
    try:
        demo_run.wait(30)
    except subprocess.TimeoutExpired:
        demo_run.kill()
        demo_run.wait()


GUEST, ASIDE = ROOT / "build/guest", ROOT / "build/guest.aside"
FILES = ["vmlinuz", "initramfs.cpio.gz"]


def put_back() -> None:
    """Puts the developer's own guest where it was."""
    if ASIDE.exists():
        shutil.rmtree(GUEST, ignore_errors=True)
        ASIDE.rename(GUEST)


def own_file(name: str) -> str:
    """What nobody could boot: a demo that uses it fails, and one that replaces it is noticed."""
    return f"mine {name}\n"


@pytest.fixture
def own_guest() -> Iterator[None]:
    """A guest of the user's, while the developer's own is elsewhere."""
    if ASIDE.exists():
        # A test was killed.
        kernel = GUEST / "vmlinuz"
        assert kernel.exists(), f"{ASIDE} is there; keep it as {GUEST} if it is yours"
        assert kernel.read_bytes() == own_file("vmlinuz").encode(), (
            f"{ASIDE} and {GUEST} are both there; keep the one that is yours as {GUEST}")
        put_back()
    GUEST.mkdir(parents=True, exist_ok=True)
    GUEST.rename(ASIDE)
    GUEST.mkdir()
    for name in FILES:
        (GUEST / name).write_text(own_file(name), encoding="utf-8")
    yield
    put_back()


def test_own_guest(own_guest: None, demo: Demo) -> None:
    """A plain demo leaves the user's own guest alone."""
    del own_guest
    demo.ends(0, "--example", "regs", "--sim", REGS)
    for name in FILES:
        assert not (GUEST / name).is_symlink()
        assert (GUEST / name).read_text(encoding="utf-8") == own_file(name)
