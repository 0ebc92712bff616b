#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What an operating system does with a card besides driving it.
set -euo pipefail
SCRIPT_NAME='test-guest-os.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-guest-os.sh [option...] [CHECK...]

Starts a VM with three cards and does the checks that are named, or all:

  widths    accesses of every width that the CPU has, at every alignment and
            across pages: integer, x87, SSE, AVX, string and locked ones
  affinity  interrupts while their affinities move
  d3hot     power state D3hot and back
  flr       function level resets while the card works
  msi       a sorter that has MSI and no MSI-X in place of the first one

  --interrupts N  how many affinity raises (default 4000; 64000 is the long form)
  --resets N      how many flr makes (default 20; 200 is the long form)
  --qemu DIR      the QEMU in DIR/bin (default: build/qemu/patched)
  --keep          keep the logs
  --help          this text
EOF
}

QEMU_DIR=build/qemu/patched ARGS=()
while (($#)); do
  case $1 in
    --interrupts | --resets | --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --qemu) QEMU_DIR=$2 ;;
        *)
          [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 is $2, expected a number from 1"
          ARGS+=("$1" "$2")
          ;;
      esac
      shift
      ;;
    --keep) ARGS+=(--keep) ;;
    --help | -h)
      usage
      exit 0
      ;;
    widths | affinity | d3hot | flr | msi) ARGS+=("$1") ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
QEMU=$QEMU_DIR/bin/qemu-system-x86_64
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
need_packages python3
for example in sort probe; do
  scripts/build-sim.sh "$example"
done
scripts/build-sim.sh sort --out build/sim/msi -G MsixVectors=0 -G MsiVectors=4 -G MsiMasking=1
scripts/build-guest.sh --out build/guest-os
cargo build --release --locked --package accelerator-peers --bin accelerator-endpoint
TARGET=$(cargo metadata --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/guest_os.py --qemu "$QEMU" --guest build/guest-os \
  --endpoint "$TARGET/release/accelerator-endpoint" "${ARGS[@]}"
