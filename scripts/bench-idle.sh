#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Counts the instructions of an idle clock of a design, with a front end and without it.
# docs/performance.md says what the figures mean.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<'HELP'
usage: scripts/bench-idle.sh [option...] [FRONT_END...]

Builds a design with a front end and without it, has Valgrind count the instructions of an
idle clock of both, and prints what the front end adds. Nobody is connected. Other programs
do not disturb it: it measures no time.

  FRONT_END     pcie4 or xdma, WIDTH bits wide as in pcie4-512; without any: pcie4-64,
                pcie4-256, pcie4-512, xdma-64 and xdma-512
  --limit N     fails where a front end adds N % or more
  --help        this text
HELP
}

LIMIT='' ENDS=()
while (($#)); do
  case $1 in
    --limit)
      (($# >= 2)) || die "$1 needs a value; see --help"
      [[ $2 =~ ^[1-9][0-9]*$ ]] || die "--limit is $2, expected a number from 1"
      LIMIT=$2
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    pcie4 | xdma) ENDS+=("$1-256") ;;
    pcie4-64 | pcie4-128 | pcie4-256 | pcie4-512 | xdma-64 | xdma-128 | xdma-256 | xdma-512)
      ENDS+=("$1")
      ;;
    *) die "unknown option or front end '$1'; see --help" ;;
  esac
  shift
done
((${#ENDS[@]})) || ENDS=(pcie4-64 pcie4-256 pcie4-512 xdma-64 xdma-512)

need_packages valgrind

# Clocks of the two runs. What is the same in both, the beginning, falls out.
FEW=5000 MANY=25000

# Instructions of so many clocks of a simulation.
instructions() {
  local program=$1 clocks=$2 log=target/bench/idle.log
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" \
    "+accelerator_endpoint=ipc://$ENDPOINTS/socket" "+max_clocks=$clocks" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "counting $program has failed; the whole log is $log"; }
  sed -nE 's/^.*Collected *: *([0-9]+).*$/\1/p' "$log"
}

# Instructions of a clock, in tenths.
clock() {
  local few many
  few=$(instructions "$1" "$FEW")
  many=$(instructions "$1" "$MANY")
  echo $((10 * (many - few) / (MANY - FEW)))
}

make_folder target/bench
ENDPOINTS=$(mktemp -d)
trap 'rm -rf "$ENDPOINTS"' EXIT
failed=0 table=''
for end in "${ENDS[@]}"; do
  top=idle_${end%-*}_top width=${end#*-}
  for block in 0 1; do
    scripts/build-sim.sh --top "$top" --files hdl/bench/idle.f -G "Block=$block" \
      -G "DataWidth=$width" --out "build/sim/idle-$end-$block"
  done
  without=$(clock "build/sim/idle-$end-0/$top")
  with=$(clock "build/sim/idle-$end-1/$top")
  added=$((1000 * (with - without) / without))
  table+=$(printf '| %s, %s bits | %d | %d | %d.%d %% |' "${end%-*}" "$width" \
    $((without / 10)) $((with / 10)) $((added / 10)) $((added % 10)))$'\n'
  [[ -z $LIMIT ]] || ((added < 10 * LIMIT)) || { failed=1; warn "$end adds more than $LIMIT %"; }
done
printf '\n| front end | instructions of a clock without it | with it | added |\n|---|---:|---:|---:|\n%s' "$table"
exit "$failed"
