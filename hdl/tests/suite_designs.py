# SPDX-License-Identifier: Apache-2.0
"""Builds of designs that are not ours, as scripts/build-sim.sh makes them. scripts/test-build.sh
runs these by part."""

from __future__ import annotations

import fcntl
import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benches import HDL
from support import ROOT, Shell

BUILD_SIM = "scripts/build-sim.sh"
# Seconds that a simulation may take which takes none, and that a build may wait for its turn.
TIMEOUT = 60
PATIENCE = 120

pytestmark = [pytest.mark.seconds(10)]
Check = Callable[[str], None]


@pytest.fixture
def did(record_property: Callable[[str, object], None]) -> Check:
    """Notes that a part of a test has passed, as a case of its own."""
    return lambda text: record_property("passed", text)


class Design:
    """A design in a folder of its own: the bridge's file list and one module."""

    def __init__(self, folder: Path, shell: Shell, endpoint: str, name: str, code: str) -> None:
        self.folder, self.shell, self.endpoint, self.name = folder, shell, endpoint, name
        self.list, self.source = folder / f"{name}.f", folder / f"{name}.sv"
        self.list.write_text(f"-F {HDL / 'bridge.f'}\n{name}.sv\n", encoding="utf-8")
        # Never built before, by whoever ran this.
        self.source.write_text(code.replace("UNIQUE", str(random.randrange(1 << 44))),
                               encoding="utf-8")

    def command(self, *arguments: str) -> list[str | Path]:
        """What builds it."""
        return [BUILD_SIM, "--top", self.name, "--files", self.list, "--out", self.folder,
                *arguments]

    def build(self, *arguments: str) -> str:
        """Builds it; what was said."""
        return self.shell.run(*self.command(*arguments))

    def refused(self, *arguments: str) -> str:
        """What is said where it cannot be built."""
        said = self.shell.refused(*self.command(*arguments))
        for name in self.name, f"{self.name}-edit":
            assert not (self.folder / name).exists()
        return said

    def edit(self, pattern: str, text: str) -> None:
        """Edits the module."""
        before = self.source.read_text(encoding="utf-8")
        after = re.sub(pattern, text, before)
        assert after != before
        self.source.write_text(after, encoding="utf-8")

    def run(self, program: str) -> str:
        """What the simulation says, which ends by itself."""
        return self.shell.run(self.folder / program, self.endpoint, "+max_clocks=200",
                              timeout=TIMEOUT)


Make = Callable[[str, str], Design]


@pytest.fixture
def design(folder: Path, shell: Shell, endpoint: str) -> Make:
    """Makes a design."""
    return lambda name, code: Design(folder, shell, endpoint, name, code)


COUNTER = """\
module NAME (input logic aclk, input logic aresetn, output logic [31:0] count);
  initial $display("NAME: version UNIQUE");
  always_ff @(posedge aclk) count <= aresetn ? count + 1 : 0;
endmodule
"""


@pytest.mark.seconds(20)
def test_edit(design: Make, did: Check) -> None:
    """The build for editing, and what it spares."""
    edited = design("edited", COUNTER.replace("NAME", "edited"))
    said = edited.build("--edit")
    did("a build for editing")
    for text in "seconds: DPI library ", "Verilator ", "compiler ", "linker ":
        assert text in said
    did("it says the seconds of each part")
    assert "edited: version" in edited.run("edited-edit")
    did("it runs")
    edited.edit("version [0-9]*", "version of the edit")
    # The edit is the same in every run: it has to be built all the same, and with this one's name.
    edited.edit(r"count \+ 1", f"count + {random.randrange(2, 1 << 30)}")
    said = edited.build("--edit")
    did("a build after an edit")
    assert "building the simulation" in said
    did("it is built")
    assert "what every simulation has" not in said
    did("it does not compile again what no edit changes")
    assert "edited: version of the edit" in edited.run("edited-edit")
    did("it is the edited one")
    edited.build()
    did("an optimised build beside it")
    assert "edited: version of the edit" in edited.run("edited")
    did("it runs as well")
    said = edited.build("--edit")
    did("nothing is built twice")
    assert "building the simulation" not in said
    did("as it says")


def wait_for(text: str, file: Path, process: subprocess.Popen[bytes]) -> None:
    """Waits for what a process says, which has not ended by then."""
    end = time.monotonic() + PATIENCE
    while text not in file.read_text(encoding="utf-8"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert process.poll() is None


@pytest.mark.seconds(20)
def test_together(design: Make, did: Check) -> None:
    """Builds of one design at once."""
    together = design("together", COUNTER.replace("NAME", "together"))
    said = together.folder / "said"
    command = [str(word) for word in together.command("--edit")]
    folder = os.open(together.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with said.open("wb") as out:
            build = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=subprocess.STDOUT)
        try:
            wait_for("another build into", said, build)
            # It has not begun.
            assert "building the DPI library" not in said.read_text(encoding="utf-8")
            fcntl.flock(folder, fcntl.LOCK_UN)
            assert build.wait() == 0
        finally:
            build.kill()
            build.wait()
            together.shell.note(said.read_text(encoding="utf-8"))
    finally:
        os.close(folder)
    did("a build waits for another into its folder")
    assert "together: version" in together.run("together-edit")
    did("it runs")
    builds = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
              for _ in range(4)]
    assert [each.wait() for each in builds] == [0] * 4
    did("four builds at once")
    assert "together: version" in together.run("together-edit")
    did("it runs after that")


