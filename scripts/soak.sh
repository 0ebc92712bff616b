#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Everything at once, for a long time.
set -euo pipefail
SCRIPT_NAME=soak.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/soak.sh [option...]

A guest with two vCPUs and the simulation of the example probe, at random from a
seed: MMIO from both vCPUs, DMA both ways and interrupts, with the data checked in
each run; function level and bus resets; and simulators that are killed in the
middle of the traffic and replaced, while the guest goes on.

  --seconds N   for how long (default 30)
  --seed N      of what happens (default: a new one, which is printed)
  --qemu DIR    the QEMU in DIR/bin (default: build/qemu/patched)
  --help        this text

It ends with its counts and PASS, or with FAIL and the logs' folder.
EOF
}

SECONDS_WANTED=30 SEED=$((RANDOM * 32768 + RANDOM)) QEMU_DIR=build/qemu/patched
while (($#)); do
  case $1 in
    --seconds | --seed | --qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --qemu) QEMU_DIR=$2 ;;
        *)
          [[ $2 =~ ^[0-9]+$ ]] || die "$1 is $2, expected a number"
          if [[ $1 == --seed ]]; then SEED=$((10#$2 % 2147483648)); else SECONDS_WANTED=$2; fi
          ;;
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
QEMU=$QEMU_DIR/bin/qemu-system-x86_64
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
scripts/build-sim.sh probe
scripts/build-guest.sh --out build/guest-plain
SIM=build/sim/probe/probe GUEST=build/guest-plain

make_folder build/run
RUN_DIR=$(mktemp -d build/run/soak-XXXXXX)
SOCKET_DIR=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
ENDPOINT=ipc://$SOCKET_DIR/pcie
SIM_PID='' QEMU_PID='' RESULT=FAIL
# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$? pid
  for pid in "$QEMU_PID" "$SIM_PID"; do
    [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
  done
  wait || true
  rm -rf "$SOCKET_DIR"
  if [[ $RESULT == PASS ]]; then
    rm -rf "$RUN_DIR"
  else
    printf '\nFAIL, seed %s; logs: %s\n' "$SEED" "$RUN_DIR"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

start_simulator() {
  "$SIM" "+accelerator_endpoint=$ENDPOINT" >>"$RUN_DIR/simulator.log" 2>&1 </dev/null &
  SIM_PID=$!
}

# A random number below $1, from the seed.
STATE=$SEED
below() {
  STATE=$(((STATE * 1103515245 + 12345) % 2147483648))
  NUMBER=$((STATE / 65536 % $1))
}

# Resident memory of QEMU in KiB.
rss() {
  awk '/^VmRSS/ { print $2 }' "/proc/$QEMU_PID/status" 2>/dev/null || echo 0
}

say "$SECONDS_WANTED s, seed $SEED"
start_simulator
mkfifo "$SOCKET_DIR/serial"
shared_memory 512
"$QEMU" -M q35 -accel tcg -cpu max "${RAM[@]}" -smp 2 -nodefaults -display none -no-reboot \
  -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initramfs.cpio.gz" \
  -append "console=ttyS0 loglevel=5 panic=-1 no_timer_check accel.run=soak accel.args=$SECONDS_WANTED,$SEED accel.tty=ttyS1" \
  -serial "file:$RUN_DIR/kernel.log" -serial stdio -device pcie-root-port,id=rp0 \
  -device "accelerator-pcie,id=acc0,bus=rp0,endpoint=$ENDPOINT" \
  >"$SOCKET_DIR/serial" 2>"$RUN_DIR/qemu.log" </dev/null &
QEMU_PID=$!

declare -A VALUE=()
ERRORS=0 FIRST_RSS=0 LAST_RSS=0
exec 8<"$SOCKET_DIR/serial"
# A step of the guest is over in far less, also on a machine with much else to do.
while IFS= read -r -t 400 line <&8; do
  line=${line%$'\r'}
  printf '%s\n' "$line" >>"$RUN_DIR/serial.log"
  case $line in
    'ACCEL soak=kill')
      below 1500
      sleep "$((NUMBER / 1000)).$(printf '%03d' $((NUMBER % 1000)))"
      kill -KILL "$SIM_PID"
      wait "$SIM_PID" 2>/dev/null || true
      ;;
    'ACCEL soak=start')
      below 500
      sleep "0.$(printf '%03d' "$NUMBER")"
      start_simulator
      ;;
    'ACCEL progress='*)
      LAST_RSS=$(rss)
      # What the guest touches for the first time is behind it by then.
      ((FIRST_RSS)) || FIRST_RSS=$LAST_RSS
      say "${line#ACCEL progress=}; QEMU has $((LAST_RSS / 1024)) MiB"
      ;;
    'ACCEL error='*)
      ERRORS=$((ERRORS + 1))
      warn "${line#ACCEL error=}"
      ;;
    'ACCEL '*=*)
      line=${line#ACCEL }
      VALUE[${line%%=*}]=${line#*=}
      ;;
  esac
done
exec 8<&-
if ! kill -0 "$QEMU_PID" 2>/dev/null || [[ ${VALUE[phase]:-} == end ]]; then
  status=0
  wait "$QEMU_PID" || status=$?
  QEMU_PID=''
  ((status == 0)) || die "QEMU ended with status $status"
else
  die "no line from the guest for 400 s"
fi
[[ ${VALUE[status]:-} == 0 ]] || die "the guest's part ended with status ${VALUE[status]:-none}"
((ERRORS == 0)) || die "the guest reported $ERRORS errors"
if grep -E 'panicked|protocol|Assertion' "$RUN_DIR/qemu.log" "$RUN_DIR/simulator.log"; then
  die "QEMU or the simulator complained"
fi
# Its memory is that of the guest, all of it touched, and some for itself.
((LAST_RSS < (512 + 512) * 1024)) || die "QEMU has grown to $LAST_RSS KiB"
lost=$(grep -c 'link is down\|connection was lost' "$RUN_DIR/qemu.log" || true)
kill -TERM "$SIM_PID"
status=0
wait "$SIM_PID" || status=$?
SIM_PID=''
((status == 0)) || die "the simulator ended with status $status"
for name in runs rounds flr bus_resets restarts bad; do
  printf '  %-28s %s\n' "${name//_/ }" "${VALUE[$name]:-?}"
done
printf '  %-28s %s\n' 'links that QEMU lost' "$lost" 'QEMU KiB at first, at last' "$FIRST_RSS $LAST_RSS" \
  'seed' "$SEED"
RESULT=PASS
printf '\nPASS\n'
