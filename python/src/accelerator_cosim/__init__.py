# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests of a driver against the RTL of its card, from Python.

A `Run` starts simulators and VMs and ends them. `docs/driver-tests.md` has the whole of it, and
`accelerator_cosim.pytest_plugin` the fixtures for pytest.
"""

from ._qmp import Qmp
from .card import Bar, Card
from .errors import (
    BuildError,
    CommandFailed,
    CosimError,
    GuestError,
    ProcessEnded,
    QmpError,
    WaitTimeout,
)
from .guest import Command, Completed, Guest, Machine
from .network import Network
from .session import Run, Session
from .simulator import Simulator
from .workspace import GuestImage, Simulation, Workspace

__all__ = [
    "Bar", "BuildError", "Card", "Command", "CommandFailed", "Completed", "CosimError", "Guest",
    "GuestError", "GuestImage", "Machine", "Network", "ProcessEnded", "Qmp", "QmpError", "Run",
    "Session", "Simulation", "Simulator", "WaitTimeout", "Workspace",
]