@pytest.mark.parametrize("arguments", [
    pytest.param([], id="optimised"), pytest.param(["--edit"], id="editing")])
def test_errors_of_the_bridge(arguments: list[str], design: Make) -> None:
    """They are errors in a build of the user's."""
    errors = design("errors", """\
module errors (input logic aclk, input logic aresetn);
  /* verilator lint_off PINMISSING */
  accelerator_pcie_bridge #(.MmioDataWidth(48)) u_bridge (.aclk, .aresetn);
endmodule
""")
    assert "MmioDataWidth is 48;" in errors.refused(*arguments)


def test_errors_of_the_user(design: Make, did: Check) -> None:
    """They are errors, and none with another parameter."""
    own = design("own_errors", """\
module own_errors #(parameter int Depth = 3) (input logic aclk, input logic aresetn);
  if (Depth < 4) begin : gen_bad $fatal(1, "Depth is %0d; UNIQUE", Depth); end
  wire unused = aclk & aresetn;
endmodule
""")
    assert "Depth is 3;" in own.refused()
    did("an error of the user's is one")
    own.build("-G", "Depth=4")
    did("and none with another parameter")


def test_errors_and_warnings(design: Make, did: Check) -> None:
    """Warnings are shown, and do not stop a build."""
    warned = design("warned", """\
module warned (input logic aclk, input logic aresetn, output logic [7:0] narrow);
  logic [11:0] wide = 12'dUNIQUE;
  if (1) begin : gen_note $warning("the user says so"); end
  assign narrow = wide;
  wire unused = aclk & aresetn;
endmodule
""")
    warned.edit("12'd[0-9]*", f"12'd{random.randrange(4096)}")
    said = warned.build("--edit")
    did("warnings do not stop a build")
    for text in "warned.sv:4:", "assign narrow = wide;", "the user says so", "has 2 warnings":
        assert text in said
    did("they are shown, with the line")
    said = warned.build("--edit")
    did("a build that is there already")
    for text in "warned.sv:4:", "the user says so":
        assert text in said
    did("shows them again")


LISTED = """\
`include "included.svh"
module listed (input logic aclk, input logic aresetn, output logic o);
  import late_pkg::*;
  wire logic y, v, f;
  in_y u_y (.o(y));
  in_v u_v (.o(v));
  in_f u_f (.o(f));
  initial $display("listed UNIQUE: %0d %0d %0d %0d", Late, `FROM_INCLUDE, `FROM_LIST, `FROM_LINE);
  assign o = y & v & f & aclk & aresetn;
endmodule
"""


@pytest.mark.seconds(15)
def test_lists_with_everything(design: Make, did: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file list may have."""
    listed = design("listed", LISTED)
    files = {
        "cells/in_y.sv": 'module in_y (output logic o); initial $display("first"); assign o = 1; '
                         "endmodule",
        "all.v": "module in_v (output logic o); assign o = 1; endmodule",
        "deep/er/in_f.sv": "module in_f (output logic o); assign o = 1; endmodule",
        "late_pkg.sv": "package late_pkg; localparam int Late = 11; endpackage",
        "include/included.svh": "`define FROM_INCLUDE 12",
        # A list in a list in a list; the innermost is relative to where the user is.
        "deep/deep.f": "-f er/inner.f",
        "deep/er/inner.f": f"{listed.folder.relative_to(ROOT)}/deep/er/in_f.sv",
        "listed.f": f"""\
# As people write them.
-y $LISTED_FOLDER/cells +libext+.sv
-v ${{LISTED_FOLDER}}/all.v   // two of a kind
+incdir+include +define+FROM_LIST=13
-F {HDL / 'bridge.f'}
-F deep/deep.f
listed.sv /* a package that
is needed before */ late_pkg.sv""",
    }
    for name, text in files.items():
        (listed.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (listed.folder / name).write_text(f"{text}\n", encoding="utf-8")
    monkeypatch.setenv("LISTED_FOLDER", str(listed.folder))
    listed.build("--edit", "-D", "FROM_LINE=14")
    did("a list with everything")
    assert ": 11 12 13 14" in listed.run("listed-edit")
    did("everything arrives")
    # What is found in libraries belongs to the design.
    cell = listed.folder / "cells/in_y.sv"
    cell.write_text(cell.read_text(encoding="utf-8").replace(
        "first", f"edited cell {random.randrange(1 << 44)}"), encoding="utf-8")
    listed.build("--edit", "-D", "FROM_LINE=14")
    did("an edit of a cell in a library")
    assert "edited cell" in listed.run("listed-edit")
    did("is built")


@pytest.mark.parametrize(("text", "told"), [
    *[pytest.param(f"\n{line}", "listed.f:2: there is no f", id=line) for line in (
        "nowhere.sv", "-v nowhere.v", "-F nowhere.f", "-y nowhere", "+incdir+nowhere")],
    pytest.param("listed.vhd", "listed.vhd is VHDL", id="VHDL"),
    pytest.param("$NO_SUCH_VARIABLE/a.sv", "NO_SUCH_VARIABLE is not set", id="variable"),
    pytest.param("-F listed.f", "lists that take one another in", id="itself"),
])
def test_lists_refused(text: str, told: str, design: Make) -> None:
    """How a list is told what is not there."""
    listed = design("listed", LISTED)
    listed.list.write_text(f"{text}\n", encoding="utf-8")
    (listed.folder / "listed.vhd").touch()
    assert told in listed.refused()
