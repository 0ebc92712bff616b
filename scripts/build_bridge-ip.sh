#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Packages the bridges as Vivado IP.
set -euo pipefail
SCRIPT_NAME=build_bridge-ip.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/sim-flow.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-flow.sh"

usage() {
  cat <<'HELP'
usage: scripts/build_bridge-ip.sh [option...] [MODULE...]

Packages the bridges as Vivado IP, accelerator-pcie:cosim:MODULE:1.0, with their AXI
interfaces, clock and reset, and a page of parameters. Add the folder to a project with
  set_property ip_repo_paths DIR [current_project]; update_ip_catalog

  MODULE       accelerator_pcie_bridge, ...; all that there are unless given. What is
               packaged, and how its parameters are shown, is in hdl/vivado/ip.tcl
  --out DIR    default build/vivado/ip
  --part PART  a part that your Vivado has; the IP does not depend on it. Default
               xc7a35tcpg236-1, which every edition has
  --help       this text

The IP is for simulation: it calls the DPI library (docs/vivado.md). The sources are
copied into it.
HELP
}

out=$REPO_DIR/build/vivado/ip part=xc7a35tcpg236-1 modules=()
# shellcheck disable=SC2329 # called by name
module() {
  [[ -f $REPO_DIR/hdl/rtl/$1.sv ]] || die "no module $1 in hdl/rtl"
  modules+=("$1")
}
take_options --out=out --part=part @module -- "$@"
hdl=$REPO_DIR/hdl
if ((${#modules[@]} == 0)); then
  for module in accelerator_pcie_bridge accelerator_nic_bridge accelerator_uart_bridge; do
    [[ ! -f $hdl/rtl/$module.sv ]] || modules+=("$module")
  done
fi
flow_need vivado 'source settings64.sh of your Vivado, for example /opt/Xilinx/Vivado/2024.1/settings64.sh'
have python3 || die 'python3 is missing'
make_folder "$out"
out=$(cd "$out" && pwd)

for module in "${modules[@]}"; do
  say "$module"
  work=$out/.source-$module
  mkdir -p "$work"
  python3 "$hdl/vivado/wrapper.py" "$hdl/rtl/$module.sv" "$work/${module}_ip.v" "$work/parameters.tcl"
  SOURCES=() INCLUDES=() DEFINES=()
  flow_list "$hdl/bridge.f"
  (cd "$work" && flow_run vivado -mode batch -notrace -source "$hdl/vivado/package_ip.tcl" \
    -tclargs "$module" "$out" "$part" "$work/${module}_ip.v" "$work/parameters.tcl" "${SOURCES[@]}")
done
say "the IP is in $out"
