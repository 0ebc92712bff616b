# SPDX-License-Identifier: MIT OR Apache-2.0
"""A disk image with a Debian that boots by itself, as an ordinary user can make it: no loop device,
no mount. Partition 1 has the boot loader (SYSLINUX), kernel and initial ramdisk, partition 2 the
system. A shell of root's is on the first serial port."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["image"]

# What builds a kernel module and a program, and what a system needs to boot.
PACKAGES = ("linux-image-amd64", "linux-headers-amd64", "gcc", "libc6-dev", "make", "systemd-sysv",
            "udev", "kmod", "pciutils", "iproute2", "iputils-ping")
MIB = 1 << 20
BOOT_BEGIN, BOOT_SIZE = 1 * MIB, 128 * MIB
ROOT_BEGIN = BOOT_BEGIN + BOOT_SIZE
ROOM = 512 * MIB

LOGIN = r"""mkdir -p "$1/etc/systemd/system/serial-getty@ttyS0.service.d"
printf '%s\n' '[Service]' 'ExecStart=' \
  'ExecStart=-/sbin/agetty --autologin root --keep-baud 115200 ttyS0 vt102' \
  >"$1/etc/systemd/system/serial-getty@ttyS0.service.d/root.conf"
printf '/dev/vda2 / ext2 rw 0 1\n' >"$1/etc/fstab"
printf 'debian\n' >"$1/etc/hostname"
"""

BOOT = """SERIAL 0 115200
DEFAULT debian
LABEL debian
  KERNEL vmlinuz
  APPEND initrd=initrd.img root=/dev/vda2 rw console=ttyS0 quiet
"""


def _release():
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise SystemExit("/etc/os-release does not tell what release of Debian this is")


def _run(log, *command, **options):
    status = subprocess.run([str(word) for word in command], check=False, stdout=log, stderr=log,
                            stdin=subprocess.DEVNULL, **options).returncode
    if status != 0:
        raise SystemExit(f"{command[0]} ended with status {status}; its log is {log.name}")


def _root(work, log, release, mirror):
    """The system; returns the file, and leaves kernel and ramdisk in work/boot."""
    root = work / "root.ext2"
    # What apt was told here, for instance of mirrors that are frozen.
    told = subprocess.run(["apt-config", "dump"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.splitlines()
    options = [f"--aptopt={line}" for line in told if line.startswith((
        "Acquire::Check-Valid-Until ", "Acquire::http::Proxy ", "Acquire::https::Proxy "))]
    _run(log, "mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options,
         f"--customize-hook={LOGIN}", f"--customize-hook=copy-out /boot {work}",
         release, root, mirror)
    with open(root, "r+b") as file:
        file.truncate(root.stat().st_size + ROOM)
    # Status 1 is that something was put right, as its size.
    subprocess.run(["e2fsck", "-fy", root], check=False, stdout=log, stderr=log)
    _run(log, "resize2fs", root)
    return root


def _boot(work, log):
    """The partition that the boot loader is in."""
    boot = work / "boot.fat"
    with open(boot, "wb") as file:
        file.truncate(BOOT_SIZE)
    (work / "syslinux.cfg").write_text(BOOT, encoding="utf-8")
    _run(log, "mkfs.vfat", boot)
    for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
        (file,) = (work / "boot").glob(pattern)
        _run(log, "mcopy", "-i", boot, file, f"::{name}")
    _run(log, "mcopy", "-i", boot, work / "syslinux.cfg", "::syslinux.cfg")
    _run(log, "syslinux", "--install", boot)
    return boot


def _disk(work, log, root, boot):
    disk = work / "disk.img"
    with open(disk, "wb") as out:
        out.truncate(ROOT_BEGIN + root.stat().st_size)
    table = (f"label: dos\nstart={BOOT_BEGIN // 512}, size={BOOT_SIZE // 512}, type=c, bootable\n"
             f"start={ROOT_BEGIN // 512}, type=83\n")
    subprocess.run(["sfdisk", disk], input=table, text=True, check=True, stdout=log, stderr=log)
    mbr = Path("/usr/lib/syslinux/mbr/mbr.bin").read_bytes()
    with open(disk, "r+b") as out:
        out.write(mbr[:440])
    for part, begin in ((boot, BOOT_BEGIN), (root, ROOT_BEGIN)):
        _run(log, "dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={begin // MIB}",
             "conv=notrunc,sparse")
    return disk


def image():
    """The image, made once for each release and content of this file."""
    release, mirror = _release(), os.environ["DEBIAN_MIRROR"]
    cache = Path(os.environ["CACHE"])
    key = hashlib.sha256(Path(__file__).read_bytes() + release.encode()).hexdigest()[:16]
    result = cache / f"disk-{key}.img"
    if not result.exists():
        work = Path(tempfile.mkdtemp(prefix="disk-", dir=cache))
        # In a user namespace mmdebstrap's root is somebody else here.
        work.chmod(0o755)
        try:
            with open(cache / f"disk-{key}.log", "wb") as log:
                root = _root(work, log, release, mirror)
                _disk(work, log, root, _boot(work, log)).rename(result)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return result
