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

What docs/guest-clock.md says, in three parts:

  wait    boots a guest twice, with and without -icount. The simulator is stopped for
          some seconds while the guest reads a register. Prints how long that and a
          sleep of five seconds were for the guest and by the clock on the wall
  follow  the guest without -icount then has its time follow the simulator's, and
          compares it with a register that counts clocks
  tcp     two VMs; the simulation of the network card is slowed down to a thousandth of
          250 MHz, and round trips and TCP are measured by the guest's clock, once
          when that is the wall's and once when it follows the simulator's

  --part NAME       wait (which has follow in it) or tcp (default: both)
  --qemu DIR        the patched QEMU (default: build/qemu/patched)
  --plain-qemu DIR  the plain VM's (default: build/qemu/baseline)
  --icount OPT      options for -icount (default: shift=3,sleep=on)
  --clocks-per-second N  of the slow card (default 250000)
  --help            this text
EOF
}

QEMU_DIR=build/qemu/patched PLAIN_DIR='' ICOUNT=shift=3,sleep=on PART='' RATE=250000
while (($#)); do
  case $1 in
    --qemu | --plain-qemu | --icount | --part | --clocks-per-second)
      (($# >= 2)) || die "$1 needs a value"
      case $1 in
        --qemu) QEMU_DIR=$2 ;;
        --plain-qemu) PLAIN_DIR=$2 ;;
        --icount) ICOUNT=$2 ;;
        --part) PART=$2 ;;
        --clocks-per-second) number "$1" "$2" 1000 && RATE=$2 ;;
      esac
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

[[ -z $PART || $PART == wait || $PART == tcp ]] || die "--part is $PART, expected wait or tcp"

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

# How long the guest is kept waiting, less what it takes to come there.
STOP_SECONDS=10

now_ms() {
  printf '%s\n' $(($(clock_us) / 1000))
}

# boot NAME ACCELERATOR...: sets IDLE_WALL, IDLE_GUEST, WAIT_WALL (at most) and WAIT_GUEST.
boot() {
  local name=$1 sim qemu line begin=0 guest clocks
  shift
  mkfifo "$WORK/$name.serial"
  shared_memory 512
  start_child "$WORK/$name.sim.log" "$WORK/$name.sim.log" "$SIM" "+accelerator_endpoint=ipc://$WORK/$name.pcie"
  sim=$CHILD
  start_child "$WORK/$name.serial" "$WORK/$name.qemu.log" "$QEMU_DIR/bin/qemu-system-x86_64" \
    -M q35 -cpu max "${RAM[@]}" -nodefaults -display none -no-reboot "$@" \
    -kernel "$WORK/guest/vmlinuz" -initrd "$WORK/guest/initramfs.cpio.gz" \
    -append 'console=ttyS0 loglevel=5 panic=-1 no_timer_check accel.run=user accel.tty=ttyS1' \
    -device pcie-root-port,id=rp0 -device "accelerator-pcie,id=card,bus=rp0,endpoint=ipc://$WORK/$name.pcie" \
    -qmp "unix:$WORK/$name.qmp,server=on,wait=off" \
    -serial "file:$WORK/$name.kernel.log" -serial stdio
  qemu=$CHILD
  IDLE_WALL='' IDLE_GUEST='' WAIT_GUEST='' FOLLOW='' GUEST_NS=0 RTL_NS=0 ALONE_NS=0 ALONE_RTL_NS=0
  ROUNDS=0 TOGETHER=0
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
      'ACCEL mark=follow')
        [[ $name == plain ]] || break
        FOLLOW=asked
        scripts/qmp.py "$WORK/$name.qmp" qom-set \
          '{"path": "/machine/peripheral/card", "property": "sim-clock", "value": 10000}' >/dev/null ||
          die "$name: guest time cannot follow the simulator's"
        ;;
      'ACCEL mark=follows') FOLLOW=yes ;;
      'ACCEL mark=measured') FOLLOW=measured ;;
      'ACCEL clocks=guest_ns '*)
        # guest_ns N tsc N clocks N, of 4 ns
        read -r _ _ guest _ _ _ clocks <<<"${line%$'\r'}"
        if [[ $FOLLOW == yes ]]; then
          GUEST_NS=$((GUEST_NS + guest)) RTL_NS=$((RTL_NS + clocks * 4))
          ROUNDS=$((ROUNDS + 1))
          # What is between two readings of the clocks is all that they may differ in.
          if ((guest * 20 <= clocks * 84 && clocks * 16 <= guest * 5)); then
            TOGETHER=$((TOGETHER + 1))
          fi
        else
          ALONE_NS=$((ALONE_NS + guest)) ALONE_RTL_NS=$((ALONE_RTL_NS + clocks * 4))
        fi
        ;;
      'ACCEL error='*) warn "$name: ${line#ACCEL error=}" ;;
      'ACCEL phase=end'*) break ;;
    esac
  done <"$WORK/$name.serial"
  [[ $name == plain ]] || end_process "-$qemu"
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

