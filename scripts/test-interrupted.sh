#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What scripts/test.sh does when it is told to end in the middle of a suite.
set -euo pipefail
SCRIPT_NAME='test-interrupted.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<EOF
usage: scripts/test-interrupted.sh

Runs scripts/test.sh with a cargo that never ends, which has started another program, tells it
to end by each signal, and sees that all of them do.
EOF
}

case ${1:-} in
  '') ;;
  --help | -h)
    usage
    exit 0
    ;;
  *) die "unknown argument $1; see --help" ;;
esac

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
RUN=''
# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$? pid
  # Also what was left, so that a test that fails leaves nothing.
  for pid in $RUN $(cat "$WORK"/pid.* 2>/dev/null); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$WORK"
  exit "$status"
}
trap cleanup EXIT

# One that ends when it is told to, and one of its own that it knows nothing of.
mkdir "$WORK/bin"
cat >"$WORK/bin/cargo" <<EOF
#!/bin/sh
echo \$\$ >"$WORK/pid.suite"
sleep 1000 &
echo \$! >"$WORK/pid.other"
wait
EOF
chmod +x "$WORK/bin/cargo"

# Waits at most 30 s for a command to succeed.
patient() {
  local left=300
  until "$@"; do
    ((left-- > 0)) || return 1
    sleep 0.1
  done
}

# A process that nobody has waited for yet is gone as well.
# shellcheck disable=SC2329 # called by name
is_gone() {
  local state=''
  [[ ! -r /proc/$1/stat ]] || state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || true
  [[ -z $state || $state == Z ]]
}

for expected in HUP:129 INT:130 TERM:143; do
  signal=${expected%:*}
  rm -f "$WORK"/pid.*
  # A shell has its children in the background ignore SIGINT, and what is ignored stays so.
  env REPO_DIR="$WORK" PATH="$WORK/bin:$PATH" python3 -c '
import os, signal, sys
for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$REPO_DIR/scripts/test.sh" fuzz >"$WORK/log" 2>&1 &
  RUN=$!
  patient test -s "$WORK/pid.other" || die "the suite has not begun: $(cat "$WORK/log")"
  kill "-$signal" "$RUN"
  patient is_gone "$RUN" || die "scripts/test.sh has not ended 30 s after SIG$signal"
  status=0
  wait "$RUN" || status=$?
  RUN=''
  [[ $status == "${expected#*:}" ]] ||
    die "scripts/test.sh has ended with status $status after SIG$signal, expected ${expected#*:}"
  for file in "$WORK"/pid.*; do
    is_gone "$(<"$file")" || die "${file##*.} has outlived scripts/test.sh after SIG$signal"
  done
done
say "ended by SIGHUP, SIGINT and SIGTERM with everything that was started"
