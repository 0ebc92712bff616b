#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What accelerator-trace makes of a record for programs with a window: the page in a browser, the
# markers in GTKWave.
set -euo pipefail
SCRIPT_NAME='test-report.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-report.sh [--pictures DIR]

The pages of records of 10 and of a million transactions are opened in Debian's
Chromium, zoomed, filtered, and a transaction is clicked (tests/report/page.py); GTKWave
opens the markers beside an FST. Without Chromium or GTKWave it fails.

  --pictures DIR  also writes PNGs of the page of a million to DIR
  --help          this text
EOF
}

PICTURES=()
while (($#)); do
  case $1 in
    --pictures)
      (($# >= 2)) || die "--pictures needs a folder"
      make_folder "$2"
      PICTURES=(--pictures "$2")
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

have cargo || die "cargo is missing; install Rust from https://rustup.rs"
# The sandbox of Chromium needs its helper where the kernel gives ordinary users no namespaces.
need_packages chromium chromium-sandbox gtkwave xvfb xauth
have chromium || die "Chromium is missing: the page cannot be tested without a browser"
have gtkwave || die "GTKWave is missing: the markers cannot be tested without it"
python_env report

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cargo build --release --locked --package accelerator-trace --bins --example generate
TARGET=$(cargo metadata --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
TRACE=$TARGET/release/accelerator-trace
REGISTERS=(--registers "$REPO_DIR/hdl/examples/sort/registers.toml")

# ---- the page ------------------------------------------------------------------------

for count in 10 1000000; do
  "$TARGET/release/examples/generate" "$WORK/$count.record" "$count"
  # The page has the name as it was given.
  (cd "$WORK" && "$TRACE" html "$count.record" "${REGISTERS[@]}" --out "$count.html")
  size=$(stat -c %s "$WORK/$count.html")
  say "$count transactions: a page of $((size >> 20)) MiB"
  # The library is 5 MB of it.
  ((size < 5000000 + count * 50)) || die "the page of $count transactions has $size bytes"
done
timeout --kill-after=10 240 "$PYTHON_ENV/bin/python" tests/report/page.py "${PICTURES[@]}" \
  "$WORK/10.html" "$WORK/1000000.html"

# ---- the markers ---------------------------------------------------------------------

cat >"$WORK/waves.vcd" <<'VCD'
$timescale 1ps $end
$scope module top $end
$var wire 1 ! aclk $end
$upscope $end
$enddefinitions $end
#0
0!
#2000
1!
#2000000
0!
VCD
vcd2fst "$WORK/waves.vcd" "$WORK/waves.fst"
"$TRACE" markers "$WORK/10.record" "${REGISTERS[@]}" --waves "$WORK/waves.fst" \
  --transaction 10 --transaction 1 --out "$WORK/markers"
cat "$WORK/markers.gtkw" "$WORK/markers.sucl"
cat >"$WORK/ask.tcl" <<'TCL'
puts "file [file tail [gtkwave::getDumpFileName]]"
puts "markers [gtkwave::getMarker] [gtkwave::getNamedMarker A] [gtkwave::getNamedMarker B] [gtkwave::getNamedMarker C]"
exit
TCL
(cd "$WORK" && timeout --kill-after=10 60 xvfb-run -a gtkwave --script ask.tcl markers.gtkw) \
  >"$WORK/gtkwave" 2>&1 || die "GTKWave: $(<"$WORK/gtkwave")"
grep -qx 'file waves.fst' "$WORK/gtkwave" || die "GTKWave has another file: $(<"$WORK/gtkwave")"
# Clock 412 and clock 12 of 4 ns, whose first edge is after 2 ns.
grep -qx 'markers 1646000 1646000 46000 -1' "$WORK/gtkwave" ||
  die "GTKWave has other markers: $(<"$WORK/gtkwave")"
say 'GTKWave has the markers'
say 'PASS'
