#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulates an example or a design of the user's with Questa or ModelSim. -sv_lib is the switch
# of IEEE 1800-2017, annex J.4; the others are those of the tools' command reference.
set -euo pipefail
SCRIPT_NAME=run-questa.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/sim-flow.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-flow.sh"

usage() {
  flow_help questa 'Simulates with Questa or ModelSim: vlib, vlog, vsim -sv_lib.' ''
}

flow_arguments questa "$@"
flow_need vlog 'put the bin folder of Questa or ModelSim on the PATH'

# A library by its folder, where that is given.
libraries=()
for library in "${LIBRARIES[@]}"; do libraries+=(-L "${library#*=}"); done
[[ -d work ]] || flow_run vlib work
((${#VHDL[@]} == 0)) || flow_run vcom -2008 -work work "${VHDL[@]}"
flow_run vlog -sv -work work -timescale 1ns/1ps "${libraries[@]}" "${INCLUDES[@]/#/+incdir+}" \
  "${DEFINES[@]/#/+define+}" "${SEARCH[@]}" "${SOURCES[@]}"
tops=(work.accelerator_tb)
if [[ -n $GLBL ]]; then
  flow_run vlog -work work "$GLBL"
  tops+=(work.glbl)
fi
((!BUILD_ONLY)) || exit 0

if ((GUI)); then mode=(-gui); else mode=(-c -do 'run -all; quit -f'); fi
flow_run vsim -sv_lib "$DPI/libaccelerator_dpi" "${mode[@]}" "${libraries[@]}" \
  "${tops[@]}" "${PLUSARGS[@]/#/+}"
