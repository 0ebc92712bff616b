#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The cards behind QEMU's virtual IOMMUs.
set -euo pipefail
SCRIPT_NAME='test-iommu.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-iommu.sh [option...] [IOMMU...]

Starts a VM with two cards behind each virtual IOMMU that is named, or behind
each there is, and uses them with drivers that know nothing of it:

  intel   QEMU's intel-iommu
  amd     QEMU's amd-iommu

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
    intel | amd) ARGS+=("$1") ;;
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
scripts/build-guest.sh --out build/guest-iommu
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/iommu.py --qemu "$QEMU" --guest build/guest-iommu "${ARGS[@]}"