part_wait() {
  find_simulation regs
  run_child scripts/build-guest.sh --run guest/clock.sh --out "$WORK/guest"
  boot plain -accel tcg
  # The guest waits as long as everybody.
  ((WAIT_GUEST >= 3000)) || die "without icount the wait was $WAIT_GUEST ms for the guest, expected at least 3000"
  [[ $FOLLOW == measured ]] || die "the guest's time did not follow the simulator's"
  say "alone: $((ALONE_NS / 1000)) us for the guest were $((ALONE_RTL_NS / 1000)) us of simulated time;" \
    "following: $((GUEST_NS / 1000)) us were $((RTL_NS / 1000)) us, together in $TOGETHER of $ROUNDS rounds"
  # By itself a simulator this slow does not come near.
  ((ALONE_RTL_NS < ALONE_NS / 2)) || die "the simulator is too fast to show anything"
  # On a busy host a vCPU may be kept waiting between the readings, and RTL goes on.
  ((TOGETHER * 2 > ROUNDS)) || die "guest time follows the simulator's in $TOGETHER of $ROUNDS rounds"
  boot icount -accel tcg,thread=single -icount "$ICOUNT"
  # It does not notice the wait.
  ((WAIT_GUEST < 2000)) || die "with icount the wait was $WAIT_GUEST ms for the guest, expected less than 2000"
  if [[ $ICOUNT == *sleep=on* ]]; then
    ((IDLE_WALL >= 4000)) || die "with icount and sleep=on a sleep of 5 s took $IDLE_WALL ms on the wall"
  fi
}

# slow NAME OPTION...: sets RTT, the average in microseconds.
slow() {
  local name=$1
  shift
  run_child scripts/run-cosim.sh --example virtio_net --test tcp --pings 20 --bytes 65536 --accel tcg \
    --qemu "$QEMU_DIR" --plain-qemu "${PLAIN_DIR:-build/qemu/baseline}" --clocks-per-second "$RATE" \
    --logs "$WORK/$name" "$@" >"$WORK/$name.log" || {
    tail -n 40 "$WORK/$name.log" >&2
    die "$name failed"
  }
  grep -E '^  (accel|plain) (rtt|sent|tcp)' "$WORK/$name.log" | sed "s/^ */$name: /"
  RTT=$(sed -n 's|^  accel rtt us *[0-9]*/\([0-9]*\)/.*|\1|p' "$WORK/$name.log")
  [[ -n $RTT ]] || die "$name: no round trips"
}

part_tcp() {
  local alone
  [[ -n $PLAIN_DIR || -x build/qemu/baseline/bin/qemu-system-x86_64 ]] ||
    run_child scripts/build-qemus.sh --baseline-only
  slow alone
  alone=$RTT
  slow following --sim-clock 1000
  say "a round trip is $alone us for the guest, and $RTT us if its time follows the simulator's"
  # A round trip takes some hundred clocks at least.
  ((alone * RATE >= 200 * 1000000)) || die "a round trip of $alone us is less than 200 clocks of slow RTL"
  ((RTT * 20 < alone)) || die "guest time followed the simulator's, and a round trip was $RTT us all the same"
}

[[ $PART == tcp ]] || part_wait
[[ $PART == wait ]] || part_tcp
say passed
