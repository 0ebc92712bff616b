#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Hosts that vanish from the network without a word.
set -euo pipefail
SCRIPT_NAME='test-vanished.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-vanished.sh [option...]

Joins two network namespaces by a virtual cable, with QEMUs in one and programs that
play simulators on the DPI library in the other, and has the cable lose everything
from one moment on. Both sides have to notice within two and a half minutes, also
with frames under way that nobody waits for, and a QEMU that comes back from another address
has to get the session of the one that is gone. One that is only stopped keeps its own.

  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --help       this text

Needs root, or a system that allows user namespaces.
EOF
}

QEMU_DIR=build/qemu/patched IN_NAMESPACE=no
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      QEMU_DIR=$2
      shift
      ;;
    --in-namespace) IN_NAMESPACE=yes ;;
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
if [[ $IN_NAMESPACE == no ]]; then
  need_packages python3 gcc g++ iproute2 util-linux
  cargo build --package accelerator-dpi --locked
  if ((EUID != 0)); then
    unshare --user --map-root-user true 2>/dev/null ||
      die "neither root nor allowed to make user namespaces: run it with sudo"
    exec unshare --user --map-root-user -- "$0" --qemu "$QEMU_DIR" --in-namespace
  fi
fi
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/vanished.py --qemu "$QEMU" \
  --library "${CARGO_TARGET_DIR:-target}/debug/libaccelerator_dpi.so"
