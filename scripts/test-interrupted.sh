#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What scripts/test.sh does when it is told to end in the middle of a suite, and its report of that
# and of other ends; and what scripts do that wait for a line of a guest then.
set -euo pipefail
SCRIPT_NAME='test-interrupted.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<EOF
usage: scripts/test-interrupted.sh

Runs scripts/test.sh with a cargo that never ends, which has started another program, tells it
to end by each signal, and sees that all of them do. The report of --junit has to say so, and to
be XML whatever is in a log. Then ends a script that waits for lines, and takes a while to
clean up.
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

# As rustfmt it has little to say. Else it ends when it is told to, and has started one that it knows
# nothing of; unless HOW is fail, and it says what no XML can hold, or kill, and its suite is killed.
mkdir "$WORK/bin"
cat >"$WORK/bin/cargo" <<EOF
#!/bin/sh
case \$1-\$HOW in
  *-kill)
    kill -KILL \$PPID
    exit 0
    ;;
  fmt-*)
    printf 'not checked: the \\002 <moon>\\n'
    exit 0
    ;;
  *-fail)
    printf 'error: <&"\\000\\001\\013\\033[31m \\377\\376 \\355\\240\\200 \\357\\277\\276 ]]> no test\\n'
    exit 3
    ;;
esac
echo \$\$ >"$WORK/pid.suite"
sleep 1000 &
echo \$! >"$WORK/pid.other"
wait
EOF
chmod +x "$WORK/bin/cargo"

# reported EXPECTED: whether the report is XML, and has each suite as NAME=ELEMENT with what it
# tells: failure, error, skipped, or system-out of one that has passed.
# shellcheck disable=SC2329 # called by name
reported() {
  python3 - "$WORK/report.xml" "$1" <<'REPORT'
import sys
import xml.etree.ElementTree as ET

try:
    suite = ET.parse(sys.argv[1]).find("testsuite")
except (OSError, ET.ParseError) as error:
    sys.exit(f"{error}")
cases = {case.get("name"): case for case in suite.iter("testcase")}
found = [f"{name}={case[0].tag if len(case) else ''}" for name, case in cases.items()]
counts = [suite.get(each) for each in ("tests", "failures", "errors", "skipped")]
elements = [each.partition("=")[2] for each in found]
expected = [len(found), *map(elements.count, ("failure", "error", "skipped"))]
if found != sys.argv[2].split() or counts != [str(each) for each in expected]:
    sys.exit(f"{found}, of which it counts {counts}")
for name, case in cases.items():
    if not 0 <= float(case.get("time")) < 600:
        sys.exit(f"{name} has taken {case.get('time')} s")
    if case.find("failure") is not None and "no test" not in case[0].text:
        sys.exit(f"{case[0].text!r} does not say what has failed")
REPORT
}

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

# Runs that end by themselves: their suites, with what is expected of them.
ends() { # HOW LINE REPORT SUITE...
  local status=0 script=$REPO_DIR/scripts/test.sh
  (cd "$WORK" && HOW=$1 REPO_DIR=$WORK PATH=$WORK/bin:$PATH \
    "$script" --junit report.xml "${@:4}") >"$WORK/log" 2>&1 || status=$?
  [[ $status == 1 && $(tail -n 1 "$WORK/log") == "$2" ]] ||
    die "'$2' was expected, and status $status was that: $(cat "$WORK/log")"
  reported "$3" || die "the report is wrong: $(cat "$WORK/report.xml")"
}
ends fail '1 passed, 1 failed' 'format=system-out fuzz=failure' format fuzz
grep -q '^ *not checked: the . <moon>$' "$WORK/log" || die "what is not checked is not told"
ends kill '0 passed, 1 failed' 'format=error' format

for expected in HUP:129 INT:130 TERM:143; do
  signal=${expected%:*}
  rm -f "$WORK"/pid.* "$WORK/report.xml"
  # A shell has its children in the background ignore SIGINT, and what is ignored stays so.
  env HOW=wait REPO_DIR="$WORK" PATH="$WORK/bin:$PATH" python3 -c '
import os, signal, sys
for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$REPO_DIR/scripts/test.sh" \
    --junit "$WORK/report.xml" format fuzz bench >"$WORK/log.$signal" 2>&1 &
  RUN=$!
  patient test -s "$WORK/pid.other" || die "the suite has not begun: $(cat "$WORK/log.$signal")"
  # Before it is told, for who tells it by SIGKILL.
  patient reported 'format=system-out fuzz=error bench=skipped' 2>/dev/null ||
    die "the report is wrong while a suite is running: $(reported '' 2>&1)"
  rm "$WORK/report.xml"
  kill "-$signal" "$RUN"
  patient is_gone "$RUN" || die "scripts/test.sh has not ended 30 s after SIG$signal"
  status=0
  wait "$RUN" || status=$?
  RUN=''
  [[ $status == "${expected#*:}" ]] ||
    die "scripts/test.sh has ended with status $status after SIG$signal, expected ${expected#*:}"
  reported 'format=system-out fuzz=error bench=skipped' || die "the report is wrong after SIG$signal"
  for file in "$WORK"/pid.*; do
    is_gone "$(<"$file")" || die "${file##*.} has outlived scripts/test.sh after SIG$signal"
  done
done
# It waits in the trap for EXIT for what others print, when a wait with a limit that was interrupted
# would have been over.
cat >"$WORK/reader" <<'EOF'
#!/usr/bin/env bash
set -euo pipefail
SCRIPT_NAME=reader
. "$REPO_DIR/scripts/lib.sh"
. "$REPO_DIR/scripts/vm.sh"
cleanup() {
  local status=$? i said
  trap '' INT TERM HUP
  for i in {1..25}; do said=$(sleep 0.04 && echo "clean $i"); done
  echo "$said"
  exit "$status"
}
trap cleanup EXIT
end_on_signals
mkfifo "$1"
exec 8<>"$1"
while true; do
  echo waiting
  status=0
  read_line 1 8 || status=$?
  ((status > 128)) || die "a line has come: status $status, $LINE"
done
EOF
for expected in HUP:129 INT:130 TERM:143; do
  signal=${expected%:*}
  # In the middle of its second wait. Each has a log of its own, where nobody else's lines are.
  env REPO_DIR="$REPO_DIR" python3 -c '
import os, signal, sys
for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_DFL)
os.execvp("bash", ["bash", *sys.argv[1:]])' "$WORK/reader" "$WORK/line.$signal" >"$WORK/log.$signal" 2>&1 &
  RUN=$!
  patient grep -qzP 'waiting\nwaiting\n' "$WORK/log.$signal" || die "nobody waits: $(cat "$WORK/log.$signal")"
  sleep 0.3
  kill "-$signal" "$RUN"
  patient is_gone "$RUN" || die "a script that waits for lines has not ended 30 s after SIG$signal"
  status=0
  wait "$RUN" || status=$?
  RUN=''
  [[ $status == "${expected#*:}" && $(tail -n 1 "$WORK/log.$signal") == 'clean 25' ]] ||
    die "a script that waits for lines has ended with status $status after SIG$signal: $(cat "$WORK/log.$signal")"
done

say "reports of what passes, fails and is killed"
say "ended by SIGHUP, SIGINT and SIGTERM with everything that was started, also while waiting for lines"
