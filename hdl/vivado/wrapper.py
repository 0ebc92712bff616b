#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Verilog wrapper of a SystemVerilog module, for Vivado's IP packager and block designs.

usage: wrapper.py FILE.sv OUT.v [PARAMETERS.tcl]

Both take Verilog at the top only (UG1118, "Top-Level HDL Requirements"; UG994, "Limitations of
the Module Reference Feature"). The wrapper is called MODULE_ip and has the ports and parameters of
the module under the same names. The attributes in it name the interfaces (UG994, "Inferring AXI
Interfaces", "Inferring Clock and Reset Interfaces", "Inferring Interrupt Interfaces").
PARAMETERS.tcl is a Tcl list of what the packager shows: for each parameter its name, kind (string,
long or bits), width, default, and the comment above it in the source.

It reads the header of a module as the sources here are written: one parameter or port a line,
typed, ANSI style.
"""

import pathlib
import re
import sys

AXI = {"axi": "xilinx.com:interface:aximm:1.0", "axis": "xilinx.com:interface:axis:1.0"}


def fail(text):
    sys.exit(f"wrapper.py: {text}")


def header(text):
    """Name, lines of parameters and lines of ports of the first module."""
    match = re.search(
        r"^module (\w+)\s*(?:import [\w:*, ]+;)?\s*#\((.*?)^\) \((.*?)^\);", text, re.S | re.M)
    if not match:
        fail("no module with parameters and ports in this style")
    return match.group(1), match.group(2).splitlines(), match.group(3).splitlines()


def statements(lines):
    """Code of each line with the comment above it; a comment of a group is that of its first."""
    comment = []
    for line in lines:
        text = line.strip()
        if text.startswith("/*"):
            continue
        if text.startswith("//"):
            comment.append(text[2:].strip())
        elif text:
            yield text.split("//")[0].strip().rstrip(","), " ".join(comment)
            comment = []


def bits(ranges):
    """Width of packed dimensions with constant bounds."""
    width = 1
    for high, low in re.findall(r"\[(\d+):(\d+)\]", ranges):
        width *= int(high) - int(low) + 1
    return width


def constant(text, width):
    """A constant of SystemVerilog in Verilog."""
    return f"{width}'h0" if text == "'0" else text


def number(text):
    """Value of a constant."""
    match = re.fullmatch(r"(?:\d+'([bdh]))?([0-9A-Fa-f_]+)", text)
    if not match:
        fail(f"'{text}' is no constant")
    return int(match.group(2).replace("_", ""),
               {"b": 2, "d": 10, "h": 16, None: 10}[match.group(1)])


def parameters(lines):
    for text, comment in statements(lines):
        match = re.fullmatch(
            r"parameter (string|int unsigned|bit (?:\[[^]]*\])+)\s+(\w+)\s*=\s*(.*)", text)
        if not match:
            fail(f"'{text}' is no parameter that is understood")
        kind, name, value = match.groups()
        if kind == "string":
            yield name, "string", 0, value, value.strip('"'), comment, ""
        elif kind == "int unsigned":
            yield name, "long", 32, value, number(value), comment, "integer "
        else:
            width = bits(kind)
            value = constant(value, width)
            yield name, "bits", width, value, f"0x{number(value):0{-(-width // 4)}X}", comment, \
                f"[{width - 1}:0] "


def ports(lines):
    for text, _ in statements(lines):
        match = re.fullmatch(r"(input|output)\s+logic\s*(\[[^]]*\])?\s*(\w+)", text)
        if not match:
            fail(f"'{text}' is no port that is understood")
        yield match.group(1), match.group(2) or "", match.group(3)


def attributes(name, names):
    """What Vivado reads about a port."""
    buses = dict.fromkeys(m.group(1) for n in names
                          if (m := re.match(r"([ms]_axis?)_(?!a(clk|resetn)$)", n)))
    resets = [n for n in names if n.endswith("resetn")]
    if name.endswith("aclk"):
        return (f'(* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 {name} CLK", '
                f'X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {":".join(buses)}, '
                f'ASSOCIATED_RESET {":".join(resets)}" *)')
    if name in resets:
        return (f'(* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 {name} RST", '
                'X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)')
    if name in ("interrupt", "intx"):
        # The interrupt of AXI UART Lite is an edge (PG142), INTx is a level.
        kind = "EDGE_RISING" if name == "interrupt" else "LEVEL_HIGH"
        return (f'(* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 {name} INTERRUPT", '
                f'X_INTERFACE_PARAMETER = "SENSITIVITY {kind}" *)')
    match = re.fullmatch(r"([ms]_(axis?))_(\w+)", name)
    if match:
        return (f'(* X_INTERFACE_INFO = "{AXI[match.group(2)]} {match.group(1)} '
                f'{match.group(3).upper()}" *)')
    return ""


def main():
    if len(sys.argv) not in (3, 4):
        fail(__doc__)
    source = pathlib.Path(sys.argv[1])
    module, parameter_lines, port_lines = header(source.read_text())
    found = list(parameters(parameter_lines))
    wires = list(ports(port_lines))
    names = [w[2] for w in wires]

    out = ["// SPDX-License-Identifier: Apache-2.0", "//",
           f"// Written by wrapper.py from {source.name}.", "", f"module {module}_ip #("]
    out.append(",\n".join(f"  parameter {p[6]}{p[0]} = {p[3]}" for p in found))
    out.append(") (")
    lines = []
    for direction, width, name in wires:
        note = attributes(name, names)
        lines.append((f"  {note}\n" if note else "") +
                     f"  {direction} wire {width + ' ' if width else ''}{name}")
    out.append(",\n".join(lines))
    out.append(");")
    out.append(f"\n  {module} #(")
    out.append(",\n".join(f"    .{p[0]}({p[0]})" for p in found))
    out.append("  ) u_ip (")
    out.append(",\n".join(f"    .{name}({name})" for name in names))
    out.append("  );\n\nendmodule")
    pathlib.Path(sys.argv[2]).write_text("\n".join(out) + "\n")

    if len(sys.argv) == 4:
        def quote(t):
            return "{" + str(t).replace("{", "(").replace("}", ")") + "}"
        pathlib.Path(sys.argv[3]).write_text("".join(
            f"{p[0]} {p[1]} {p[2]} {quote(p[4])} {quote(p[5])}\n" for p in found))


main()
