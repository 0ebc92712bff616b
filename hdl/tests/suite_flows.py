# SPDX-License-Identifier: Apache-2.0
"""What is made for Vivado and other simulators, without having them. scripts/test-flows.sh runs
these by part."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from benches import HDL, TESTS
from support import ROOT, Shell, once

FLOWS = TESTS / "flows"
DPI = ROOT / "build/dpi"
VIVADO = HDL / "vivado"
EXAMPLES = sorted(each.name for each in (HDL / "examples").iterdir() if each.is_dir())

Check = Callable[[str], None]
Compare = Callable[[str, str], None]


@pytest.fixture
def did(record_property: Callable[[str, object], None]) -> Check:
    """Notes that a part of a test has passed, as a case of its own."""
    return lambda text: record_property("passed", text)


@pytest.fixture
def same(pytestconfig: pytest.Config) -> Compare:
    """Compares a text with the transcript of a name, or makes it that."""
    def compare(name: str, text: str) -> None:
        file = FLOWS / "expected" / f"{name}.txt"
        if pytestconfig.getoption("--update"):
            file.write_text(text, encoding="utf-8")
        expected = file.read_text(encoding="utf-8")
        if text != expected:
            pytest.fail("\n".join(difflib.unified_diff(
                expected.splitlines(), text.splitlines(), str(file), "now", lineterm="")),
                pytrace=False)
    return compare


@pytest.fixture
def dpi(shell: Shell) -> Path:
    """The DPI library for simulators."""
    once("flows-dpi", lambda: shell.run("scripts/build-dpi.sh", "--out", DPI))
    return DPI


# ---- the DPI library -------------------------------------------------------------------

C99 = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{DPI}"]
CXX11 = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{DPI}"]


@pytest.mark.parametrize("compiler", [
    pytest.param([*C99, "-x", "c"], id="C99"), pytest.param([*CXX11, "-x", "c++"], id="C++11")])
def test_library_header(compiler: list[str], dpi: Path, shell: Shell) -> None:
    """A compiler takes the header."""
    shell.run(compiler[0], *compiler[1:], "-fsyntax-only", dpi / "accelerator_dpi.h")


def test_library_beside_another_libzmq(dpi: Path, folder: Path, shell: Shell, did: Check) -> None:
    """Each form of the library beside a libzmq that a simulator has brought."""
    program, static, plain = folder / "two_zmq", folder / "from_static.so", folder / "plain.so"
    shell.run(*C99, "-D_POSIX_C_SOURCE=200809L", ROOT / "dpi-bridge/tests/c/two_zmq.c", "-o",
              program, "-ldl")
    did("the program is built")
    # As xsc makes a DPI library of it.
    shell.run("gcc", "-shared", "-o", static, "-Wl,--whole-archive", dpi / "libaccelerator_dpi.a",
              "-Wl,--no-whole-archive", "-Wl,-z,defs", "-lpthread", "-ldl", "-lm")
    did("the static form can be linked")

    def two_zmq(library: Path, mode: str) -> tuple[int, str]:
        # A socket's path has to be short.
        with tempfile.TemporaryDirectory(prefix="hdl-") as name:
            return shell.status(program, "libzmq.so.5", library, mode, f"ipc://{name}/s",
                                timeout=120)

    for mode in "global", "local":
        assert two_zmq(dpi / "libaccelerator_dpi.so", mode)[0] == 0
        did(f"the library, {mode}")
        assert two_zmq(static, mode)[0] == 0
        did(f"the static form, {mode}")
    # The archive of cargo shows its libzmq: the test notices.
    metadata = json.loads(subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], check=True, cwd=ROOT,
        stdout=subprocess.PIPE).stdout)
    archive = Path(metadata["target_directory"]) / "release/libaccelerator_dpi.a"
    shell.run("g++", "-shared", "-o", plain, "-Wl,--whole-archive", archive,
              "-Wl,--no-whole-archive")
    status, said = two_zmq(plain, "local")
    assert status != 0
    assert "shows a libzmq" in said
    did("a library with a libzmq on show is noticed")


# ---- the flows, with stand-ins ---------------------------------------------------------

SIMULATORS = ["xsim", "questa", "vcs", "xcelium"]
# These take the library in its static form as well.
STATIC = ["xsim", "vcs"]
PROGRAMS = ["xvhdl", "xvlog", "xelab", "xsim", "xsc", "vlib", "vcom", "vlog", "vsim", "vhdlan",
            "vlogan", "vcs", "simv", "xrun"]
NOT_THERE = ["nowhere.sv", "-v nowhere.v", "-F nowhere.f", "-y nowhere", "+incdir+nowhere"]


class Flow:
    """scripts/run-SIMULATOR.sh, where stand-ins are its programs."""

    def __init__(self, folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.shell = folder, shell
        self.log, self.own = folder / "calls", folder / "own"
        self.log.touch()
        (folder / "bin").mkdir()
        for program in PROGRAMS:
            (folder / "bin" / program).symlink_to(FLOWS / "tool.py")
        for name, value in {
                "FLOW_ROOT": ROOT, "FLOW_OUT": folder, "FLOW_LOG": self.log,
                "FLOW_FILES": folder / "files", "OWN_FOLDER": self.own,
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}.items():
            monkeypatch.setenv(name, str(value))
        # What a user has.
        for each in "cells", "compiled":
            (self.own / each).mkdir(parents=True)
        (self.own / "card.vhd").write_text("entity card is\nend entity;\n", encoding="utf-8")
        for each in "all.v", "glbl.v":
            (self.own / each).touch()
        (folder / "mine.c").write_text("int mine(void) { return 1; }\n", encoding="utf-8")

    def expect(self, listed: Path) -> None:
        """The files that the next call has to name."""
        (self.folder / "files").write_text(
            self.shell.run("python3", FLOWS / "files.py", listed), encoding="utf-8")

    def head(self, text: str) -> None:
        """Writes a line into the transcript."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"# {text}\n")

    def command(self, simulator: str, *arguments: str | Path, dpi: Path = DPI) -> list[str | Path]:
        """What runs it; nothing of an earlier one is left."""
        out = self.folder / simulator
        shutil.rmtree(out, ignore_errors=True)
        return [f"scripts/run-{simulator}.sh", "--dpi", dpi, "--out", out, *arguments]

    def run(self, simulator: str, *arguments: str | Path) -> None:
        """Runs it."""
        self.shell.run(*self.command(simulator, *arguments))

    def refused(self, text: str, simulator: str, *arguments: str | Path, dpi: Path = DPI) -> None:
        """It ends, and says why."""
        assert text in self.shell.refused(*self.command(simulator, *arguments, dpi=dpi))


