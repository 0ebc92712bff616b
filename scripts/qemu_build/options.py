# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of scripts/build-qemus.sh."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from builds.messages import die
from builds.options import take
from qemu_build.releases import Releases

USAGE = """\
usage: scripts/build-qemus.sh [option...]

Builds qemu-system-x86_64 with the accelerator-pcie device (patched) and without
it (baseline). The results are in the cache, and these links lead to them:

  build/qemu/patched/bin/qemu-system-x86_64
  build/qemu/baseline/bin/qemu-system-x86_64

The same links for each version are in build/qemu/VERSION/.

Source (default: QEMU {version} from upstream; where that cannot be reached,
Debian's source package of the nearest release that has a series in patches/):
  --release NAME        of this release: one of {releases}
  --source PATH         a QEMU source tree or tarball; it is copied, never changed
  --sha256 HEX          refuse the tarball given by --source if its sha256 is another
  --upstream            from upstream or not at all
  --debian              Debian's source package, without trying upstream
  --debian-package DIR  a folder that holds Debian's .dsc and .orig.tar.xz
  --debian-mirror URL   the mirror to take it from (default: as apt is set up here)

What is built:
  --patched-only        leave the baseline out
  --baseline-only       leave the patched QEMU out
  --full                with displays (VNC, SDL, GTK, curses, SPICE), sound, user
                        networking, USB redirection, ...
  --debug               QEMU's --enable-debug: no optimisation, lock and cell checks
  --asan                with AddressSanitizer; leads to build/qemu/asan/bin and is
                        patched only
  --target aarch64      qemu-system-aarch64, for guests of that processor, with the
                        machine virt and few others; leads to build/qemu/aarch64/bin
                        and is patched only
  --configure-only      stop before compiling

Else:
  --jobs N              compilers at once (default: one per processor)
  --list-packages       only name the Debian packages that this needs
  --print-paths         only say where the results of the last build are
  --help                this text

The cache is $ACCELERATOR_CACHE, or accelerator-pcie in $XDG_CACHE_HOME or ~/.cache.
"""
# With the device first, which is what others build on.
FLAVOURS = ("patched", "baseline")


@dataclass
class Options:
    """What is to be built."""

    # auto, upstream, debian or local
    origin: str = "auto"
    source: str = ""
    sha256: str = ""
    release: str = ""
    debian_package: str = ""
    debian_mirror: str = ""
    flavours: tuple[str, ...] = FLAVOURS
    target: str = "x86_64"
    full: bool = False
    debug: bool = False
    asan: bool = False
    configure_only: bool = False
    jobs: str = ""
    list_packages: bool = False
    print_paths: bool = False

    @classmethod
    def of(cls, words: list[str], releases: Releases) -> Options:
        """What the user has asked for."""
        options = cls(jobs=str(len(os.sched_getaffinity(0))))

        def sets(**values: object) -> None:
            for name, value in values.items():
                setattr(options, name, value)

        def usage() -> str:
            named = options.release if options.release in releases.names else ""
            return USAGE.format(version=releases.named(named).upstream,
                                releases=", ".join(releases.names))

        take(words, usage, {
            "--source": lambda value: sets(source=value, origin="local"),
            "--sha256": lambda value: sets(sha256=value.lower()),
            "--release": lambda value: sets(release=value),
            "--debian-package": lambda value: sets(debian_package=value, origin="debian"),
            "--debian-mirror": lambda value: sets(debian_mirror=value),
            "--jobs": lambda value: sets(jobs=value),
            "--target": lambda value: sets(target=value),
        }, {
            "--upstream": lambda: sets(origin="upstream"),
            "--debian": lambda: sets(origin="debian"),
            "--patched-only": lambda: sets(flavours=FLAVOURS[:1]),
            "--baseline-only": lambda: sets(flavours=FLAVOURS[1:]),
            "--full": lambda: sets(full=True),
            "--debug": lambda: sets(debug=True),
            "--asan": lambda: sets(asan=True),
            "--configure-only": lambda: sets(configure_only=True),
            "--list-packages": lambda: sets(list_packages=True),
            "--print-paths": lambda: sets(print_paths=True),
        })
        options.check(releases)
        return options

    def check(self, releases: Releases) -> None:
        """Refuses what does not go together, and settles what follows."""
        if self.asan:
            self.flavours = ("asan",)
        if self.target == "aarch64":
            if self.asan or "patched" not in self.flavours:
                die("--target aarch64 is patched only, and without --asan")
            self.flavours = ("aarch64",)
        elif self.target != "x86_64":
            die(f"--target is {self.target}, expected x86_64 or aarch64")
        if not re.fullmatch("[1-9][0-9]*", self.jobs):
            die(f"--jobs must be a number from 1, not '{self.jobs}'")
        if self.release and self.release not in releases.names:
            die(f"--release must be one of {' '.join(releases.names)}, not '{self.release}'")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            die(f"--sha256 must be 64 hex digits, not '{self.sha256}'")

    @property
    def emulator(self) -> str:
        """The program that is built."""
        return f"qemu-system-{self.target}"
