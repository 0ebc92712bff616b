#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The record of a simulation under a guest, what accelerator-trace makes of it, and
# accelerator-replay, without a guest.
set -euo pipefail
SCRIPT_NAME='test-record.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-record.sh [--qemu DIR]

Two guests sort at the same time. One's record has to agree with what the driver, the
RTL and the DPI library have counted. The other's simulator is killed by SIGKILL in the
middle, and its record, a ring with contents, is read. Both demos write a report.

A third one sorts with RTL in which a bug was put. Its record is replayed without a VM: with the
bug, where the waveform has to show it at the clock that the replay names, and without.

  --qemu DIR  the QEMU in DIR/bin (default: build/qemu/patched)
  --help      this text
EOF
}

QEMU_DIR=build/qemu/patched
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "--qemu needs a folder"
      QEMU_DIR=$2
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
KILLED='' ORDERLY='' REPLAYED='' RESULT=FAIL
# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$?
  local demo
  for demo in $KILLED $ORDERLY $REPLAYED; do
    kill "$demo" 2>/dev/null || true
  done
  for demo in $KILLED $ORDERLY $REPLAYED; do
    wait "$demo" || true
  done
  if [[ $RESULT == PASS ]]; then
    rm -rf "$WORK"
  else
    say "records and logs: $WORK"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need_packages python3
