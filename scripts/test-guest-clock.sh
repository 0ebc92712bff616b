#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What docs/guest-clock.md says of the guest's time while RTL is slow.
set -euo pipefail
SCRIPT_NAME='test-guest-clock.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-guest-clock.sh [option...]

Boots a guest twice, with and without -icount. The simulator is stopped for some
seconds while the guest reads a register. Prints how long that and a sleep of five
seconds were for the guest and by the clock on the wall, and compares with what
docs/guest-clock.md says.

  --qemu DIR    the patched QEMU (default: build/qemu/patched)
  --icount OPT  options for -icount (default: shift=3,sleep=on)
  --help        this text
EOF
}

QEMU_DIR=build/qemu/patched ICOUNT=shift=3,sleep=on
while (($#)); do
  case $1 in
    --qemu | --icount)
      (($# >= 2)) || die "$1 needs a value"
      if [[ $1 == --qemu ]]; then QEMU_DIR=$2; else ICOUNT=$2; fi
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$?
  end_children
  rm -rf "$WORK"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

find_simulation regs
run_child scripts/build-guest.sh --run guest/clock.sh --out "$WORK/guest"

# How long the guest is kept waiting, less what it takes to come there.
STOP_SECONDS=10

now_ms() {
  printf '%s\n' $((${EPOCHREALTIME/./} / 1000))
}

# boot NAME ACCELERATOR...: sets IDLE_WALL, IDLE_GUEST, WAIT_WALL (at most) and WAIT_GUEST.
boot() {
  local name=$1 sim qemu line begin=0
  shift
  mkfifo "$WORK/$name.serial"
  start_child "$WORK/$name.sim.log" "$WORK/$name.sim.log" "$SIM" "+accelerator_endpoint=ipc://$WORK/$name.pcie"
  sim=$CHILD
  start_child "$WORK/$name.serial" "$WORK/$name.qemu.log" "$QEMU_DIR/bin/qemu-system-x86_64" \
    -M q35 -cpu max -m 512 -nodefaults -display none -no-reboot "$@" \
    -kernel "$WORK/guest/vmlinuz" -initrd "$WORK/guest/initramfs.cpio.gz" \
    -append 'console=ttyS0 loglevel=5 panic=-1 no_timer_check accel.run=user accel.tty=ttyS1' \
    -device pcie-root-port,id=rp0 -device "accelerator-pcie,bus=rp0,endpoint=ipc://$WORK/$name.pcie" \
    -serial "file:$WORK/$name.kernel.log" -serial stdio
  qemu=$CHILD
  IDLE_WALL='' IDLE_GUEST='' WAIT_GUEST=''
  while IFS= read -r -t 300 line; do
    case ${line%$'\r'} in
      'ACCEL mark=idle') begin=$(now_ms) ;;
      'ACCEL mark=idled') IDLE_WALL=$(($(now_ms) - begin)) ;;
      'ACCEL idle_guest_ms='*) IDLE_GUEST=${line//[^0-9]/} ;;
      'ACCEL mark=ready')
        kill -STOP "$sim"
        (
          sleep "$STOP_SECONDS"
          kill -CONT "$sim"
        ) &
        ;;
      'ACCEL wait_guest_ms='*) WAIT_GUEST=${line//[^0-9]/} ;;
      'ACCEL error='*) warn "$name: ${line#ACCEL error=}" ;;
      'ACCEL phase=end'*) break ;;
    esac
  done <"$WORK/$name.serial"
  wait_child "$qemu" 20 QEMU
  end_process "-$sim"
  wait "$sim" || true
  if [[ -z $IDLE_WALL || -z $IDLE_GUEST || -z $WAIT_GUEST ]]; then
    tail -n 20 "$WORK/$name".*.log >&2
    die "$name: the guest did not come to its end"
  fi
  say "$name: a sleep is $IDLE_GUEST ms for the guest, $IDLE_WALL ms on the wall;" \
    "a read of RTL that stands still (for about $((STOP_SECONDS - 3)) s) is $WAIT_GUEST ms for the guest"
}

boot plain -accel tcg
# The guest waits as long as everybody.
((WAIT_GUEST >= 3000)) || die "without icount the wait was $WAIT_GUEST ms for the guest, expected at least 3000"
boot icount -accel tcg,thread=single -icount "$ICOUNT"
# It does not notice the wait.
((WAIT_GUEST < 2000)) || die "with icount the wait was $WAIT_GUEST ms for the guest, expected less than 2000"
if [[ $ICOUNT == *sleep=on* ]]; then
  ((IDLE_WALL >= 4000)) || die "with icount and sleep=on a sleep of 5 s took $IDLE_WALL ms on the wall"
fi
say passed
