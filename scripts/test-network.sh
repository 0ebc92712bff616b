#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Two VMs on a network, by every kind of network, and that nothing is left of them.
set -euo pipefail
SCRIPT_NAME='test-network.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-network.sh [option...] [TEST...]

  --qemu DIR         the patched QEMU (default: build/qemu/patched)
  --plain-qemu DIR   the other one (default: build/qemu/baseline, or the patched one
                     where --qemu is given)
  --help             this text

tests: session, make_bridge, pair, bridge, interrupt, kill_ports (default: all)
EOF
}

QEMU_DIR='' PLAIN_DIR='' TESTS=()
while (($#)); do
  case $1 in
    --qemu | --plain-qemu)
      (($# >= 2)) || die "$1 needs a folder"
      if [[ $1 == --qemu ]]; then QEMU_DIR=$2; else PLAIN_DIR=$2; fi
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    -*) die "unknown option $1; see --help" ;;
    *)
      [[ $(type -t "test_$1" || true) == function || ' session make_bridge pair bridge interrupt kill_ports ' == *" $1 "* ]] ||
        die "no test $1; see --help"
      TESTS+=("$1")
      ;;
  esac
  shift
done
((${#TESTS[@]})) || TESTS=(session make_bridge pair bridge interrupt kill_ports)
[[ -z $QEMU_DIR || -n $PLAIN_DIR ]] || PLAIN_DIR=$QEMU_DIR
QEMU_DIR=${QEMU_DIR:-build/qemu/patched} PLAIN_DIR=${PLAIN_DIR:-build/qemu/baseline}

unset NPU_COSIM_PORT BRIDGE COSIM_MAC COSIM_PLAIN_MAC
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

SIM=''
find_simulation regs
run_child scripts/build-guest.sh --out build/guest-plain
mkdir -m 700 "$WORK/run" "$WORK/sockets"
# What our VMs leave there is ours.
export XDG_RUNTIME_DIR=$WORK/run XDG_STATE_HOME=$WORK/state TMPDIR=$WORK/sockets
COSIM=(scripts/run-cosim.sh --sim "$SIM" --qemu "$QEMU_DIR" --plain-qemu "$PLAIN_DIR"
  --guest build/guest-plain)

# A network namespace of its own, in which we are root.
IN_NAMESPACE=(unshare -n)
((EUID == 0)) || IN_NAMESPACE=(unshare -rn)
need_packages iproute2

expect_nothing_left() {
  local left
  left=$(find "$WORK/run" "$WORK/sockets" -mindepth 1 ! -type d)
  [[ -z $left ]] || die "left behind: $left"
}

# The processes that were noted in the folder, one a line.
noted() {
  cut -d' ' -f1 "$WORK"/run/accelerator-cosim-*/* 2>/dev/null || true
}

expect_gone() {
  local pid i
  for pid in "$@"; do
    for ((i = 0; i < 200; i++)); do
      process_start "$pid" >/dev/null || break
      sleep 0.05
    done
    ! process_start "$pid" >/dev/null || die "process $pid is still there"
  done
}

# Starts both VMs without a test, and waits until simulator and VMs run. COSIM_PID.
start_cosim() {
  local i
  # The shell has what it starts in the background ignore Ctrl-C.
  start_child "$WORK/cosim.log" "$WORK/cosim.err" env --default-signal=INT "${COSIM[@]}" --console none --logs "$WORK/logs"
  COSIM_PID=$CHILD
  for ((i = 0; i < 1200; i++)); do
    if [[ $(noted | wc -l) == 3 ]] && grep -q 'both VMs run' "$WORK/cosim.log"; then
      return
    fi
    kill -0 "$COSIM_PID" 2>/dev/null || break
    sleep 0.1
  done
  cat "$WORK/cosim.log" "$WORK/cosim.err" >&2
  die "the VMs do not run"
}

test_session() {
  local first second
  first=$(HOME=$WORK bash -c '. scripts/sourceme.sh')
  [[ $first == *NPU_COSIM_PORT=*BRIDGE=*COSIM_MAC=52:54:00:*COSIM_PLAIN_MAC=* ]] || die "sourceme.sh: $first"
  NPU_COSIM_PORT=1234 BRIDGE='a b$(touch x)' bash -c '. scripts/sourceme.sh' >/dev/null
  # shellcheck disable=SC2016 # for the other shell
  second=$(bash -c '. scripts/saved_session.sh >/dev/null; echo "$NPU_COSIM_PORT/$BRIDGE/$COSIM_MAC"')
  [[ $second == "1234/a b\$(touch x)/52:54:00:"* && ! -e x ]] || die "saved_session.sh: $second"
  ! bash scripts/sourceme.sh 2>/dev/null || die "sourceme.sh can be run"
}

# For bash -c in the namespace.
# shellcheck disable=SC2016 # for the other shell
MAKE_BRIDGE='
set -e
make=scripts/make-bridge.sh
$make --bridge brt --address 10.77.0.254/24
before=$(ip -o link show | sed "s/ state .*//")
$make --bridge brt --address 10.77.0.254/24
[[ $(ip -o link show | sed "s/ state .*//") == "$before" ]]
[[ $(ip -o link show master brt | wc -l) == 2 ]]
ip link add other type bridge
if $make --bridge other --remove; then echo "a bridge of others was removed"; exit 1; fi
ip link show dev other >/dev/null
$make --bridge brt --remove
$make --bridge brt --remove
[[ $(ip -o link show | grep -c brt) == 0 ]]
'
test_make_bridge() {
  "${IN_NAMESPACE[@]}" bash -c "$MAKE_BRIDGE" || die "make-bridge.sh"
  if ((EUID == 0)); then
    ! setpriv --bounding-set -net_admin --inh-caps -net_admin scripts/make-bridge.sh --bridge brt \
      2>"$WORK/err" || die "make-bridge.sh works without the right"
  else
    ! scripts/make-bridge.sh --bridge brt 2>"$WORK/err" || die "make-bridge.sh works without root"
  fi
  grep -q 'needs root' "$WORK/err" || die "make-bridge.sh does not say that it needs root"
}

test_pair() {
  "${COSIM[@]}" --test net --nic e1000
}

# shellcheck disable=SC2016 # for the other shell
WITH_BRIDGE='
set -e
scripts/make-bridge.sh --bridge brt
"$@" --network bridge --bridge brt
scripts/make-bridge.sh --bridge brt --remove
'
test_bridge() {
  ! "${COSIM[@]}" --network bridge --bridge nobridge --test ping 2>"$WORK/err" || die "it runs without a bridge"
  grep -q 'make-bridge.sh' "$WORK/err" || die "it does not say how to make a bridge: $(cat "$WORK/err")"
  "${IN_NAMESPACE[@]}" bash -c "$WITH_BRIDGE" bash "${COSIM[@]}" --test ping --nic virtio-net-pci \
    --mac 52:54:00:aa:bb:01 --plain-mac 52:54:00:aa:bb:02 | tee "$WORK/out"
  grep -q '52:54:00:aa:bb:01 driver virtio_net' "$WORK/out" || die "the card is another one"
}

# Ctrl-C.
test_interrupt() {
  local pids
  start_cosim
  mapfile -t pids < <(noted)
  kill -INT "$COSIM_PID"
  expect_gone "$COSIM_PID" "${pids[@]}"
  expect_nothing_left
}

test_kill_ports() {
  local pids stranger
  start_cosim
  mapfile -t pids < <(noted)
  # A process of somebody else that has the number of one of ours.
  start_child - - sleep 1000
  stranger=$CHILD
  printf '%s 1 the accel VM\n' "$stranger" >"$(pid_dir)/$stranger"
  [[ $(scripts/kill-vnc-ports.sh --list | tail -n 1) == *'3 found' ]] || die "--list: $(scripts/kill-vnc-ports.sh --list)"
  scripts/kill-vnc-ports.sh
  expect_gone "${pids[@]}" "$COSIM_PID"
  kill -0 "$stranger" || die "a process that is none of ours was ended"
  end_process "-$stranger"
  [[ $(scripts/kill-vnc-ports.sh) == *'0 found' ]] || die "something is left"
  expect_nothing_left
}

for name in "${TESTS[@]}"; do
  say "test $name"
  "test_$name"
  expect_nothing_left
done
say "${#TESTS[@]} passed"
