#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulates an example or a design of the user's with VCS. -sv_lib is the switch of IEEE
# 1800-2017, annex J.4; the others are those of the VCS user guide.
set -euo pipefail
SCRIPT_NAME=run-vcs.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/sim-flow.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-flow.sh"

usage() {
  flow_help vcs 'Simulates with VCS: vcs, then the program that it makes; vhdlan and vlogan before, where there is VHDL.' \
    "  --library F    shared (default): loaded by the program with -sv_lib; static:
                 libaccelerator_dpi.a and the files of --c are linked into the program
  --c FILE       C code with further DPI functions of yours; may be given more than once
"
}

flow_arguments vcs "$@"
flow_need vcs 'put the bin folder of VCS on the PATH'

linked=()
loaded=(-sv_lib "$DPI/libaccelerator_dpi")
if [[ $LIBRARY == static ]]; then
  linked=("${C_SOURCES[@]}" "$DPI/libaccelerator_dpi.a" -LDFLAGS '-lpthread -ldl -lm')
  loaded=()
fi
if ((GUI)); then linked+=(-debug_access+all) loaded+=(-gui); fi
if ((${#VHDL[@]} == 0)); then
  tops=(-top accelerator_tb)
  [[ -z $GLBL ]] || tops+=(-top glbl)
  flow_run vcs -full64 -sverilog -timescale=1ns/1ps "${tops[@]}" -o simv \
    "${INCLUDES[@]/#/+incdir+}" "${DEFINES[@]/#/+define+}" "${SEARCH[@]}" "${SOURCES[@]}" \
    ${GLBL:+"$GLBL"} "${linked[@]}"
else
  # With VHDL it takes three steps: each language into a library, which a file names, and then the
  # units of it.
  mkdir -p work
  printf '%s\n' 'WORK > DEFAULT' 'DEFAULT : ./work' >synopsys_sim.setup
  flow_run vhdlan -full64 -vhdl08 "${VHDL[@]}"
  flow_run vlogan -full64 -sverilog -timescale=1ns/1ps "${INCLUDES[@]/#/+incdir+}" \
    "${DEFINES[@]/#/+define+}" "${SEARCH[@]}" "${SOURCES[@]}"
  tops=(accelerator_tb)
  if [[ -n $GLBL ]]; then
    flow_run vlogan -full64 "$GLBL"
    tops+=(glbl)
  fi
  flow_run vcs -full64 "${tops[@]}" -o simv "${linked[@]}"
fi
((!BUILD_ONLY)) || exit 0

flow_run ./simv "${loaded[@]}" "${PLUSARGS[@]/#/+}"
