#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes a network bridge (no bridge of hdl/), and the taps that scripts/run-cosim.sh connects two VMs
# with. The name is that of the C original.
set -euo pipefail
SCRIPT_NAME='make-bridge.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<EOF
usage: scripts/make-bridge.sh [option...]

Makes a network bridge and two taps on it for the VMs of scripts/run-cosim.sh
--network bridge. What is there already stays. It needs root (CAP_NET_ADMIN);
the taps then belong to a user who needs none.

  --bridge NAME     its name, at most 12 characters (default: \$BRIDGE, or br-cosim);
                    the taps are NAME-a, of the accelerator VM, and NAME-p
  --user USER       whose the taps are (default: who called sudo, or who calls this)
  --address CIDR    an address of the host on the bridge, for example 10.77.0.254/24
  --remove          remove the bridge and the taps; only what this script has made
  --help            this text
EOF
}

NAME=${BRIDGE:-br-cosim} OWNER=${SUDO_USER:-$(id -un)} ADDRESS='' REMOVE=no
# Marks what is ours.
MARK='accelerator-pcie cosim'
take_options --bridge=NAME --user=OWNER --address=ADDRESS --remove:REMOVE -- "$@"
[[ $NAME =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,11}$ ]] ||
  die "--bridge is '$NAME', expected 1 to 12 letters, digits, '_', '.' and '-'"
id -u "$OWNER" >/dev/null 2>&1 || die "--user is $OWNER, who is not known here"

need_packages iproute2
# Root in a user namespace of its own may do it as well: what counts is the capability.
capabilities=0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
((capabilities >> 12 & 1)) ||
  die "this needs root (CAP_NET_ADMIN): sudo scripts/make-bridge.sh --bridge $NAME"

# What /sys shows may be another network namespace's.
exists() {
  ip link show dev "$1" >/dev/null 2>&1
}

# is NAME TEXT...: whether one of its details has the text
is() {
  local details
  details=$(ip -details link show dev "$1" 2>/dev/null)
  [[ $details == *"$2"* ]]
}

if [[ $REMOVE == yes ]]; then
  for name in "$NAME-a" "$NAME-p" "$NAME"; do
    exists "$name" || continue
    is "$name" "alias $MARK" || die "$name was not made by this script: it stays"
    ip link delete "$name"
    say "removed $name"
  done
  exit 0
fi

if ! exists "$NAME"; then
  ip link add name "$NAME" type bridge stp_state 0 forward_delay 0
  ip link set "$NAME" alias "$MARK"
  say "made the bridge $NAME"
fi
is "$NAME" "bridge forward_delay" || die "$NAME is there and is no bridge"
for name in "$NAME-a" "$NAME-p"; do
  if ! exists "$name"; then
    ip tuntap add dev "$name" mode tap user "$OWNER"
    ip link set "$name" alias "$MARK"
    say "made the tap $name for $OWNER"
  fi
  is "$name" "tun type tap" || die "$name is there and is no tap"
  ip link set "$name" master "$NAME"
  ip link set "$name" up
done
if [[ -n $ADDRESS ]] && ! ip -o address show dev "$NAME" | grep -qF " $ADDRESS "; then
  ip address add "$ADDRESS" dev "$NAME"
fi
ip link set "$NAME" up
say "ready: BRIDGE=$NAME scripts/run-cosim.sh --network bridge"
