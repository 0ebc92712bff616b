#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# LitePCIe as it comes from PyPI: a core by its generator, a simulation of that with our block in
# place of AMD's, and a guest with its driver and its program.
set -euo pipefail
SCRIPT_NAME='build-litepcie.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/build-litepcie.sh [option...]

Installs LitePCIe (scripts/python-requirements-litepcie.txt) into an environment of its own,
lets its generator, called by hdl/designs/litepcie/generate.py, make a core for the UltraScale+
block of PCI Express, and makes of it

  DIR/litepcie.f      file list: the core, LitePCIe's files for the block, accelerator_pcie4
                      under the name of the IP, and hdl/designs/litepcie
  DIR/litepcie_top    the simulation. It has to run in DIR/core, where the core's
                      \$readmemh finds its file
  DIR/core            what the generator wrote
  DIR/software        LitePCIe's kernel driver and programs, with the core's headers
  DIR/guest           the small guest with that driver, litepcie_util and guest/litepcie.sh

No file of LitePCIe's is changed. scripts/demo.sh --example litepcie runs it.

  --width BITS      of its streams and of the block's: 128 or 256 (default 256)
  --waves           a simulation that can write waves: DIR/litepcie_top-waves
  --kernel PACKAGE  as for scripts/build-guest.sh
  --out DIR         default build/litepcie/BITS
  --help            this text
EOF
}

WIDTH=256 WAVES=() KERNEL=() OUT=''
# shellcheck disable=SC2329 # called by name
kernel() {
  KERNEL=(--kernel "$2")
}
take_options --width=WIDTH --kernel=@kernel --out=OUT --waves:WAVES+ -- "$@"
case $WIDTH in
  128 | 256) ;;
  # Those for 512 bits do not fit together: m_axis_rc_adapt_512b.v has no port m_axis_rc_tkeep_a, which
  # pcie_usp_support.v connects.
  *) die "--width is $WIDTH; 128 and 256 are possible: LitePCIe 2024.12 has no files for the UltraScale+ block of another width that can be elaborated" ;;
esac
OUT=${OUT:-build/litepcie/$WIDTH}
make_folder "$OUT"
OUT=$(realpath "$OUT")
DESIGN=$REPO_DIR/hdl/designs/litepcie
need_packages gcc libc6-dev make

# ---- the core --------------------------------------------------------------------

python_env litepcie
SITE=$("$PYTHON_ENV/bin/python" -c 'import os, litepcie; print(os.path.dirname(litepcie.__file__))')
# It has the date in it, and so is made once. What is in it names files of the environment.
# The environment's name tells its content.
CORE=$(cache_dir)/litepcie/$WIDTH-$(content_key "$DESIGN/litepcie.yml" "$DESIGN/generate.py" "in $PYTHON_ENV" 2)
TCL=$CORE/build/gateware/litepcie_core.tcl
if [[ ! -f $CORE/complete ]]; then
  mkdir -p "$(cache_dir)/litepcie"
  lock_cache "litepcie/$(basename "$CORE")"
  if [[ ! -f $CORE/complete ]]; then
    say "generating a core of $WIDTH bits"
    rm -rf "$CORE"
    mkdir -p "$CORE"
    LOG_FILE=$CORE/generator.log
    {
      cat "$DESIGN/litepcie.yml"
      printf 'phy_data_width: %d\nphy_pcie_data_width: %d\n' "$WIDTH" "$WIDTH"
    } >"$CORE/litepcie.yml"
    (
      cd "$CORE"
      run_logged "LitePCIe's generator" "$PYTHON_ENV/bin/python" "$DESIGN/generate.py" litepcie.yml
    )
    [[ -f $TCL && -f $CORE/csr.h ]] || die "LitePCIe's generator wrote no core; see $LOG_FILE"
    touch "$CORE/complete"
  fi
  unlock_cache
fi
ln -sfn "$CORE/build/gateware" "$OUT/core"

# ---- the simulation --------------------------------------------------------------

# What the core asks of the IP, as Vivado is told it.
asked() {
  local value
  value=$(sed -n "s/^CONFIG\.$1 {\(.*\)} .*/\1/p" "$TCL")
  [[ -n $value ]] || die "$TCL does not set $1 of the IP"
  printf '%s\n' "$value"
}
IP=$(sed -n 's/^create_ip .* -module_name //p' "$TCL")
MEGABYTES=$(asked pf0_bar0_size)
[[ $(asked axisten_if_width) == "${WIDTH}_bit" && $(asked pf0_bar0_scale) == Megabytes &&
  $(asked AXISTEN_IF_RC_STRADDLE) == False && $(asked axisten_if_enable_client_tag) == True &&
  $(asked PF0_INTERRUPT_PIN) == NONE ]] || die "$TCL sets up the IP in a way that is not known here"
LANES=$(asked PL_LINK_CAP_MAX_LINK_WIDTH)
# It has one vector of MSI where nothing else is said.
scripts/build-pcie-block.sh "$IP" --width "$WIDTH" --lanes "${LANES#X}" \
  -G "DeviceId=16'h$(asked PF0_DEVICE_ID)" -G "Bar0Size=$((${MEGABYTES%.0} << 20))" -G MsiVectors=1 \
  --out "$OUT/$IP.sv" >/dev/null
{
  printf '// Written by: scripts/build-litepcie.sh --width %d\n' "$WIDTH"
  # What LitePCIe has written or generated is not ours to mend: widths that differ, non-blocking
  # assignments in combinational processes and pins left out, all of which are as meant there.
  printf -- '-Wno-%s\n' CASEINCOMPLETE COMBDLY PINMISSING UNOPTFLAT WIDTHEXPAND WIDTHTRUNC
  printf '%s\n' "-F $REPO_DIR/hdl/bridge.f"
  # The files in their order, as Vivado is told them.
  sed -n 's/^read_verilog {\(.*\)}$/\1/p' "$TCL"
  printf '%s\n' "$OUT/$IP.sv" "$DESIGN"/{IBUFDS_GTE4,FDPE,litepcie_top}.sv
} >"$OUT/litepcie.f"
scripts/build-sim.sh --top litepcie_top --files "$OUT/litepcie.f" --out "$OUT" \
  -G "DataWidth=$WIDTH" -G "Lanes=${LANES#X}" "${WAVES[@]}"

# ---- driver, program, guest ------------------------------------------------------

SOFTWARE=$CORE/software
lock_cache "litepcie/$(basename "$CORE")"
if [[ ! -f $SOFTWARE/complete ]]; then
  say "building litepcie_util"
  rm -rf "$SOFTWARE"
  mkdir -p "$SOFTWARE"
  LOG_FILE=$CORE/software.log
  : >"$LOG_FILE"
  cp -r "$SITE"/software/{kernel,user} "$SOFTWARE/"
  cp "$CORE"/{csr,soc,mem}.h "$SOFTWARE/kernel/"
  # The driver alone. Beside it is liteuart.c, for serial ports that this core has not, which is for
  # kernels before 6.10.
  printf '%s\n' 'obj-m := litepcie.o' 'litepcie-objs := main.o' >"$SOFTWARE/kernel/Kbuild"
  # The guest has no shared libraries.
  run_logged litepcie_util make -C "$SOFTWARE/user" CC="${CC:-gcc}" LDFLAGS=-static litepcie_util
  touch "$SOFTWARE/complete"
fi
unlock_cache
ln -sfn "$SOFTWARE" "$OUT/software"
scripts/build-guest.sh --module "$SOFTWARE/kernel" --program "$SOFTWARE/user/litepcie_util" \
  --run guest/litepcie.sh --out "$OUT/guest" "${KERNEL[@]}"