@pytest.fixture
def flow(dpi: Path, folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Flow:
    """The flows with stand-ins."""
    del dpi
    return Flow(folder, shell, monkeypatch)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_flows_example(simulator: str, example: str, flow: Flow, same: Compare,
                       did: Check) -> None:
    """An example with each form of the library: the calls are those of the transcript."""
    flow.expect(HDL / "examples" / example / f"{example}.f")
    for form in "shared", "static":
        if form == "shared" or simulator in STATIC:
            flow.head(f"run-{simulator}.sh EXAMPLE --library {form}")
            flow.run(simulator, example, "--library", form,
                     "+accelerator_endpoint=ipc:///run/card", "+max_clocks=1000")
            did(f"{example}, {form}")
    calls = flow.log.read_text(encoding="utf-8")
    # Two have something beside what all have.
    if example in ("vhdl", "clocks"):
        same(f"run-{simulator}-{example}", calls)
    else:
        same(f"run-{simulator}", re.sub(rf"\b{example}(_top)?\b", r"EXAMPLE\1", calls))
    did(f"calls for {example}")


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_flows_more(simulator: str, flow: Flow, same: Compare, did: Check) -> None:
    """C code, a window, a design, libraries and VHDL of the user's."""
    regs = HDL / "examples/regs/regs.f"
    flow.expect(regs)
    if simulator in STATIC:
        flow.head(f"run-{simulator}.sh with C code of the user's")
        flow.run(simulator, "regs", "--library", "static", "--c", flow.folder / "mine.c")
        did("with C code")
    flow.head(f"run-{simulator}.sh in a window")
    flow.run(simulator, "regs", "--gui")
    did("in a window")
    flow.head(f"run-{simulator}.sh with a design of the user's")
    flow.expect(FLOWS / "own.f")
    flow.run(simulator, "--top", "regs_top", "--files", FLOWS / "own.f", "-D", "MINE=2",
             "--build-only")
    did("a design of one's own")
    flow.head(f"run-{simulator}.sh with libraries and VHDL")
    flow.expect(regs)
    listed = flow.own / "own.f"
    listed.write_text("card.vhd\n-y ${OWN_FOLDER}/cells +libext+.v+.vlib /* not\ncells.sv */\n"
                      f"-v all.v\n-F {regs}\n# and no more\n", encoding="utf-8")
    libraries = [] if simulator == "vcs" else ["-L", f"unisims_ver={flow.own}/compiled"]
    flow.run(simulator, "--top", "regs_top", "--files", listed, *libraries, "--glbl",
             flow.own / "glbl.v")
    did("with libraries and VHDL")
    same(f"run-{simulator}-more", flow.log.read_text(encoding="utf-8"))
    did("the calls of these")


@pytest.mark.parametrize(("line", "told"), [
    *[pytest.param(f"\n{line}", "bad.f:2: there is no", id=line) for line in NOT_THERE],
    pytest.param("--x-assign 0", "bad.f:1: '--x-assign' is not known", id="Verilator's option")])
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_flows_list_refused(simulator: str, line: str, told: str, flow: Flow) -> None:
    """What a file list names that is not there."""
    listed = flow.own / "bad.f"
    listed.write_text(f"{line}\n", encoding="utf-8")
    flow.refused(told, simulator, "--top", "regs_top", "--files", listed)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_flows_without_the_simulator(simulator: str, dpi: Path, folder: Path,
                                     shell: Shell) -> None:
    """It is missed."""
    assert "is not there" in shell.refused(f"scripts/run-{simulator}.sh", "--dpi", dpi, "--out",
                                           folder / "none", "regs")


@pytest.mark.parametrize(("simulator", "told", "arguments"), [
    *[pytest.param(each, told, words, id=f"{each}-{words[-1]}") for each in SIMULATORS
      for told, words in (("no example 'none'", ["none"]),
                          ("unknown option", ["regs", "--nonsense"]))],
    pytest.param("vcs", "no compiled library", ["regs", "-L", "unisims_ver"],
                 id="vcs-a-compiled-library"),
    pytest.param("xcelium", "unisims_ver=DIR", ["regs", "-L", "unisims_ver"],
                 id="xcelium-a-library-without-its-folder")])
def test_flows_refused(simulator: str, told: str, arguments: list[str], flow: Flow) -> None:
    """Arguments that are refused."""
    flow.refused(told, simulator, *arguments)


def test_flows_library_that_lacks_a_function(flow: Flow) -> None:
    """It is noticed."""
    flow.expect(HDL / "examples/regs/regs.f")
    lacking = flow.folder / "lacking"
    shutil.copytree(DPI, lacking)
    code = flow.folder / "lacking.c"
    code.write_text("int acc_poll(void *h, int ready) { (void)h; return ready; }\n",
                    encoding="utf-8")
    library = lacking / "libaccelerator_dpi.so"
    library.unlink()
    flow.shell.run("gcc", "-shared", "-fPIC", code, "-o", library)
    flow.refused("lacks", "xsim", "regs", dpi=lacking)


# ---- Tcl -------------------------------------------------------------------------------

MODULES = ["accelerator_pcie_bridge", "accelerator_nic_bridge", "accelerator_uart_bridge"]
RUN_SIM = "scripts/run_sim.tcl"


class Recorder:
    """Runs Tcl scripts where a recorder has Vivado's commands, and refuses what it does not
    know."""

    def __init__(self, folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.shell = folder, shell
        self.log, self.dpi = folder / "transcript", folder / "dpi"
        self.dpi.mkdir()
        # Stands for the one that a simulator would load.
        (self.dpi / "libaccelerator_dpi.so").touch()
        monkeypatch.setenv("FLOW_OUT", str(folder))

    def command(self, script: str | Path, *arguments: str | Path) -> list[str | Path]:
        """What runs a script."""
        return ["tclsh", FLOWS / "recorder.tcl", self.log, ROOT / script, *arguments]

    def run(self, script: str | Path, *arguments: str | Path) -> str:
        """Runs a script; what it says."""
        return self.shell.run(*self.command(script, *arguments))

    def refused(self, text: str, script: str | Path, *arguments: str | Path) -> None:
        """It ends, and says why."""
        assert text in self.shell.refused(*self.command(script, *arguments))

    def calls(self, files: bool = True) -> str:
        """The calls; without the files that are added, which are checked then."""
        text = self.log.read_text(encoding="utf-8")
        return text if files else re.sub("^add_files .*", "add_files ...", text, flags=re.M)


@pytest.fixture
def recorder(folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The recorder in place of Vivado."""
    return Recorder(folder, shell, monkeypatch)


@pytest.mark.parametrize("module", MODULES)
def test_tcl_packaging(module: str, recorder: Recorder, same: Compare, did: Check) -> None:
    """A bridge as IP."""
    wrapper, script = recorder.folder / f"{module}_ip.v", recorder.folder / f"{module}.tcl"
    recorder.shell.run("python3", VIVADO / "wrapper.py", HDL / f"rtl/{module}.sv", wrapper, script)
    did("the wrapper")
    listed = recorder.shell.run("python3", FLOWS / "files.py", HDL / "bridge.f").splitlines()
    recorder.run(VIVADO / "package_ip.tcl", module, recorder.folder / "ip", "xc7a35tcpg236-1",
                 wrapper, script, *[each for each in listed if "accelerator_tb" not in each])
    did("the packaging")
    # Parameters that ip.tcl does not know are shown; which these are is not compared.
    same(f"package-{module}", re.sub(
        "^ipgui::add_group -name Further.*?(?=^ipx::create_xgui_files)",
        lambda found: "".join(re.findall("^ipx::create.*\n", found[0], re.M)),
        recorder.calls(files=False), flags=re.M | re.S))
    did("the calls")


@pytest.mark.parametrize("card", ["regs", "sort"])
@pytest.mark.parametrize(("platform", "arguments"), [
    pytest.param("generic", ["xc7a35tcpg236-1"], id="generic"),
    pytest.param("vcu128", ["xcvu37p-fsvh2892-2L-e", "xilinx.com:vcu128:part0:1.0"], id="vcu128")])
def test_tcl_platform(platform: str, arguments: list[str], card: str, recorder: Recorder,
                      same: Compare, did: Check) -> None:
    """A project with a card behind the bridge."""
    part, *board = arguments
    recorder.run(VIVADO / f"{platform}_base.tcl", recorder.folder / "project", part,
                 VIVADO / "card" / card, recorder.folder / "ip", recorder.dpi, *board)
    did("the platform")
    same(f"{platform}-{card}", recorder.calls())
    did("the calls")


@pytest.mark.parametrize("mode", ["behavioral", "post-synthesis", "post-implementation"])
@pytest.mark.parametrize("card", ["regs", "sort"])
def test_tcl_run_sim(card: str, mode: str, recorder: Recorder, same: Compare, did: Check) -> None:
    """A simulation of a card."""
    recorder.run(RUN_SIM, mode, "--card", VIVADO / "card" / card, "--dpi", recorder.dpi, "--out",
                 recorder.folder / "sim", "--plusarg", "max_clocks=1000")
    did("it runs")
    same(f"run_sim-{card}-{mode}", recorder.calls(files=False))
    did("the calls")


@pytest.mark.parametrize("example", EXAMPLES)
def test_tcl_run_sim_of_an_example(example: str, recorder: Recorder) -> None:
    """A simulation of an example."""
    recorder.run(RUN_SIM, "--example", example, "--dpi", recorder.dpi, "--out",
                 recorder.folder / "sim")


def test_tcl_run_sim_of_a_project(recorder: Recorder, same: Compare, did: Check) -> None:
    """A simulation of a project that is there."""
    project = recorder.folder / "there.xpr"
    project.touch()
    recorder.run(RUN_SIM, "post-implementation", "--project", project, "--type", "timing",
                 "--scripts-only", "--dpi", recorder.dpi)
    did("it runs")
    same("run_sim-project", recorder.calls())
    did("the calls")


def test_tcl_run_sim_help(recorder: Recorder) -> None:
    """It has one."""
    assert "usage: vivado -mode batch" in recorder.run(RUN_SIM, "--help")


@pytest.mark.parametrize(("told", "arguments"), [
    pytest.param("unknown argument '--nonsense'", ["--nonsense"], id="unknown argument"),
    pytest.param("needs --card or --project", ["post-synthesis", "--example", "regs", "--dpi",
                                               "dpi"], id="an example after synthesis"),
    pytest.param("scripts/build-dpi.sh makes it", ["--dpi", "none"],
                 id="without the DPI library")])
def test_tcl_run_sim_refused(told: str, arguments: list[str], recorder: Recorder) -> None:
    """What run_sim.tcl refuses."""
    words = [str(recorder.folder / word) if word in ("dpi", "none") else word
             for word in arguments]
    recorder.refused(told, RUN_SIM, *words)


def test_tcl_scripts(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, did: Check) -> None:
    """The scripts around these, with a stand-in for Vivado that runs the recorder."""
    folder, shell = recorder.folder, recorder.shell
    (folder / "bin").mkdir()
    (folder / "bin/vivado").symlink_to(FLOWS / "tool.py")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FLOW_LOG", str(recorder.log))
    shell.run("scripts/build_bridge-ip.sh", "--out", folder / "packaged")
    did("build_bridge-ip.sh")
    assert (folder / "packaged/accelerator_pcie_bridge/component.xml").is_file()
    did("the IP is there")
    for platform in "generic", "vcu128":
        shell.run("scripts/build_platform.sh", platform, "--card", VIVADO / "card/sort", "--out",
                  folder / platform, "--ip", folder / "packaged", "--dpi", recorder.dpi)
        did(f"build_platform.sh {platform}")


@pytest.mark.parametrize(("told", "command"), [
    pytest.param("no platform 'none'", ["build_platform.sh", "none"], id="no such platform"),
    pytest.param("has no accelerator_card.v", ["build_platform.sh", "--card", str(FLOWS)],
                 id="no card"),
    pytest.param("vivado is not there", ["build_platform.sh"], id="platform without Vivado"),
    pytest.param("vivado is not there", ["build_bridge-ip.sh"], id="IP without Vivado")])
def test_tcl_scripts_refused(told: str, command: list[str], shell: Shell) -> None:
    """What they refuse."""
    assert told in shell.refused(f"scripts/{command[0]}", *command[1:])


@pytest.mark.parametrize(("told", "code"), [
    pytest.param("unknown command report_nonsense", "report_nonsense", id="command"),
    pytest.param("create_project has no option -nonsense", "create_project a b -nonsense",
                 id="option"),
    pytest.param("a project has no property nonsense",
                 "create_project a b; set_property nonsense 1 [current_project]", id="property"),
    pytest.param("no pin card/nonsense", "create_bd_design d; get_bd_pins card/nonsense",
                 id="pin"),
    pytest.param("buffer/CLK_IN_D is not connected",
                 "create_bd_design d; create_bd_cell -type ip -vlnv "
                 "xilinx.com:ip:util_ds_buf:2.1 buffer\nvalidate_bd_design", id="open input")])
def test_tcl_recorder_refuses(told: str, code: str, recorder: Recorder) -> None:
    """What the recorder does not know."""
    snippet = recorder.folder / "snippet.tcl"
    snippet.write_text(f"{code}\n", encoding="utf-8")
    recorder.refused(told, snippet)


# ---- another front end -----------------------------------------------------------------

@cache
def slang_python() -> str:
    """The interpreter that has slang."""
    made = subprocess.run([ROOT / "scripts/python-env.sh", "slang"], check=True, text=True,
                          stdout=subprocess.PIPE)
    return f"{made.stdout.strip()}/bin/python"


@pytest.mark.seconds(60)
@pytest.mark.parametrize("program", ["elaborate.py", "components.py"])
def test_slang(program: str, shell: Shell,
               record_property: Callable[[str, object], None]) -> None:
    """The sources, and the components in VHDL against the modules: a case for each of its lines."""
    status, said = shell.status(slang_python(), FLOWS / program)
    cases = re.findall("^(ok|FAILED): (.*)", said, re.M)
    for how, name in cases:
        record_property("passed" if how == "ok" else "failed", name)
    passed = sum(how == "ok" for how, _ in cases)
    assert status == 0
    assert said.endswith(f"{passed} passed, 0 failed\n")


@pytest.mark.seconds(5)
@pytest.mark.parametrize(("told", "pattern", "text"), [
    pytest.param("port 13 is", r"m_axi_wdata( *: out.*MmioDataWidth)", r"m_axi_wdata\1 + 1",
                 id="width"),
    pytest.param("'user_resetn', 'in'", r"user_resetn( *): out", r"user_resetn\1: in ",
                 id="direction"),
    pytest.param("DmaReads is 16", r"DmaReads( *: integer := )16", r"DmaReads\1 8", id="default"),
    pytest.param("in one of the two only", r".* intx  .*\n", "", id="no port"),
    pytest.param("no such generic", r".*StallClocks .*\n", "", id="no generic")])
def test_slang_component_refused(told: str, pattern: str, text: str, folder: Path,
                                 shell: Shell) -> None:
    """A component that is not what the module is."""
    components = (HDL / "vhdl/accelerator_components.vhd").read_text(encoding="utf-8")
    changed = re.sub(pattern, text, components)
    assert changed != components
    (folder / "components.vhd").write_text(changed, encoding="utf-8")
    assert told in shell.refused(slang_python(), FLOWS / "components.py",
                                 folder / "components.vhd")


# With tasks that others call.
BELOW = """\
module b(input logic clk); logic q, r; int n; initial clear(); task automatic clear(); r = 0;
endtask task automatic set(input logic v); q <= v; endtask
task automatic step(); n++; endtask endmodule
"""


def analyse(code: str, folder: Path, below: bool) -> list[str | Path]:
    """The command that looks at a module of that code, which may have the one above in it."""
    file = folder / "analysed.sv"
    inner = "b u(.clk);\n" if below else ""
    file.write_text(f"{BELOW if below else ''}module m(input logic clk);\n{inner}{code}\n"
                    "endmodule\n", encoding="utf-8")
    return [slang_python(), FLOWS / "elaborate.py", "--analyse", "m", file]


@pytest.mark.parametrize(("told", "code", "below"), [
    pytest.param("cannot be written to", "logic q; initial q = 1; always_ff @(posedge clk) q <= 0;",
                 False, id="a second process that writes a variable"),
    pytest.param("variable 'm.u.q' is written by more than one process: AlwaysFF in m, "
                 "Initial in m", "initial u.set(1); always_ff @(posedge clk) u.set(0);", True,
                 id="a task that another process calls in a module below"),
    pytest.param("variable 'm.u.n' is written",
                 "task t; u.step(); endtask initial t(); always_ff @(posedge clk) u.step();", True,
                 id="a task that calls such a task"),
    pytest.param("variable 'm.u.r'", "always_ff @(posedge clk) u.clear();", True,
                 id="a task that a module calls and the one above it"),
    pytest.param("overflows 8-bit operand", "logic [7:0] a; assign a = 8'd1 << 9;", False,
                 id="a warning")])
def test_slang_analysis_refuses(told: str, code: str, below: bool, folder: Path,
                                shell: Shell) -> None:
    """What the analysis is there for."""
    assert told in shell.refused(*analyse(code, folder, below))


@pytest.mark.parametrize(("code", "below"), [
    pytest.param("always_ff @(posedge clk) begin u.set(1); u.step(); u.set(0); end", True,
                 id="a task that one process calls in a module below"),
    pytest.param("logic q = 1; always_ff @(posedge clk) q <= 0;", False,
                 id="a variable that is known at the start")])
def test_slang_analysis_takes(code: str, below: bool, folder: Path, shell: Shell) -> None:
    """What is right."""
    shell.run(*analyse(code, folder, below))


@pytest.mark.parametrize(("told", "code"), [
    pytest.param("an open array", 'import "DPI-C" function int f(input bit [7:0] a[]);',
                 id="open array"),
    pytest.param("not in the common subset", 'import "DPI-C" function int f(input union_t u);',
                 id="a type of one's own"),
    pytest.param("a four-state type", 'import "DPI-C" function int f(input logic [7:0] a);',
                 id="a four-state argument"),
    pytest.param("a call back", 'export "DPI-C" task t;', id="an export"),
    pytest.param("without a name", "  if (Width > 1) begin",
                 id="a generate block without a name"),
    pytest.param("not in the common subset", 'import "DPI-C" function int f(inout int a);',
                 id="an argument of another type")])
def test_slang_scan_refuses(told: str, code: str, folder: Path, shell: Shell) -> None:
    """Constructs that not every simulator takes."""
    (folder / "scanned.sv").write_text(f"module m;\n{code}\nendmodule\n", encoding="utf-8")
    assert told in shell.refused(slang_python(), FLOWS / "elaborate.py", "--scan",
                                 folder / "scanned.sv")


# ---- the test bench --------------------------------------------------------------------

def scripts() -> set[str]:
    """What hdl/tests/scripted.cpp can do as a guest."""
    return set(re.findall(r'script == "(\w+)"',
                          (TESTS / "scripted.cpp").read_text(encoding="utf-8")))


def script_of(design: str) -> str:
    """What the guest does in a design: the card and the one with two clocks are the sorter."""
    return "sort" if design in ("card", "clocks") else design


# An example without a script has nothing to compare; the card is one of a Vivado project, in place
# of the example that it is made from.
BENCHES = [*[each for each in EXAMPLES if script_of(each) in scripts()], "uart_bridge", "card"]
# Its edges never are where those of aclk are, at which the order would be another with every clock.
USER_CLOCK = "+user_clk_ps=3000"
# The runs are short, so the compiler does not optimise.
PLAIN = ["-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include"]


class Bench:
    """The test bench with Verilator --timing, a design in it and a scripted guest."""

    def __init__(self, name: str, folder: Path, shell: Shell) -> None:
        self.name, self.folder, self.shell = name, folder, shell

    def build(self) -> None:
        """Builds it. What is not called is left out by the linker, since the stand-in need not
        have functions that an example has no use for."""
        top = f"{self.name}_top"
        listed: list[str | Path] = ["-F", HDL / f"examples/{self.name}/{self.name}.f"]
        if self.name == "uart_bridge":
            listed = ["-F", HDL / "bridge.f", FLOWS / "uart_bridge_top.sv"]
        elif self.name == "card":
            top = "accelerator_card_top"
            card = VIVADO / "card/sort"
            files = self.shell.run("python3", FLOWS / "files.py", card / "card.f").splitlines()
            # The bridge's list has the registers' file too.
            listed = [f"+incdir+{card}", "-F", HDL / "bridge.f", VIVADO / "accelerator_card_top.sv",
                      *[each for each in files if Path(each).name not in
                        ("accelerator_axi_regs.sv", "accelerator_tb.sv")]]
        self.shell.run(
            "verilator", "--binary", "--timing", "--no-sched-zero-delay", "-Wall",
            "-Wno-UNUSEDPARAM", "--assert", "--x-initial", "unique", "--x-assign", "unique",
            "--timescale", "1ns/1ps", "--prefix", "Vtop", "--Mdir", self.folder / "build",
            "--top-module", "accelerator_tb", f"+define+ACCELERATOR_TOP={top}", *listed,
            HDL / "sim/accelerator_tb.sv", TESTS / "scripted.cpp",
            "-CFLAGS", "-std=gnu++20 -ffunction-sections", "-LDFLAGS", "-Wl,--gc-sections", *PLAIN)

    def run(self, *arguments: str) -> tuple[str, list[str]]:
        """What it says, and the transcript of the guest."""
        transcript = self.folder / "transcript"
        said = self.shell.run(
            self.folder / "build/Vtop", *arguments, timeout=120,
            env={"SCRIPT": script_of(self.name), "TRANSCRIPT": str(transcript)})
        return said, transcript.read_text(encoding="utf-8").splitlines()

    def styles(self) -> None:
        """It does the same however the clock is made."""
        first: list[str] = []
        other = [USER_CLOCK] if self.name == "clocks" else []
        for style in range(3):
            said, transcript = self.run("+max_clocks=30000", f"+clock_style={style}", *other)
            assert "accelerator_tb: clocks=30000" in said.splitlines()
            # All of the script was done, and nothing that the interface does not allow.
            assert transcript[-1] == "outstanding 0 0 0 0"
            first = first or transcript
            assert transcript == first
            # The bridge of the card holds it against the rules of a board, too.
            assert "Warning" not in said
        self.did_its_work(first)

    def did_its_work(self, transcript: list[str]) -> None:
        """A read of a register and, but for a card without them, an interrupt at the very
        least."""
        if self.name == "uart_bridge":
            assert "serial tHEqUICKbROWNfOXjUMPSoVERtHElAZYdOG" in transcript
            return
        if self.name == "twin":
            # Both have done their work, each at its own time.
            assert transcript.count("outstanding 0 0 0 0") == 2
            left, right = (self.board(each, transcript) for each in ("left", "right"))
            assert left != right
        # As `cut -d ' ' -f 2` has them: a line without a space is whole.
        calls = [(line.split(" ") if " " in line else ["", line])[1] for line in transcript]
        assert "1" in calls
        if self.name == "uart":
            assert any(line.startswith("0000beef") for line in transcript)
        else:
            assert "5" in calls
        if self.name == "virtio_net":
            assert sum(line.startswith("frame 300 ") for line in transcript) == 2

    @staticmethod
    def board(name: str, transcript: list[str]) -> list[str]:
        """What the transcript has of one of two boards."""
        first = next(n for n, line in enumerate(transcript) if line.startswith(f"board {name}"))
        end = next(n for n in range(first, len(transcript)) if transcript[n].startswith("outst"))
        return transcript[first + 1:end + 1]

    def power_on(self) -> None:
        """Registers begin with anything, as on a chip, and as X in other simulators: what reset
        does not clear in time stops the bridge, lets it hang, or shows in what it calls."""
        _, first = self.run("+max_clocks=3000")
        # The script is not over, but something was done.
        assert len(first) > 10
        for seed in range(1, 41):
            _, transcript = self.run("+max_clocks=3000", "+verilator+rand+reset+2",
                                     f"+verilator+seed+{seed}")
            assert transcript == first, f"seed {seed}"

    def stops(self) -> None:
        """It ends when the stop file is there."""
        file = self.folder / "stop"
        file.touch()
        _, said = self.shell.status(self.folder / "build/Vtop", f"+stop_file={file}", timeout=120)
        assert "accelerator_tb: clocks=4096" in said.splitlines()


@pytest.mark.seconds(100)
@pytest.mark.parametrize("name", BENCHES)
def test_bench(name: str, folder: Path, shell: Shell, did: Check) -> None:
    """It does the same, clock for clock, however the clock is made and whatever its registers
    begin with."""
    bench = Bench(name, folder, shell)
    bench.build()
    did("build with --timing")
    bench.styles()
    did("the same with every clock")
    bench.power_on()
    did("the same after any power-on")
    bench.stops()
    did("it ends when the stop file is there")


def test_bench_has_all_examples() -> None:
    """Each has a script but the one in VHDL, which is another simulator's."""
    assert set(EXAMPLES) - set(BENCHES) == {"vhdl"}


@pytest.mark.seconds(30)
def test_bench_usr_irq(folder: Path, shell: Shell, did: Check) -> None:
    """Every interrupt of a card reaches the PCIe block once."""
    shell.run("verilator", "--binary", "--timing", "-Wall", "--assert", "--timescale", "1ns/1ps",
              "--prefix", "Vtop", "--Mdir", folder / "build", "--top-module", "usr_irq_tb",
              FLOWS / "usr_irq_tb.sv", VIVADO / "accelerator_usr_irq.v",
              "-CFLAGS", "-std=gnu++20", *PLAIN)
    did("the build")
    assert "usr_irq_tb: 500 interrupts" in shell.run(folder / "build/Vtop", timeout=120)
    did("every interrupt")
