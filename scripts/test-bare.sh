#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The card against a guest without an operating system, under TCG and KVM.
set -euo pipefail
SCRIPT_NAME='test-bare.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-bare.sh [option...]

Builds the firmware in guest/bare, which tests the card with two processors, and
starts it under TCG, and under KVM with the interrupt controllers in the kernel, and
with the local APICs alone there, wherever KVM runs a guest of this size. The last
lines say under which it ran, and what was left out and why.

  --accel A   tcg or kvm alone; then one that does not run is a failure
  --qemu DIR  the QEMU in DIR/bin (default: build/qemu/patched)
  --keep      keep the logs
  --help      this text
EOF
}

QEMU_DIR=build/qemu/patched ARGS=()
while (($#)); do
  case $1 in
    --accel | --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --accel)
          [[ $2 == tcg || $2 == kvm ]] || die "--accel is $2, expected tcg or kvm"
          ARGS+=(--accel "$2")
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
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
QEMU=$QEMU_DIR/bin/qemu-system-x86_64
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
need_packages python3 gcc binutils make
mkdir -p build/bare
make --silent -C guest/bare OUT="$REPO_DIR/build/bare"
cargo build --release --locked --package accelerator-peers --bin accelerator-endpoint
TARGET=$(cargo metadata --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
BARE=(python3 tests/vm/bare.py --firmware build/bare/bare.bin
  --endpoint "$TARGET/release/accelerator-endpoint")

# An error while a machine starts, here of a QEMU that is no program, leaves no process behind.
FOLDER=$(mktemp -d)
! TMPDIR=$FOLDER "${BARE[@]}" --qemu /dev/null --accel tcg >"$FOLDER/said" 2>&1 ||
  die 'a QEMU that is no program was run'
grep -q '^FAILED  tcg: PermissionError' "$FOLDER/said" || die "it says: $(<"$FOLDER/said")"
for file in /proc/[0-9]*/cmdline; do
  ! grep -qsF "$FOLDER/accbare-" "$file" || die "process ${file//[!0-9]/} is left: $(tr '\0' ' ' <"$file")"
done
rm -rf "$FOLDER"
echo 'ok      an error while a machine starts leaves no process behind'

exec "${BARE[@]}" --qemu "$QEMU" "${ARGS[@]}"
