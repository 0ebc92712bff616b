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
  flow_help vcs 'Simulates with VCS: vcs, then the program that it makes.' \
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
tops=(-top accelerator_tb)
[[ -z $GLBL ]] || tops+=(-top glbl)
flow_run vcs -full64 -sverilog -timescale=1ns/1ps "${tops[@]}" -o simv \
  "${INCLUDES[@]/#/+incdir+}" "${DEFINES[@]/#/+define+}" "${SEARCH[@]}" "${SOURCES[@]}" \
  ${GLBL:+"$GLBL"} "${linked[@]}"
((!BUILD_ONLY)) || exit 0

flow_run ./simv "${loaded[@]}" "${PLUSARGS[@]/#/+}"
