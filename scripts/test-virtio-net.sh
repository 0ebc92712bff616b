#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The network card in RTL under a guest that looks at it and starts anew.
set -euo pipefail
SCRIPT_NAME='test-virtio-net.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-virtio-net.sh [option...] [CHECK...]

Starts a simulator, a VM whose network card is hdl/examples/virtio_net, and a plain
VM at the other end of its network, and does the checks that are named, or all:

  show           lspci -vv and ethtool -i of the guest show the card
  driver         ip link down and up, the driver's modules unloaded and loaded
  reboot         the guest reboots in the middle of traffic
  system_reset   the machine is reset by the monitor in the middle of traffic

After each one the kernel's driver is bound, the link is up, pings are answered and
data goes both ways by TCP with the right sums.

  --qemu DIR         the QEMU in DIR/bin (default: build/qemu/patched)
  --plain-qemu DIR   that of the plain VM (default: build/qemu/baseline)
  --keep             keep the logs
  --help             this text
EOF
}

QEMU_DIR=build/qemu/patched PLAIN_DIR=build/qemu/baseline ARGS=()
while (($#)); do
  case $1 in
    --qemu | --plain-qemu)
      (($# >= 2)) || die "$1 needs a value; see --help"
      if [[ $1 == --qemu ]]; then QEMU_DIR=$2; else PLAIN_DIR=$2; fi
      shift
      ;;
    --keep) ARGS+=(--keep) ;;
    --help | -h)
      usage
      exit 0
      ;;
    show | driver | reboot | system_reset) ARGS+=("$1") ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
for file in "$QEMU_DIR" "$PLAIN_DIR"; do
  [[ -x $file/bin/qemu-system-x86_64 ]] ||
    die "$file/bin/qemu-system-x86_64 is not there; scripts/build-qemus.sh builds it"
done
need_packages python3
scripts/build-sim.sh virtio_net
scripts/build-guest.sh --out build/guest-plain
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 tests/vm/net.py --qemu "$QEMU_DIR/bin/qemu-system-x86_64" \
  --plain-qemu "$PLAIN_DIR/bin/qemu-system-x86_64" --guest build/guest-plain "${ARGS[@]}"
