#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes a Vivado project of a card: simulated behind our bridge, synthesized for a board.
set -euo pipefail
SCRIPT_NAME=build_platform.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/sim-flow.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-flow.sh"

usage() {
  cat <<'HELP'
usage: scripts/build_platform.sh [PLATFORM] [option...]

Makes a Vivado project with a card in it, which is the same file for both uses:

  simulation   behind accelerator_pcie_bridge, so that QEMU is its host
  synthesis    behind the PCIe block of the board

  PLATFORM     generic (default): no board and no board files, any edition of Vivado;
               the card is synthesized alone
               vcu128: AMD's VCU128; needs its board files and a license for the part
  --card DIR   folder with accelerator_card.v, card.f and card.vh; default
               hdl/vivado/card/regs. Copy one to begin with
  --out DIR    default build/vivado/PLATFORM
  --part PART  default: the board's, or xc7a35tcpg236-1
  --board PART board part of the board files, for vcu128; default
               xilinx.com:vcu128:part0:1.0
  --ip DIR     where scripts/build_bridge-ip.sh put the bridges; default build/vivado/ip
  --dpi DIR    where scripts/build-dpi.sh put the DPI library; default build/dpi
  --help       this text

It builds the DPI library (scripts/build-dpi.sh) and packages the bridges
(scripts/build_bridge-ip.sh) if that was not done. Then open the project, or simulate it:
  vivado -mode batch -source scripts/run_sim.tcl -tclargs --project DIR/PLATFORM.xpr
HELP
}

platform='' card=$REPO_DIR/hdl/vivado/card/regs out='' part='' board=''
ip=$REPO_DIR/build/vivado/ip dpi=$REPO_DIR/build/dpi
# shellcheck disable=SC2329 # called by name
the_platform() {
  [[ -z $platform ]] || die "two platforms given: '$platform' and '$1'"
  platform=$1
}
take_options --card=card --out=out --part=part --board=board --ip=ip --dpi=dpi @the_platform \
  -- "$@"
platform=${platform:-generic}
case $platform in
  generic) part=${part:-xc7a35tcpg236-1} ;;
  vcu128)
    part=${part:-xcvu37p-fsvh2892-2L-e}
    board=${board:-xilinx.com:vcu128:part0:1.0}
    ;;
  *) die "no platform '$platform'; there are: generic vcu128" ;;
esac
for file in accelerator_card.v card.f card.vh; do
  [[ -f $card/$file ]] || die "$card has no $file"
done
flow_need vivado 'source settings64.sh of your Vivado, for example /opt/Xilinx/Vivado/2024.1/settings64.sh'
card=$(cd "$card" && pwd)
out=${out:-$REPO_DIR/build/vivado/$platform}
make_folder "$out"
out=$(cd "$out" && pwd)

[[ -f $dpi/libaccelerator_dpi.so ]] || "$REPO_DIR/scripts/build-dpi.sh" --out "$dpi"
[[ -f $ip/accelerator_pcie_bridge/component.xml ]] ||
  "$REPO_DIR/scripts/build_bridge-ip.sh" --out "$ip" accelerator_pcie_bridge
ip=$(cd "$ip" && pwd)
dpi=$(cd "$dpi" && pwd)
cd "$out"
flow_run vivado -mode batch -notrace -source "$REPO_DIR/hdl/vivado/${platform}_base.tcl" \
  -tclargs "$out" "$part" "$card" "$ip" "$dpi" ${board:+"$board"}
say "the project is $out/$platform.xpr"
