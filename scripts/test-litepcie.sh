#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# LitePCIe from PyPI, with its own generator, driver and program, on accelerator_pcie4.
set -euo pipefail
SCRIPT_NAME='test-litepcie.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-litepcie.sh [--qemu DIR] [--long]

Runs scripts/demo.sh --example litepcie with a core of 256 bits, looped back in itself, and with
one of 128 bits, looped back outside. Verilator must have no warnings of what is not LitePCIe's, and
LitePCIe's files must be as the wheel has them.

  --qemu DIR  the QEMU in DIR/bin (default: build/qemu/patched)
  --long      each width with both loopbacks, and with completions that come in other legal
              places and another order; and LitePCIe's test of DMA has to find bits that are
              wrong
  --help      this text
EOF
}

QEMU_DIR=build/qemu/patched LONG=no
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "--qemu needs a folder"
      QEMU_DIR=$2
      shift
      ;;
    --long) LONG=yes ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
trap 'rm -rf "$WORK"' EXIT

# demo WIDTH LOOPBACK PLUSARG...: the demo passes, with these arguments for the simulation.
demo() {
  local width=$1 loopback=$2 sim=()
  shift 2
  if (($#)); then
    printf '#!/bin/sh\nexec %q "$@" %s\n' "$PWD/build/litepcie/$width/litepcie_top" "$*" >"$WORK/sim"
    chmod +x "$WORK/sim"
    sim=(--sim "$WORK/sim" --sim-folder "build/litepcie/$width/core")
  fi
  scripts/demo.sh --qemu "$QEMU_DIR" --example litepcie --width "$width" --loopback "$loopback" \
    "${sim[@]}"
}

# built WIDTH: it is, without a warning.
built() {
  rm -f "build/litepcie/$1/warnings.log"
  scripts/build-litepcie.sh --width "$1"
  [[ ! -s build/litepcie/$1/warnings.log ]] || die "Verilator has warnings of the core with $1 bits"
}

if [[ $LONG == no ]]; then
  built 256
  demo 256 internal
  built 128
  demo 128 external
else
  for width in 128 256; do
    built "$width"
    demo "$width" both
    demo "$width" both +accelerator_completion_seed="$width"
  done
  if demo 256 external +litepcie_damage=100003 >"$WORK/log" 2>&1; then
    die "LitePCIe's test of DMA did not find bits that are wrong"
  fi
  cat "$WORK/log"
  grep -qE '^  dma external errors +[1-9]' "$WORK/log" || die "it failed for another reason"
fi

# What pip has installed is what its records say.
# shellcheck source=scripts/python-env.sh
. scripts/python-env.sh
python_env litepcie
"$PYTHON_ENV/bin/python" - <<'PYTHON'
import base64
import hashlib
import importlib.metadata
import sys

changed = []
files = importlib.metadata.files("litepcie")
for file in files:
    if file.hash is not None:
        digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
            changed.append(str(file))
print(f"{len(files)} files of LitePCIe, {len(changed)} changed", *changed)
sys.exit(bool(changed) or len(files) < 50)
PYTHON
