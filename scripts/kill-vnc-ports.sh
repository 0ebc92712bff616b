#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Ends VMs and simulators of scripts/run-cosim.sh that are still there, and so frees their VNC ports,
# which is what the name, that of the C original, speaks of.
set -euo pipefail
SCRIPT_NAME='kill-vnc-ports.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

usage() {
  cat <<EOF
usage: scripts/kill-vnc-ports.sh [--list]

Ends the VMs and simulators that this user's scripts/run-cosim.sh has started and
not ended, and so frees their VNC displays and ports. Nothing else is touched: a
process is ended only if its number and the time that it started are those that
were written down then.

  --list    only say what there is
  --help    this text
EOF
}

LIST=no
take_options --list:LIST -- "$@"

DIR=$(pid_dir)
FOUND=0
if [[ -d $DIR ]]; then
  [[ -O $DIR && ! -L $DIR ]] || die "$DIR is not a folder of yours"
  for file in "$DIR"/*; do
    [[ -f $file ]] || continue
    read -r pid start name <"$file" || true
    if [[ ! ${pid:-} =~ ^[0-9]+$ ]] || [[ $(process_start "$pid" || true) != "${start:-none}" ]]; then
      [[ $LIST == yes ]] || rm -f "$file"
      continue
    fi
    FOUND=$((FOUND + 1))
    if [[ $LIST == yes ]]; then
      say "$name is process $pid"
    else
      say "ending $name, process $pid"
      end_process "$pid"
      rm -f "$file"
    fi
  done
fi
say "$FOUND found"
