# SPDX-License-Identifier: MIT OR Apache-2.0
"""A VM whose guest runs one program of ours, and what that tells line by line."""

import socket

from vm import Failure, Process, wait_for

__all__ = ["Told"]


class Told(Process):
    """A guest of scripts/build-guest.sh that does what `words` of the kernel's command line say. It
    begins once somebody reads what it tells."""

    def __init__(self, name, folder, qemu, guest, words, *options):
        self.path = folder / f"{name}.told"
        super().__init__(name, [
            qemu, "-M", "q35", "-cpu", "max", "-m", "512M",
            "-object", "memory-backend-memfd,id=ram,size=512M,share=on",
            "-machine", "memory-backend=ram", "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", f"{guest}/vmlinuz", "-initrd", f"{guest}/initramfs.cpio.gz",
            "-append", f"console=ttyS0 loglevel=5 panic=-1 no_timer_check accel.tty=ttyS1 {words}",
            "-serial", f"file:{folder}/{name}.kernel.log",
            "-chardev", f"socket,id=told,path={self.path},server=on,wait=on",
            "-serial", "chardev:told", *options], folder)

    def _dial(self):
        if not self.is_running():
            raise Failure(f"{self.name} ended with status {self.process.returncode}")
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(self.path))
        except OSError:
            line.close()
            return None
        return line

    def lines(self, patience):
        """What it tells behind "ACCEL ", as pairs around the first "=", until it is through. No
        line may take longer than `patience` seconds."""
        with wait_for(f"{self.name} listening", self._dial) as connection:
            connection.settimeout(patience)
            rest = b""
            while True:
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    raise Failure(f"no line from {self.name} for {patience:.0f} s") from None
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace").rstrip("\r")
                    if text.startswith("ACCEL "):
                        key, _, value = text.removeprefix("ACCEL ").partition("=")
                        yield key, value

    def kernel_log(self):
        path = self.log.with_suffix(".kernel.log")
        return path.read_text(errors="replace") if path.exists() else ""
