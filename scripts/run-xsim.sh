#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulates an example or a design of the user's with Vivado's simulator, without a project.
# The options are those of UG900: "Parsing Design Files", "xelab", "xsim Executable Options",
# "Binding Compiled C Code to SystemVerilog Using xelab" and "xsc Compiler".
set -euo pipefail
SCRIPT_NAME=run-xsim.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/sim-flow.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-flow.sh"

usage() {
  flow_help xsim \
    "Simulates with Vivado's simulator: xvlog, xelab -sv_lib, xsim. No project is made." \
    "  --library F    shared (default): libaccelerator_dpi.so as it is; static: xsc links
                 libaccelerator_dpi.a and the files of --c into one DPI library
  --c FILE       C code with further DPI functions of yours; may be given more than once
"
}

flow_arguments xsim "$@"
hint='source settings64.sh of your Vivado, for example /opt/Xilinx/Vivado/2024.1/settings64.sh'
flow_need xvlog "$hint"

# xelab adds .so to the name, and no lib before it.
binding=(-sv_root "$DPI" -sv_lib libaccelerator_dpi -dpi_absolute)
if [[ $LIBRARY == static ]]; then
  # xsc wants a source; without one of the user's it gets an empty one.
  if ((${#C_SOURCES[@]} == 0)); then
    echo 'typedef int accelerator_dpi_is_in_the_archive;' >accelerator_static.c
    C_SOURCES=("$PWD/accelerator_static.c")
  fi
  flow_run xsc -gcc_compile_options "-I$DPI" -gcc_link_options "-Wl,--whole-archive" \
    -gcc_link_options "$DPI/libaccelerator_dpi.a" -gcc_link_options "-Wl,--no-whole-archive" \
    -gcc_link_options "-lpthread" -gcc_link_options "-ldl" -gcc_link_options "-lm" \
    "${C_SOURCES[@]}"
  # Where xsc leaves it and xelab looks by itself.
  binding=(-sv_lib dpi)
fi

options=()
for folder in "${INCLUDES[@]}"; do options+=(-i "$folder"); done
for macro in "${DEFINES[@]}"; do options+=(-d "$macro"); done
for folder in "${LIST_FOLDERS[@]}"; do options+=(-sourcelibdir "$folder"); done
for file in "${LIST_FILES[@]}"; do options+=(-sourcelibfile "$file"); done
if ((${#LIST_FOLDERS[@]})); then
  for suffix in "${LIST_SUFFIXES[@]}"; do options+=(-sourcelibext "$suffix"); done
fi
libraries=()
for library in "${LIBRARIES[@]}"; do libraries+=(-L "$library"); done
((${#VHDL[@]} == 0)) || flow_run xvhdl -2008 -work work "${VHDL[@]}"
flow_run xvlog -sv -work work "${libraries[@]}" "${options[@]}" "${SOURCES[@]}"
tops=(work.accelerator_tb)
if [[ -n $GLBL ]]; then
  flow_run xvlog -work work "$GLBL"
  tops+=(work.glbl)
fi
flow_run xelab "${tops[@]}" -s "$NAME" -timescale 1ns/1ps -debug typical "${libraries[@]}" \
  "${binding[@]}"
((!BUILD_ONLY)) || exit 0

options=()
for plusarg in "${PLUSARGS[@]}"; do options+=(-testplusarg "$plusarg"); done
if ((GUI)); then options+=(-gui); else options+=(-runall -onfinish quit); fi
export LD_LIBRARY_PATH=$DPI${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
flow_run xsim "$NAME" "${options[@]}"
