#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Bytes between a chardev of QEMU and the UART bridge in RTL.
set -euo pipefail
SCRIPT_NAME='test-serial.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-serial.sh [option...]

Starts QEMU and a simulator with accelerator_uart_bridge, and sends bytes from a
chardev to the RTL and back, with pauses at both ends, then fewer each way alone.
Every byte is compared; both ends' counters have to agree, and each end has to have
waited for the other.

  --bytes N    there and back (default 1048576)
  --seed N     of the data, to repeat a run; each prints its own
  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --keep       keep the logs
  --help       this text
EOF
}

QEMU_DIR=build/qemu/patched ARGS=()
while (($#)); do
  case $1 in
    --bytes | --seed | --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      if [[ $1 == --qemu ]]; then
        QEMU_DIR=$2
      else
        [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 is $2, expected a number from 1"
        ARGS+=("$1" "$2")
      fi
      shift
      ;;
    --keep) ARGS+=(--keep) ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
QEMU=$QEMU_DIR/bin/qemu-system-x86_64
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
need_packages python3
scripts/build-sim.sh --top channels_top --files hdl/bench/channels.f
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/serial.py --qemu "$QEMU" "${ARGS[@]}"
