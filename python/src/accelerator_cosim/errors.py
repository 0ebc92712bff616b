# SPDX-License-Identifier: MIT OR Apache-2.0
"""What goes wrong, by who has to look at it."""

from __future__ import annotations


class CosimError(Exception):
    """The base of all errors of this package."""


class BuildError(CosimError):
    """Something is not built, or a build failed."""


class ProcessEnded(CosimError):
    """A program that had to run on has ended."""


class WaitTimeout(CosimError, TimeoutError):
    """Something did not happen in time."""


class QmpError(CosimError):
    """QEMU refused a command, or does not answer."""


class GuestError(CosimError):
    """The guest cannot do what was asked of it."""


class CommandFailed(GuestError):
    """A command in the guest ended with another status than 0.

    `status` is as a shell has it: 128 and more is 128 and the signal.
    """

    def __init__(self, command: str, status: int, stdout: str, stderr: str) -> None:
        self.command = command
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        said = "".join(
            f"\n{name}:\n" + "\n".join(f"  {line}" for line in text.splitlines()[-20:])
            for name, text in (("output", stdout), ("errors", stderr))
            if text
        )
        super().__init__(f"in the guest, '{command}' ended with status {status}{said}")


class BundleError(CosimError):
    """Tests cannot be packed, or what was packed cannot be run here."""


class FarmError(CosimError):
    """A launcher cannot start jobs, or does not say what has become of them."""


class RegistersError(CosimError):
    """A description of registers is wrong, or cannot be read here."""
