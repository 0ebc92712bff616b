#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Keys for a QEMU and a simulator on different machines.
set -euo pipefail
SCRIPT_NAME=make-keys.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<EOF
usage: scripts/make-keys.sh [DIR [NAME...]]

Makes ZeroMQ CURVE keys in DIR (default: keys), which only you can enter, a pair
for each NAME (default: simulator qemu):

  NAME.key_secret   both keys of the pair, for NAME alone
  NAME.key          its public key, for the other side

Nothing that is there is overwritten. docs/security.md says where the files go.

  --help            this text
EOF
}

case ${1:-} in
  --help | -h)
    usage
    exit 0
    ;;
  -*) die "unknown option $1; see --help" ;;
esac
have cargo || die "cargo is missing: install Rust from https://rustup.rs or your distribution"

mkdir -p "$(dirname "${1:-keys}")"
dir=$(cd "$(dirname "${1:-keys}")" && pwd)/$(basename "${1:-keys}")
shift || true
(($#)) || set -- simulator qemu
# Cargo reads the repository's settings only from within it.
cd "$REPO_DIR"
cargo run --quiet --locked --package accelerator-curve --bin accelerator-keys -- "$dir" "$@" ||
  die "no keys were made"
say "keys of $* are in $dir"
if [[ $* == 'simulator qemu' ]]; then
  cat <<EOF

On the simulator's machine, with simulator.key_secret and qemu.key:

  ACCELERATOR_CURVE_SECRET=$dir/simulator.key_secret ACCELERATOR_CURVE_CLIENTS=$dir/qemu.key \\
    build/sim/NAME/NAME '+accelerator_endpoint=tcp://*:7557'

On QEMU's machine, with qemu.key_secret and simulator.key:

  -device accelerator-pcie,endpoint=tcp://SIMULATOR:7557,curve-secret=$dir/qemu.key_secret,curve-server=$dir/simulator.key
EOF
fi