cargo build --release --locked --package accelerator-trace --package accelerator-replay
TARGET=$(cargo metadata --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
TRACE=$TARGET/release/accelerator-trace
REPLAY=$TARGET/release/accelerator-replay
scripts/build-sim.sh sort
scripts/build-guest.sh --out build/guest-plain

# number_at FILE OFFSET BYTES: a number in the header of a record; 0 where there is none.
number_at() {
  local value=''
  [[ ! -s $1 ]] || value=$(od -An -v -j "$2" -N "$3" "-tu$3" "$1" | tr -d ' ')
  printf '%s\n' "${value:-0}"
}

killed=$WORK/killed.record
# The demo knows names of its own examples' registers; these are the user's.
sed 's/"TAIL"/"TAIL_OF_MINE"/' hdl/examples/sort/registers.toml >"$WORK/mine.toml"
ACCELERATOR_RECORD=$killed ACCELERATOR_RECORD_SIZE=1048576 ACCELERATOR_RECORD_DATA=1 \
  scripts/demo.sh --qemu "$QEMU_DIR" --example sort --blocks 10000 --report "$WORK/killed.html" \
  --registers "$WORK/mine.toml" \
  >"$WORK/killed.log" 2>&1 </dev/null &
KILLED=$!

scripts/demo.sh --qemu "$QEMU_DIR" --example sort --blocks 16 --record "$WORK/sort.record" --contents --report \
  >"$WORK/demo" 2>&1 </dev/null &
ORDERLY=$!

# ---- the one that is killed: long before its blocks are sorted -----------------------

# The ring has room for 15,360 entries.
deadline=$((SECONDS + 300))
while (($(number_at "$killed" 64 8) < 40000)); do
  kill -0 "$KILLED" 2>/dev/null || die "the demo ended by itself: $(tail -n 20 "$WORK/killed.log")"
  ((SECONDS < deadline)) || die "the record has $(number_at "$killed" 64 8) entries after 300 s"
  sleep 0.1
done
simulator=$(number_at "$killed" 60 4)
[[ $(tr '\0' ' ' <"/proc/$simulator/cmdline") == *sort*accelerator_endpoint* ]] ||
  die "process $simulator, which the record names, is no simulator"
kill -KILL "$simulator"
status=0
wait "$KILLED" || status=$?
KILLED=''
((status == 1)) || die "the demo whose simulator was killed ended with status $status"

# count_of PAGE: transactions of a page.
count_of() {
  local value
  value=$(grep -ao '"count":[0-9]*,"counts"' "$1" | tail -n 1) || true
  value=${value#*:}
  printf '%s\n' "${value%%,*}"
}
grep -qxF "Report: $WORK/killed.html" "$WORK/killed.log" ||
  die "the demo that failed names no report: $(tail -n 20 "$WORK/killed.log")"
[[ $(count_of "$WORK/killed.html") -gt 100 ]] || die 'the report of the demo that failed has no transactions'
grep -q TAIL_OF_MINE "$WORK/killed.html" || die 'the report does not have the names that were given'

entries=$(number_at "$killed" 64 8)
"$TRACE" summary "$killed" >"$WORK/killed.summary"
cat "$WORK/killed.summary"
grep -qE '^  end  .* was killed$' "$WORK/killed.summary" || die "the summary knows of no kill"
found=$(sed -n 's/^  entries  *\([0-9]*\)$/\1/p' "$WORK/killed.summary")
# All of the ring, but the one entry that may have been half written over.
((found == 15360 || found == 15359)) || die "$found entries are read, expected 15360"
"$TRACE" csv "$killed" --out "$WORK/killed.csv"
(($(wc -l <"$WORK/killed.csv") == found + 1)) || die "the CSV has another number of lines"
last=$(tail -n 1 "$WORK/killed.csv" | cut -d, -f1)
((last == entries || last == entries + 1)) ||
  die "the last entry has sequence $last, the header says $entries"
grep -q '^[0-9]*,data,' "$WORK/killed.csv" || die "no contents are in the record"
"$TRACE" perfetto "$killed" --out "$WORK/killed.json"
python3 -m json.tool "$WORK/killed.json" /dev/null

# ---- the one that ends in order ------------------------------------------------------

status=0
wait "$ORDERLY" || status=$?
ORDERLY=''
cat "$WORK/demo"
((status == 0)) || die "the demo with a record ended with status $status"
grep -qF "Record: $WORK/sort.record" "$WORK/demo" || die "the demo does not name its record"

# In the folder of the run, which is kept for it.
report=$(sed -n 's/^Report: //p' "$WORK/demo")
[[ $report == build/run/sort-*/report.html && -s $report ]] || die "the demo's report is '$report'"
grep -qaF '"TAIL"' "$report" || die 'no register is called TAIL in the report'

REGISTERS=(--registers hdl/examples/sort/registers.toml)
"$TRACE" summary "$WORK/sort.record" "${REGISTERS[@]}" | tee "$WORK/summary"
grep -qE '^  end  .*ended in order$' "$WORK/summary" || die "the record did not end in order"
grep -qE '^Outstanding at the end: 0$' "$WORK/summary" || die "something is outstanding at the end"
grep -qE '^  mmio_write TAIL  ' "$WORK/summary" || die "no register is called TAIL"
"$TRACE" csv "$WORK/sort.record" "${REGISTERS[@]}" --out "$WORK/csv"
"$TRACE" perfetto "$WORK/sort.record" "${REGISTERS[@]}" --out "$WORK/perfetto"
begun=$(awk '/^  (mmio|dma) (read|write) +[0-9]+$/ || /^  (link up|link down) +[0-9]+$/ ||
  /^  (msix|intx|reset|function) +[0-9]+$/ { sum += $NF } END { print sum }' "$WORK/summary")
[[ $(count_of "$report") == "$begun" ]] ||
  die "the report has $(count_of "$report") transactions, the summary $begun"
rm -r "$(dirname "$report")"
"$TRACE" ftr "$WORK/sort.record" "${REGISTERS[@]}" --out "$WORK/ftr"
[[ -s $WORK/ftr ]] || die 'no streams were written'
python3 tests/vm/record.py "$WORK/demo" "$WORK/summary" "$WORK/csv" "$WORK/perfetto"

status=0
"$TRACE" summary scripts/demo.sh 2>"$WORK/none" || status=$?
((status == 1)) || die "a file that is no record: status $status"
grep -q 'it is no record' "$WORK/none" || die "$(<"$WORK/none")"

# ---- replays ---------------------------------------------------------------------------

# replay STATUS NAME ARGUMENTS: has to end with that status; what it says is in $WORK/NAME.
replay() {
  local expected=$1 name=$2 status=0
  shift 2
  timeout 120 "$REPLAY" "${REGISTERS[@]}" "$@" >"$WORK/$name" 2>"$WORK/$name.err" || status=$?
  cat "$WORK/$name"
  ((status == expected)) ||
    die "replay $name ended with status $status, expected $expected: $(tail -n 20 "$WORK/$name.err")"
}

GOOD=build/sim/sort/sort
replay 0 same "$WORK/sort.record" --exact-clocks --exact-order -- "$GOOD"
grep -q '^same: ' "$WORK/same" || die "the replay of a good record does not say that it is the same"

# Killed while the clocks of the guest's boot go by.
"$GOOD" "+accelerator_endpoint=ipc://$WORK/socket" >"$WORK/replayed.log" 2>&1 </dev/null &
REPLAYED=$!
(
  for ((i = 0; i < 600; i++)); do
    ! grep -q 'link up' "$WORK/replayed.log" || break
    sleep 0.1
  done
  sleep 0.5
  kill -KILL "$REPLAYED"
) &
replay 2 gone "$WORK/sort.record" --clocks --endpoint "ipc://$WORK/socket" --timeout 100
wait "$REPLAYED" 2>/dev/null || true
REPLAYED=''
grep -q 'gone without a word' "$WORK/gone.err" || die "$(<"$WORK/gone.err")"

# The fifth block of a ring from 0 on comes out with a bit flipped in every fourth key.
mkdir "$WORK/bug"
cp hdl/examples/sort/*.sv "$WORK/bug"
sed -i 's/: net_out_data;/: net_out_data ^ DataWidth'"'"'(head_q == 10'"'"'d5);/' "$WORK/bug/sort_engine.sv"
! cmp -s hdl/examples/sort/sort_engine.sv "$WORK/bug/sort_engine.sv" || die "no bug was put in"
sed "s,^-F .*,-F $PWD/hdl/bridge.f," hdl/examples/sort/sort.f >"$WORK/bug/sort.f"
scripts/build-sim.sh --top sort_top --files "$WORK/bug/sort.f" --waves --out "$WORK/sim"
BUG=$WORK/sim/sort_top-waves
status=0
scripts/demo.sh --qemu "$QEMU_DIR" --example sort --sim "$BUG" --blocks 16 --contents \
  --record "$WORK/bug.record" >"$WORK/bug.log" 2>&1 </dev/null || status=$?
((status == 1)) || die "the guest did not notice the bug: status $status, $(tail -n 20 "$WORK/bug.log")"

cp "$WORK/bug.record" "$WORK/bug.copy"

# It does the same again, and that is no news.
replay 0 again "$WORK/bug.record" -- "$BUG"
# The sixth block that was written is the bug.
"$TRACE" csv "$WORK/bug.record" --out "$WORK/bug.csv"
number=$(awk -F, '$2 == "dma_write" && $11 == 4096 && ++n == 6 { print $4 }' "$WORK/bug.csv")
[[ -n $number ]] || die "the record has no sixth block"
# It is there still, and the waveform shows it at the clock that is named.
replay 1 wrong "$WORK/bug.record" --wrong "$number" --record "$WORK/replay.record" -- \
  "$BUG" "+waves=$WORK/bug.fst"
grep -qE "^#$number dma_write of 4096 bytes at 0x[0-9a-f]+ at clock [0-9]+: expected other bytes" \
  "$WORK/wrong" || die "the replay does not name #$number"
read -r here clock < <(sed -n 's/^  in the replay: #\([0-9]*\) at clock \([0-9]*\)$/\1 \2/p' "$WORK/wrong")
[[ -n $clock ]] || die "the replay names no clock of its own"
"$TRACE" csv "$WORK/replay.record" --out "$WORK/replay.csv"
python_env waves
"$PYTHON_ENV/bin/python" tests/vm/waves.py "$WORK/bug.fst" "$WORK/replay.csv" "$clock" \
  "u_dma_writes.txn_id=$here" u_engine.head_q=5
# With the RTL mended it is gone, and all else is as it was.
replay 0 mended "$WORK/bug.record" --wrong "$number" -- "$GOOD"
replay 1 other "$WORK/bug.record" -- "$GOOD"
grep -qE "^#$number dma_write of 4096 bytes at 0x[0-9a-f]+, byte 0 at " "$WORK/other" ||
  die "the replay does not say which byte is another"
replay 2 none scripts/demo.sh -- "$GOOD"
grep -q 'it is no record' "$WORK/none.err" || die "$(<"$WORK/none.err")"
replay 2 itself "$WORK/bug.record" --record "$WORK/bug.record" -- "$GOOD"
cmp -s "$WORK/bug.record" "$WORK/bug.copy" || die "a replay has changed the record that it plays"
RESULT=PASS
say 'PASS'
