#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Cards that come, go, are reset and replaced under a real guest.
set -euo pipefail
SCRIPT_NAME='test-life.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-life.sh [option...] [CHECK...]

Starts two VMs and three simulators, one of them with two bridges, and does the
checks that are named, or all:

  many      each card works for itself; one of two bridges is plugged out and in
  reset     FLR, bus reset and reboot by the guest: what they reset
  hotplug   device_del and device_add with the driver loaded; what is left behind
  swap      scripts/swap-rtl.sh with edited RTL, with another card, and back

  --rounds N   how often hotplug plugs (default 10; 100 is the long form)
  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --keep       keep the logs
  --help       this text
EOF
}

ROUNDS=10 QEMU_DIR=build/qemu/patched ARGS=()
while (($#)); do
  case $1 in
    --rounds | --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --rounds)
          [[ $2 =~ ^[0-9]+$ && $2 -ge 4 ]] || die "--rounds is $2, expected a number from 4"
          ROUNDS=$2
          ;;
        --qemu) QEMU_DIR=$2 ;;
      esac
      shift
      ;;
    --keep) ARGS+=(--keep) ;;
    --help | -h)
      usage
      exit 0
      ;;
    many | reset | hotplug | swap) ARGS+=("$1") ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
QEMU=$QEMU_DIR/bin/qemu-system-x86_64
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
need_packages python3
for example in sort regs twin; do
  scripts/build-sim.sh "$example"
done
scripts/build-guest.sh --out build/guest-life
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/life.py --qemu "$QEMU" --guest build/guest-life --rounds "$ROUNDS" "${ARGS[@]}"
