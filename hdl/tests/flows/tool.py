#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the programs of a proprietary simulator, by the name under which it is called.

It refuses an option that its vendor does not document, a file that is not there, and a step
without the one before it; it looks into the DPI library that it is given as the simulator's
loader would. Each call is appended to the file $FLOW_LOG, with $FLOW_ROOT written as ROOT,
$FLOW_OUT as OUT, and FILES for the SystemVerilog files, which have to be those of $FLOW_FILES, one
a line. It simulates nothing.
"""

import os
import pathlib
import re
import subprocess
import sys

# Options and the number of their arguments.
#
# xvlog, xelab, xsim, xsc: UG900 (2024.1, 2025.2), "Parsing Design Files, xvhdl and xvlog",
# "xelab, xvhdl, and xvlog xsim Command Options", "Binding Compiled C Code to SystemVerilog Using
# xelab", "xsim Executable Options", "xsc Compiler"; UG835, "xsim".
# vivado: UG835, "Vivado Command Line Options"; what it would run is run by recorder.tcl.
# vlib, vcom, vlog, vsim: Questa and ModelSim command reference. vcs, vhdlan, vlogan, simv: VCS user
# guide. xrun: Xcelium xrun user guide. -sv_lib, -sv_root: IEEE 1800-2017, annex J.4.
OPTIONS = {
    "xvlog": {"-sv": 0, "-work": 1, "-d": 1, "-i": 1, "-f": 1, "-L": 1, "-log": 1, "-relax": 0,
              "-sourcelibdir": 1, "-sourcelibext": 1, "-sourcelibfile": 1},
    "xvhdl": {"-work": 1, "-2008": 0, "-93_mode": 0, "-L": 1, "-log": 1},
    "xelab": {"-s": 1, "-timescale": 1, "-debug": 1, "-sv_root": 1, "-sv_lib": 1,
              "-dpi_absolute": 0, "-L": 1, "-log": 1, "-relax": 0, "-generic_top": 1},
    "xsim": {"-runall": 0, "-onfinish": 1, "-testplusarg": 1, "-gui": 0, "-log": 1, "-wdb": 1,
             "-tclbatch": 1},
    "xsc": {"-compile": 0, "-shared": 0, "-gcc_compile_options": 1, "-gcc_link_options": 1,
            "-o": 1, "-work": 1},
    "vivado": {"-mode": 1, "-source": 1, "-notrace": 0, "-tclargs": 0},
    "vlib": {},
    "vcom": {"-work": 1, "-2008": 0, "-93": 0},
    "vlog": {"-sv": 0, "-work": 1, "-timescale": 1, "-L": 1, "-y": 1, "-v": 1},
    "vsim": {"-c": 0, "-gui": 0, "-do": 1, "-sv_lib": 1, "-L": 1},
    "vcs": {"-full64": 0, "-sverilog": 0, "-top": 1, "-o": 1, "-LDFLAGS": 1,
            "-debug_access+all": 0, "-y": 1, "-v": 1},
    "vhdlan": {"-full64": 0, "-vhdl08": 0, "-work": 1},
    "vlogan": {"-full64": 0, "-sverilog": 0, "-work": 1, "-y": 1, "-v": 1},
    "simv": {"-sv_lib": 1, "-gui": 0},
    "xrun": {"-64bit": 0, "-sv": 0, "-timescale": 1, "-top": 1, "-sv_lib": 1, "-incdir": 1,
             "-define": 1, "-gui": 0, "-access": 1, "-elaborate": 0,
             "-y": 1, "-v": 1, "-reflib": 1, "-v200x": 0},
}
# Those that take a value behind an equals sign.
EQUALS = {"vcs": ("-timescale=",), "vlogan": ("-timescale=",)}

TOOL = pathlib.Path(sys.argv[0]).name


def refuse(text):
    print(f"{TOOL}: {text}", file=sys.stderr)
    sys.exit(1)


def parse(arguments):
    """Options as (name, values), plus arguments, and the rest."""
    options, pluses, rest = [], [], []
    arguments = list(arguments)
    while arguments:
        argument = arguments.pop(0)
        if argument.startswith("+"):
            pluses.append(argument)
        elif argument.startswith(EQUALS.get(TOOL, "\0")):
            options.append((argument.split("=")[0], [argument.split("=", 1)[1]]))
        elif argument.startswith("-"):
            if argument not in OPTIONS[TOOL]:
                refuse(f"unknown option {argument}")
            count = OPTIONS[TOOL][argument]
            if len(arguments) < count:
                refuse(f"{argument} needs {count} values")
            options.append((argument, [arguments.pop(0) for _ in range(count)]))
        else:
            rest.append(argument)
    return options, pluses, rest


def values(options, name):
    return [v[0] for n, v in options if n == name]


def imports(files):
    """The functions that the sources import."""
    text = "".join(pathlib.Path(f).read_text() for f in files if f.endswith((".sv", ".v")))
    return set(re.findall(r'import\s+"DPI-C"\s+function\s+\w+\s+(\w+)', text))


def check_library(path, wanted):
    """What a loader does: the file is there, and each imported function is in it."""
    if not os.path.isfile(path):
        refuse(f"no DPI library {path}")
    table = subprocess.run(["readelf", "--wide", "--dyn-syms", path], check=True,
                           capture_output=True, text=True).stdout
    shown = {w[7].split("@")[0] for w in map(str.split, table.splitlines())
             if len(w) > 7 and w[6] != "UND" and w[4] in ("GLOBAL", "WEAK")}
    if missing := wanted - shown:
        refuse(f"{path} lacks {sorted(missing)}")


def check_sources(files, kinds=(".v", ".sv", ".c", ".a", ".so")):
    for file in files:
        if not os.path.isfile(file):
            refuse(f"no file {file}")
        if not file.endswith(kinds):
            refuse(f"{file} is of no kind that is known")


def compiled(macros, files):
    """What a compiler leaves for the steps after it."""
    if not any(m.startswith("ACCELERATOR_TOP=") for m in macros):
        refuse("ACCELERATOR_TOP is not defined")
    if not imports(files):
        refuse("no file imports a DPI function")
    for macro in macros:
        name, _, value = macro.partition("=")
        known = [pathlib.Path(f).read_text() for f in files if f.endswith(".sv")]
        known += [f"module {entity}" for entity in entities()]
        if name == "ACCELERATOR_TOP" and not any(
                re.search(rf"^module\s+{value}\b", text, re.M) for text in known):
            refuse(f"no module {value}")
    pathlib.Path("compiled").write_text("\n".join(files))


def entities():
    """The entities that were compiled, or are in the call itself."""
    return pathlib.Path("entities").read_text().split() if os.path.exists("entities") else []


def compiled_vhdl(files):
    """Packages are compiled before their use, and entities before those that have them in them."""
    there = []
    for file in files:
        text = re.sub(r"--.*", "", pathlib.Path(file).read_text())
        for unit in re.findall(r"(?:^use|:\s*entity)\s+work\.(\w+)", text, re.M):
            if unit not in there:
                refuse(f"{file} is compiled before {unit}, which it uses")
        there += re.findall(r"^(?:entity|package)\s+(\w+)\s+is", text, re.M)
    pathlib.Path("entities").write_text("\n".join(there))


def check_units(units):
    if units != ["work.accelerator_tb", *(["work.glbl"] if os.path.exists("glbl") else [])]:
        refuse(f"the units are {units}")


def before(what, step):
    if not os.path.exists(what):
        refuse(f"{step} was not run")


def vivado(arguments):
    """Vivado in batch mode."""
    at = arguments.index("-tclargs")
    options, _, rest = parse(arguments[:at])
    if values(options, "-mode") != ["batch"] or rest:
        refuse(f"{arguments[:at]} is no batch run")
    script = values(options, "-source")[0]
    subprocess.run(["tclsh", pathlib.Path(__file__).resolve().parent / "recorder.tcl",
                    os.environ["FLOW_LOG"], script, *arguments[at + 1:]], check=True)
    if script.endswith("package_ip.tcl"):
        folder = pathlib.Path(arguments[at + 2]) / arguments[at + 1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "component.xml").touch()


def main():
    if TOOL == "vivado":
        vivado(sys.argv[1:])
        return
    options, pluses, rest = parse(sys.argv[1:])
    root, out = os.environ["FLOW_ROOT"], os.environ["FLOW_OUT"]
    with open(os.environ["FLOW_LOG"], "a", encoding="utf-8") as log:
        files = [a for a in sys.argv[1:] if a.endswith(".sv")]
        words = [f"'{a}'" if " " in a else "FILES" if a in files else a for a in sys.argv[1:]]
        text = re.sub(r"FILES( FILES)*", "FILES", " ".join([TOOL, *words]))
        log.write(text.replace(out, "OUT").replace(root, "ROOT") + "\n")
        wanted = [f for f in pathlib.Path(os.environ["FLOW_FILES"]).read_text().split()
                  if not f.endswith(".vhd")]
        if files and files != wanted:
            refuse(f"the files are {files}, expected {wanted}")

    for name in ("-i", "-incdir", "-y", "-sourcelibdir"):
        for folder in values(options, name):
            if not os.path.isdir(folder):
                refuse(f"no folder {folder}")
    for file in values(options, "-v") + values(options, "-sourcelibfile"):
        if not os.path.isfile(file):
            refuse(f"no file {file}")
    if TOOL in ("xvhdl", "vcom", "vhdlan"):
        if TOOL == "vcom":
            before("work", "vlib")
        if TOOL == "vhdlan":
            before("synopsys_sim.setup", "the setup of libraries")
        check_sources(rest, (".vhd",))
        compiled_vhdl(rest)
    elif TOOL in ("xvlog", "vlog", "vlogan") and [pathlib.Path(f).name for f in rest] == ["glbl.v"]:
        check_sources(rest)
        pathlib.Path("glbl").touch()
    elif TOOL == "xvlog":
        check_sources(rest)
        compiled(values(options, "-d"), rest)
    elif TOOL == "xsc":
        check_sources(rest)
        # It hands these to a compiler, and so does this.
        os.makedirs("xsim.dir/xsc", exist_ok=True)
        subprocess.run(["gcc", "-shared", "-fPIC", *values(options, "-gcc_compile_options"), *rest,
                        *values(options, "-gcc_link_options"), "-Wl,-z,defs", "-o",
                        "xsim.dir/xsc/dpi.so"], check=True)
    elif TOOL == "xelab":
        before("compiled", "xvlog")
        check_units(rest)
        folder = (values(options, "-sv_root") or ["xsim.dir/xsc"])[0]
        for name in values(options, "-sv_lib"):
            check_library(f"{folder}/{name}.so",
                          imports(pathlib.Path("compiled").read_text().split()))
        if not values(options, "-sv_lib"):
            refuse("no DPI library")
        pathlib.Path(f"snapshot-{values(options, '-s')[0]}").touch()
    elif TOOL == "xsim":
        before(f"snapshot-{rest[0]}", "xelab")
        if pluses:
            refuse("plusargs are given with -testplusarg")
    elif TOOL == "vlib":
        os.mkdir(rest[0])
    elif TOOL == "vlog":
        before("work", "vlib")
        check_sources(rest)
        compiled([p[len("+define+"):] for p in pluses if p.startswith("+define+")], rest)
    elif TOOL == "vsim":
        before("compiled", "vlog")
        check_units(rest)
        for name in values(options, "-sv_lib"):
            check_library(f"{name}.so", imports(pathlib.Path("compiled").read_text().split()))
    elif TOOL == "vlogan":
        check_sources(rest)
        compiled([p[len("+define+"):] for p in pluses if p.startswith("+define+")], rest)
    elif TOOL == "vcs" and rest[:1] == ["accelerator_tb"]:
        # What was compiled before.
        before("compiled", "vlogan")
        tops = 1 + os.path.exists("glbl")
        if rest[1:tops] != ["glbl"][:tops - 1]:
            refuse(f"the tops are {rest}")
        check_sources(rest[tops:])
        pathlib.Path("static").write_text("\n".join(f for f in rest if f.endswith(".a")))
        os.symlink(os.path.realpath(sys.argv[0]), values(options, "-o")[0])
    elif TOOL == "vcs":
        check_sources(rest)
        compiled([p[len("+define+"):] for p in pluses if p.startswith("+define+")],
                 [f for f in rest if f.endswith(".sv")])
        archives = [f for f in rest if f.endswith(".a")]
        pathlib.Path("static").write_text("\n".join(archives))
        os.symlink(os.path.realpath(sys.argv[0]), values(options, "-o")[0] + ".new")
        os.replace(values(options, "-o")[0] + ".new", values(options, "-o")[0])
    elif TOOL == "simv":
        libraries = values(options, "-sv_lib")
        for name in libraries:
            check_library(f"{name}.so", imports(pathlib.Path("compiled").read_text().split()))
        if bool(libraries) == bool(pathlib.Path("static").read_text()):
            refuse("the DPI library is given once: when it is linked or when it is run")
    elif TOOL == "xrun":
        check_sources(rest, (".v", ".sv", ".vhd"))
        compiled_vhdl([f for f in rest if f.endswith(".vhd")])
        compiled(values(options, "-define"), rest)
        for name in values(options, "-sv_lib"):
            check_library(f"{name}.so", imports(rest))


main()
