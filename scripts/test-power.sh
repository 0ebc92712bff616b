#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What takes a card away from its driver, or the driver from its card, and gives it back.
set -euo pipefail
SCRIPT_NAME='test-power.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-power.sh [option...] [CHECK...]

Starts a VM with two cards and does the checks that are named, or all:

  runtime   runtime power management: D3hot while nobody has the card open
  aer       errors of PCI Express, fatal and others, by the monitor's
            pcie_aer_inject_error: the kernel resets the slot
  s3        suspend to RAM and resume, by QMP's system_wakeup
  kexec     another kernel, while the RTL does DMA
  kdump     a panic while the RTL does DMA: the crash kernel takes the cards over

  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --keep       keep the logs
  --help       this text
EOF
}

QEMU_DIR=build/qemu/patched ARGS=()
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      QEMU_DIR=$2
      shift
      ;;
    --keep) ARGS+=(--keep) ;;
    --help | -h)
      usage
      exit 0
      ;;
    runtime | aer | s3 | kexec | kdump) ARGS+=("$1") ;;
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
scripts/build-guest.sh --out build/guest-power
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/power.py --qemu "$QEMU" --guest build/guest-power "${ARGS[@]}"
