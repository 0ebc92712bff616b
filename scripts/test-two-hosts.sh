#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Co-simulation across two hosts, which are two network namespaces of this one.
set -euo pipefail
SCRIPT_NAME=test-two-hosts.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-two-hosts.sh [--qemu DIR]

Puts a simulator with the example regs and a VM into two network namespaces that
are joined by nothing but a virtual cable, with keys of scripts/make-keys.sh, and
has the guest test every size and alignment of access. Then the same with a QEMU
whose key is not listed, with one that has none, and with one that expects
another simulator: they have to fail, and say why.

  --qemu DIR    the QEMU in DIR/bin (default: build/qemu/patched)
  --help        this text

Needs root, or a system that allows user namespaces.
EOF
}

QEMU_DIR=build/qemu/patched
IN_NAMESPACE=no
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --qemu)
      (($# >= 2)) || die "--qemu needs a folder"
      QEMU_DIR=$2
      shift
      ;;
    --in-namespace) IN_NAMESPACE=yes ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
QEMU=$(realpath "$QEMU_DIR/bin/qemu-system-x86_64")
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
SIM=build/sim/regs/regs GUEST=build/guest-plain

if [[ $IN_NAMESPACE == no ]]; then
  need_packages iproute2 util-linux
  scripts/build-sim.sh regs
  scripts/build-guest.sh --out build/guest-plain
  if ((EUID != 0)); then
    unshare --user --map-root-user true 2>/dev/null ||
      die "neither root nor allowed to make user namespaces: run it with sudo"
    exec unshare --user --map-root-user -- "$0" --qemu "$QEMU_DIR" --in-namespace
  fi
fi

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
PIDS=()
RESULT=FAIL
# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$? pid
  for pid in "${PIDS[@]}"; do
    kill "$pid" 2>/dev/null || true
  done
  wait || true
  if [[ $RESULT != PASS ]]; then
    tail -n 15 "$WORK"/*.log | sed 's/^/  | /'
  fi
  rm -rf "$WORK"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# A namespace lives as long as a process is in it.
namespace() {
  unshare --net sleep 3600 &
  PIDS+=("$!")
  NAMESPACE=$!
  local i
  for ((i = 0; i < 100; i++)); do
    [[ $(readlink "/proc/$NAMESPACE/ns/net") == $(readlink /proc/$$/ns/net) ]] || return 0
    sleep 0.05
  done
  die "a network namespace cannot be made"
}
namespace
SIM_HOST=$NAMESPACE
namespace
QEMU_HOST=$NAMESPACE
on() {
  local host=$1
  shift
  nsenter --target "$host" --net -- "$@"
}

# The cable, and its two ends.
on "$SIM_HOST" ip link add acc-sim type veth peer name acc-qemu
on "$SIM_HOST" ip link set acc-qemu netns "$QEMU_HOST"
on "$SIM_HOST" ip addr add 10.117.0.1/24 dev acc-sim
on "$SIM_HOST" ip link set acc-sim up
on "$QEMU_HOST" ip addr add 10.117.0.2/24 dev acc-qemu
on "$QEMU_HOST" ip link set acc-qemu up
ENDPOINT=tcp://10.117.0.1:7557

scripts/make-keys.sh "$WORK/keys" simulator qemu stranger >/dev/null
KEYS=$WORK/keys

# Not by the function above: the process is to be the simulator itself.
ACCELERATOR_CURVE_SECRET=$KEYS/simulator.key_secret ACCELERATOR_CURVE_CLIENTS=$KEYS/qemu.key \
  ACCELERATOR_LOG_LEVEL=info nsenter --target "$SIM_HOST" --net -- "$SIM" \
  "+accelerator_endpoint=$ENDPOINT" >"$WORK/simulator.log" 2>&1 </dev/null &
SIM_PID=$!
PIDS+=("$SIM_PID")

# run_qemu LOG PROPERTIES: a VM whose guest runs the test of regs.
run_qemu() {
  on "$QEMU_HOST" timeout 400 "$QEMU" -M q35 -accel tcg -cpu max -m 512 -smp 2 -nodefaults \
    -display none -no-reboot -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initramfs.cpio.gz" \
    -append "console=ttyS0 loglevel=4 panic=-1 no_timer_check accel.run=regs accel.args=--seed,1,test,0x10,0x80 accel.tty=ttyS1" \
    -serial "file:$WORK/kernel.log" -serial "file:$WORK/guest-$1.log" \
    -device pcie-root-port,id=rp0 \
    -device "accelerator-pcie,id=acc0,bus=rp0,endpoint=$ENDPOINT,$2" >"$WORK/qemu-$1.log" 2>&1 </dev/null
}

# The port is open for everybody, and yet nobody gets in without a key.
refused() {
  local name=$1 properties=$2 text=$3
  if run_qemu "$name" "handshake-timeout=4000,$properties"; then
    die "$name: QEMU started"
  fi
  grep -q "$text" "$WORK/qemu-$name.log" || die "$name: QEMU does not say: $text"
  say "$name: refused, and QEMU says: $text"
}
OWN=curve-secret=$KEYS/qemu.key_secret SERVER=curve-server=$KEYS/simulator.key
refused no-key insecure=on 'set curve-secret and curve-server'
refused unlisted "curve-secret=$KEYS/stranger.key_secret,$SERVER" 'does not know our public key'
refused other-simulator "$OWN,curve-server=$KEYS/stranger.key" 'another one than curve-server'
for text in 'only one side use' 'refused a host at 10.117.0.2' 'expects another key of ours'; do
  grep -q "WARN.*$text" "$WORK/simulator.log" || die "the simulator does not say: $text"
done
! grep -q 'link up' "$WORK/simulator.log" || die "the simulator had a session with a stranger"

run_qemu keys "$OWN,$SERVER" || die "QEMU ended with status $?"
# What the guest prints ends in CR LF.
grep -q '^ACCEL status=0' "$WORK/guest-keys.log" || die "the guest's test failed"
say "keys: $(tr -d '\r' <"$WORK/guest-keys.log" | grep -E '^ACCEL (accesses|reads|writes|result)=' | tr '\n' ' ')"
packets=$(on "$QEMU_HOST" ip -s link show acc-qemu | awk '/TX:/ { getline; print $2 }')
say "packets over the cable from QEMU: $packets"

kill "$SIM_PID"
wait "$SIM_PID" || die "the simulator ended with status $?"
grep '_reads=' "$WORK/simulator.log" || die "the simulator printed no counts"
RESULT=PASS
