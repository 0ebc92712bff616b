#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulators that end by each signal and come back, under a QEMU that goes on.
set -euo pipefail
SCRIPT_NAME='test-restarts.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-restarts.sh [option...]

Starts QEMU with a card that has a network and a serial line, without a guest, and
a program that plays the simulator on the DPI library. That is ended by SIGTERM,
SIGINT and SIGKILL, over a Unix socket and over TCP, each with the PCIe link through
shared memory and through the socket, and started again: the PCIe link, the NIC
channel and the serial channel have to come back each time.

  --count N    restarts by each signal on each of these four carriers (default 5)
  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --help       this text
EOF
}

QEMU_DIR=build/qemu/patched COUNT=5
while (($#)); do
  case $1 in
    --count | --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      if [[ $1 == --qemu ]]; then
        QEMU_DIR=$2
      else
        [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 is $2, expected a number from 1"
        COUNT=$2
      fi
      shift
      ;;
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
need_packages python3 gcc g++
cargo build --package accelerator-dpi --locked
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The two ports above it are for the channels.
PORT=$((20000 + RANDOM % 10000))
exec python3 tests/vm/restarts.py --qemu "$QEMU" --count "$COUNT" --port "$PORT" \
  --library "${CARGO_TARGET_DIR:-target}/debug/libaccelerator_dpi.so"
