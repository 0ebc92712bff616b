#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulates an example or a design of the user's with Xcelium. -sv_lib is the switch of IEEE
# 1800-2017, annex J.4; the others are those of the xrun user guide.
set -euo pipefail
SCRIPT_NAME=run-xcelium.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/sim-flow.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-flow.sh"

usage() {
  flow_help xcelium 'Simulates with Xcelium: xrun -sv_lib.' ''
}

flow_arguments xcelium "$@"
flow_need xrun 'put the bin folder of Xcelium on the PATH'

options=()
for folder in "${INCLUDES[@]}"; do options+=(-incdir "$folder"); done
for macro in "${DEFINES[@]}"; do options+=(-define "$macro"); done
((!GUI)) || options+=(-gui -access +rwc)
((!BUILD_ONLY)) || options+=(-elaborate)
for library in "${LIBRARIES[@]}"; do
  options+=(-reflib "$(realpath -m "${library#*=}"):${library%%=*}")
done
# It tells VHDL by its name.
((${#VHDL[@]} == 0)) || options+=(-v200x "${VHDL[@]}")
[[ -z $GLBL ]] || options+=(-top glbl "$GLBL")
flow_run xrun -64bit -sv -timescale 1ns/1ps -top accelerator_tb \
  -sv_lib "$DPI/libaccelerator_dpi" "${options[@]}" "${SEARCH[@]}" "${SOURCES[@]}" \
  "${PLUSARGS[@]/#/+}"
