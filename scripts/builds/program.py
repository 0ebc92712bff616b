# SPDX-License-Identifier: MIT OR Apache-2.0
"""How a script runs and ends."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from builds import messages

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal has told us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, _: object) -> None:
    # Cleaning up is short, and is not to be broken off.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Ended(number)


def run(script: str, main: Callable[[list[str]], None]) -> None:
    """Runs a script. A signal ends what it has started and cleans up; then the script ends by that
    signal, which is what those look for who wait for it. One that is ignored, as by nohup, stays
    so."""
    messages.script = script
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(errors="surrogateescape")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        main(sys.argv[1:])
    except Ended as ended:
        sys.stdout.flush()
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
    except (OSError, subprocess.SubprocessError) as error:
        messages.die(str(error))
