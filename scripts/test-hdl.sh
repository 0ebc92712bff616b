#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Tests of hdl/: lint, what elaboration refuses, the assertions, the prototypes of the DPI
# library, the cocotb suites, and the main program of a simulation.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/file-list.sh
. "$(dirname "${BASH_SOURCE[0]}")/file-list.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"

usage() {
  cat <<'HELP'
usage: scripts/test-hdl.sh [--quick] [--seed N] [--requests N] [SUITE...]

Tests the SystemVerilog. The last line is: N passed, N failed.

  --quick    no cocotb suites
  --seed N   random seed of the cocotb suites, to repeat a run; each prints its own
  --requests N  of random traffic on each width of the UltraScale+ block (default 150)
  SUITE      cocotb suites by name or its beginning, and nothing else: bridge, nic,
             uart, regs, sort, probe, virtio_net, xdma, pcie4, clocks, axi_cdc, vhdl;
             hdl/tests/run.py lists them

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

quick=0 seed=() suites=() requests=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --quick) quick=1 ;;
    --seed)
      (($# >= 2)) || die "--seed needs a number"
      seed=(--seed "$2")
      shift
      ;;
    --requests)
      (($# >= 2)) || die "--requests needs a number"
      requests=(--requests "$2")
      shift
      ;;
    -*) die "unknown option '$1'; see --help" ;;
    *) suites+=("$1") ;;
  esac
  shift
done

need_packages g++ make perl iverilog
# Another form of it will do, too.
have ghdl || need_packages ghdl-mcode
compiler_cache
python_env
export PATH=$PYTHON_ENV/bin:$PATH
hdl=$REPO_DIR/hdl
out=$REPO_DIR/build/test-hdl
make_folder "$out"
LOG_FILE=$out/test.log
: >"$LOG_FILE"
passed=0 failed=0

# check TEXT COMMAND...: one test, that passes if the command does. Bash heeds no errexit in
# it, so a function says itself where it ends.
check() {
  local text=$1
  shift
  printf '\n== %s\n' "$text" >>"$LOG_FILE"
  if "$@" >>"$LOG_FILE" 2>&1 </dev/null; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    say "FAILED: $text; see $LOG_FILE"
  fi
}

# lint LIST TOP [PARAMETER=VALUE...]
lint() {
  local list=$1 top=$2
  shift 2
  verilator --lint-only -Wall --assert --timescale 1ns/1ps --top-module "$top" \
    "${@/#/-G}" -F "$hdl/$list"
}

# refuses TEXT PARAMETER=VALUE...: elaboration ends with an error that has TEXT in it.
refuses() {
  refuses_in accelerator_pcie_bridge "$@"
}

# refuses_in TOP TEXT PARAMETER=VALUE...
refuses_in() {
  local top=$1 text=$2 output
  shift 2
  if output=$(lint bridge.f "$top" "$@" 2>&1); then
    echo "accepted: $*"
    return 1
  fi
  echo "$output"
  grep -qF -- "$text" <<<"$output"
}

# vhdl_files: the VHDL of the example, in order.
vhdl_files() {
  read_list "$hdl/examples/vhdl/vhdl.f"
  mapfile -t VHDL_FILES < <(printf '%s\n' "${LIST_VHDL[@]}")
}

# The components, the card and the top, elaborated: nothing but the bridge is not bound.
standards() {
  local standard text
  vhdl_files
  for standard in 93 08; do
    rm -rf "$out/ghdl-$standard"
    mkdir "$out/ghdl-$standard"
    (cd "$out/ghdl-$standard" && ghdl -a "--std=$standard" "${VHDL_FILES[@]}" &&
      ghdl -e "--std=$standard" vhdl_top) >"$out/ghdl.out" 2>&1 || return 1
    cat "$out/ghdl.out"
    text=$(grep -E 'warning|error' "$out/ghdl.out" | grep -v 'default configuration of vhdl_top')
    [[ $text == *'component "accelerator_pcie_bridge" is not bound'* && $(wc -l <<<"$text") == 1 ]] ||
      return 1
  done
}

# The card of the example pcie4 at another width than the example's.
lint_card() {
  verilator --lint-only -Wall --assert --timescale 1ns/1ps --top-module pcie4_card_top \
    "-GDataWidth=$1" -F "$hdl/examples/pcie4/pcie4.f" "$hdl/tests/pcie4_card_top.sv"
}

# The example has what the script writes, by the command that it says itself.
written_block() {
  local file=$hdl/examples/pcie4/pcie4_uscale_plus_0.sv words
  read -ra words < <(sed -n '4,/^$/s#^//   ##p' "$file" | tr '\n' ' ')
  ((${#words[@]} > 4)) || return 1
  diff "$file" <(scripts/build-pcie-block.sh "${words[@]}" --out -)
}

# One with all options, and what the script refuses.
other_block() {
  local file=$out/my_block.sv text
  scripts/build-pcie-block.sh my_block --width 512 --straddle cq,cc,rq,rc4 --lanes 16 --flr --parity \
    --internal-tags -G MsiVectors=4 --out "$file" || return 1
  verilator --lint-only -Wall --assert --timescale 1ns/1ps --top-module my_block -F "$hdl/bridge.f" \
    "$file" || return 1
  grep -qE 'input  logic \[136:0\]  s_axis_rq_tuser,' "$file" || return 1
  text=$(scripts/build-pcie-block.sh my_block --width 96 --out - 2>&1) && return 1
  grep -q "width is '96'" <<<"$text" || return 1
  text=$(scripts/build-pcie-block.sh my_block --width 64 --straddle cq --out - 2>&1) && return 1
  grep -q 'straddle cq needs 512 bits' <<<"$text" || return 1
  text=$(scripts/build-pcie-block.sh my_block --width 64 -G Msix=4 --out - 2>&1) && return 1
  grep -q 'no parameter Msix$' <<<"$text"
}

# cases SOURCE NAME MACRO TOP FILES...: begins to build a program of hdl/tests/cases.h on a top
# module, which cases_of NAME runs.
CASES_PIDS=()
cases() {
  # Not more at once than there are processors, with the rest of the tests.
  ((${#CASES_PIDS[@]} < $(nproc))) || wait "${CASES_PIDS[-$(nproc)]}" || true
  build_cases "$@" >"$out/$2.log" 2>&1 </dev/null &
  CASES_PIDS+=("$!")
}

# Its runs are short, so the compiler does not optimise; the linker leaves out the stand-in's
# functions that the top module has no use for.
build_cases() {
  local source=$1 folder=$out/$2 macro=$3 top=$4
  shift 4
  rm -f "$folder/Vtop"
  verilator --cc --exe --build --no-timing --assert -Wall --timescale 1ns/1ps --prefix Vtop \
    --Mdir "$folder" --top-module "$top" "$@" "$hdl/tests/$source" \
    -CFLAGS "-std=gnu++20 -ffunction-sections -D$macro" -LDFLAGS -Wl,--gc-sections \
    -MAKEFLAGS 'OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include'
}

# cases_of NAME
cases_of() {
  local name=$1 line p f
  if [[ ! -x $out/$name/Vtop ]]; then
    say "FAILED: the cases of $name cannot be built; see $out/$name.log"
    failed=$((failed + 1))
    return
  fi
  printf '\n== cases of %s\n' "$name" >>"$LOG_FILE"
  line=$(timeout 120 "$out/$name/Vtop" 2>&1 | tee -a "$LOG_FILE" | tail -n 1) || true
  read -r p _ f _ < <(tr -d , <<<"$line")
  if [[ ! $p =~ ^[0-9]+$ || ! $f =~ ^[0-9]+$ ]]; then
    p=0 f=1
  fi
  passed=$((passed + p)) failed=$((failed + f))
  ((f == 0)) || say "FAILED: $f cases of $name; see $LOG_FILE"
}

# What a four-state simulator says of X at the border of the DPI: each once where it is unknown,
# and nothing in reset or without valid.
unknowns() {
  iverilog -g2012 -o "$out/known" "$hdl/rtl/accelerator_known_check.sv" "$hdl/tests/known_tb.sv" ||
    return 1
  vvp -n "$out/known" >"$out/known.out" || return 1
  cat "$out/known.out"
  diff - <(grep -oE '^[a-z ]+$|^[A-Z]+:|(strict|lenient): [^ ]+ is.*' "$out/known.out") <<'EXPECTED'
in reset
not valid
known
unknown
ERROR:
strict: 5X is not known, and would be 0 for the host
WARNING:
lenient: 5X is not known, and is 0 for the host; told once
unknown again
ERROR:
strict: 5X is not known, and would be 0 for the host
valid unknown
ERROR:
strict: valid is x
ERROR:
lenient: valid is x
end
EXPECTED
}

# The prototypes that Verilator makes from the imports stand beside the library's header: a
# compiler refuses two declarations that differ, and a link names what the library lacks.
prototypes() {
  local folder=$out/prototypes
  rm -rf "$folder"
  verilator --cc --assert --no-timing --timescale 1ns/1ps --prefix Vsim --Mdir "$folder" \
    --top-module accelerator_pcie_bridge -F "$hdl/bridge.f" || return 1
  # Every function of the header is imported, and the other way round.
  diff <(grep -oE '\bacc_[a-z_]+\(' "$REPO_DIR/dpi-bridge/include/accelerator_dpi.h" |
    sort -u) <(grep -oE '\bacc_[a-z_]+\(' "$folder/Vsim__Dpi.h" | sort -u) || return 1
  cat >"$folder/both.cpp" <<'CODE'
#include <cstdint>
#include "accelerator_dpi.h"
#include "Vsim__Dpi.h"
CODE
  local root
  root=$(python -c 'import os, verilator; print(os.path.dirname(verilator.__file__))')
  g++ -std=gnu++20 -Wall -Wextra -Werror -fsyntax-only -I"$folder" -I"$root/include" \
    -I"$root/include/vltstd" -I"$REPO_DIR/dpi-bridge/include" "$folder/both.cpp"
}

# The simulation of the smallest example: ends by itself and by each signal, says its counters
# and clocks, and does not start with what it cannot use.
simulation=$REPO_DIR/build/sim/regs/regs
endpoint=+accelerator_endpoint=ipc://$out/endpoint

summary() {
  grep -qE "^regs: mmio_reads=0 mmio_writes=0 .* sessions=0$" "$out/sim.out" &&
    grep -qE "^regs: clocks=[0-9]+ seconds=[0-9.]+ clocks_per_second=[0-9]+ end=\"$1\"$" \
      "$out/sim.out"
}

ends_by_itself() {
  timeout 60 "$simulation" "$endpoint" +max_clocks=5000 >"$out/sim.out" || return 1
  cat "$out/sim.out"
  grep -q 'clocks=5000 ' "$out/sim.out" && summary '\+max_clocks'
}

ends_by_signal() {
  local pid status=0
  "$simulation" "$endpoint" >"$out/sim.out" &
  pid=$!
  sleep 0.5
  kill -"$1" "$pid"
  kill -"$1" "$pid" 2>/dev/null || true
  wait "$pid" || status=$?
  cat "$out/sim.out"
  ((status == 0)) && summary "$2"
}

refuses_to_run() {
  local text=$1 output
  shift
  if output=$(timeout 60 "$simulation" "$@" +max_clocks=10 2>&1); then
    echo "ran: $*"
    return 1
  fi
  echo "$output"
  grep -qE -- "$text" <<<"$output"
}

takes_the_users() {
  timeout 60 "$simulation" "$endpoint" "$@" +max_clocks=10
}

refuses_to_run_waves() {
  local status=0 output
  output=$(timeout 60 "$simulation-waves" "$endpoint" "+waves=$out/none/waves.fst" \
    +max_clocks=10 2>&1) || status=$?
  echo "$output"
  ((status == 2)) && grep -q 'waves cannot be written to .*: No such file' <<<"$output"
}

# Waves from a clock on, and for some.
waves_window() {
  local file=$out/window.fst
  rm -f "$file"
  timeout 60 "$simulation-waves" "$endpoint" "+waves=$file" +waves_from=1000 +waves_clocks=500 \
    +max_clocks=3000 >"$out/sim.out" || return 1
  cat "$out/sim.out"
  grep -q 'waves go to .* from clock 1000 on$' "$out/sim.out" &&
    grep -q 'waves end at clock 1500$' "$out/sim.out" && [[ -s $file ]]
}

# Waves that a signal begins.
waves_signal() {
  local file=$out/signal.fst pid status=0 i
  rm -f "$file"
  "$simulation-waves" "$endpoint" "+waves=$file" +waves_trigger >"$out/sim.out" &
  pid=$!
  for ((i = 0; i < 200; i++)); do
    ! grep -q "kill -USR1 $pid\$" "$out/sim.out" || break
    sleep 0.1
  done
  [[ ! -s $file ]] || status=1
  kill -USR1 "$pid"
  # The signal may come before the first clock, and then they go from the beginning on.
  for ((i = 0; i < 200; i++)); do
    ! grep -q 'waves go to ' "$out/sim.out" || break
    sleep 0.1
  done
  kill -TERM "$pid"
  wait "$pid" || status=$?
  cat "$out/sim.out"
  ((status == 0 && i < 200)) && [[ -s $file ]]
}

# Waves that the design begins.
waves_design() {
  local file=$out/design.fst
  rm -f "$file"
  scripts/build-sim.sh --top trigger_top --files hdl/tests/main/trigger.f --waves \
    --out "$out/trigger" || return 1
  timeout 60 "$out/trigger/trigger_top-waves" "+waves=$file" +waves_trigger +max_clocks=300 \
    >"$out/sim.out" || return 1
  cat "$out/sim.out"
  grep -qE 'waves go to .* from clock 10[0-2] on$' "$out/sim.out" && [[ -s $file ]]
}

# The clock of a design that is not the bridge's: so many edges as its period says, those that fall on
# an edge of aclk together with it. Without such a clock there is no such argument.
ticks() {
  local folder=$out/user_clk
  scripts/build-sim.sh --top trigger_top --files hdl/tests/main/trigger.f -D USER_CLK \
    --out "$folder" || return 1
  timeout 60 "$folder/trigger_top" +max_clocks=3000 | tee "$out/sim.out"
  # The last rises 11,999,498.5 ps after the start, of 12 us.
  grep -q '^user clocks 3999, ' "$out/sim.out" || return 1
  timeout 60 "$folder/trigger_top" +max_clocks=1000 +user_clk_ps=4000 | tee "$out/sim.out"
  grep -q '^user clocks 1000, 1000 of them with aclk$' "$out/sim.out" || return 1
  timeout 60 "$folder/trigger_top" +max_clocks=1000 +user_clk_ps=104000 | tee "$out/sim.out"
  # It rises where the other falls.
  grep -q '^user clocks 38, 0 of them with aclk$' "$out/sim.out"
}

# An input that nothing drives would never tick.
refuses_inputs() {
  local output
  if output=$(scripts/build-sim.sh --top trigger_top --files hdl/tests/main/trigger.f \
    -D SECOND_CLOCK --out "$out/second" 2>&1); then
    echo 'built'
    return 1
  fi
  echo "$output"
  grep -q 'inputs that nothing drives: clk2' <<<"$output"
}

# A disk that fills up ends the waves with a sentence, and the simulation comes to its end.
waves_full() {
  local unshare=(unshare --mount) status=0
  ((EUID == 0)) || unshare=(unshare --mount --map-root-user)
  mkdir -p "$out/disk"
  # shellcheck disable=SC2016 # the inner shell expands
  "${unshare[@]}" sh -c 'mount -t tmpfs -o size=3m tmpfs "$1" && shift && exec timeout 100 "$@"' \
    sh "$out/disk" "$simulation-waves" "$endpoint" "+waves=$out/disk/waves.fst" \
    +max_clocks=1500000 >"$out/sim.out" 2>&1 || status=$?
  cat "$out/sim.out"
  ((status == 2)) && grep -q 'bytes left: the waves end at clock' "$out/sim.out" &&
    grep -q 'clocks=1500000 ' "$out/sim.out"
}

cd "$REPO_DIR"
if ((${#suites[@]} == 0)); then
  cases misuse.cpp misuse-pcie MISUSE_PCIE accelerator_pcie_bridge -GDmaDataWidth=64 -GDmaWrites=2 \
    -GDmaReads=2 -GStallClocks=200 -GMsixVectors=17 -F "$hdl/bridge.f"
  cases misuse.cpp misuse-nic MISUSE_NIC accelerator_nic_bridge -F "$hdl/bridge.f"
  say 'linting'
  for width in 32 64 128 256 512; do
    check "lint of the bridge, $width bits" lint bridge.f accelerator_pcie_bridge \
      "MmioDataWidth=$width" "DmaDataWidth=$width"
  done
  check 'lint of the bridge, odd queues' lint bridge.f accelerator_pcie_bridge \
    MmioWrites=3 MmioReads=1 DmaWrites=5 DmaReads=3 DmaIdWidth=1 MmioAddrWidth=20
  for width in 8 16 32 64 128 256 512; do
    check "lint of the NIC bridge, $width bits" lint bridge.f accelerator_nic_bridge \
      "DataWidth=$width"
  done
  check 'lint of the UART bridge' lint bridge.f accelerator_uart_bridge
  for width in 64 128 256 512; do
    check "lint of XDMA, $width bits" lint bridge.f accelerator_xdma "DataWidth=$width" \
      H2cChannels=4 C2hChannels=3 NumUsrIrq=16 "AxilBarSize=64'h100000" "BypassBarSize=64'h100000"
    check "lint of XDMA with streams, $width bits" lint bridge.f accelerator_xdma \
      "DataWidth=$width" Stream=1 C2hChannels=2 IntxPin=1 MsixVectors=0
  done
  for width in 64 128 256 512; do
    check "lint of the UltraScale+ block, $width bits" lint bridge.f accelerator_pcie4 \
      "DataWidth=$width" MsixVectors=4 Parity=1 EnableFlr=1
    check "lint of the card behind it, $width bits" lint_card "$width"
  done
  check 'lint of the UltraScale+ block with straddle' lint bridge.f accelerator_pcie4 DataWidth=512 \
    CqStraddle=1 CcStraddle=1 RqStraddle=1 RcStraddle=4 EnableClientTag=0 MsiVectors=8 IntxPin=1
  check 'lint of the UltraScale+ block with two completions in a beat' lint bridge.f \
    accelerator_pcie4 DataWidth=256 RcStraddle=2 RcbBytes=128
  check 'the module that a design has as its block' written_block
  check 'the module for another block, and what the script refuses' other_block
  check 'lint of what LitePCIe takes from AMD' verilator --lint-only -Wall --timescale 1ns/1ps \
    -Wno-MULTITOP "$hdl"/designs/litepcie/{IBUFDS_GTE4,FDPE}.sv
  check 'lint of the example xdma with streams' lint examples/xdma/xdma.f xdma_top Stream=1
  for folder in "$hdl"/examples/*/; do
    example=$(basename "$folder")
    # That one is GHDL's.
    [[ $example != vhdl ]] || continue
    check "lint of $example" lint "examples/$example/$example.f" "${example}_top"
  done
  check 'GHDL takes vhdl as VHDL-93 and VHDL-2008' standards
  for width in 32 512; do
    check "lint of the crossing of clocks, $width bits" lint bridge.f accelerator_axi_cdc \
      "DataWidth=$width" LogDepth=2
  done
  check 'refuses a queue of one word' refuses_in accelerator_cdc_fifo 'LogDepth is 0;' LogDepth=0
  check 'lint of the bench design' lint bench/bench.f bench_top
  check 'lint of the bench design of the channels' lint bench/channels.f channels_top
  for width in 32 64 256 512; do
    check "lint of sort, $width bits" lint examples/sort/sort.f sort_top "DmaDataWidth=$width"
  done

  say 'trying parameters that must be refused'
  check 'refuses MmioDataWidth 16' refuses 'MmioDataWidth is 16;' MmioDataWidth=16
  check 'refuses MmioDataWidth 96' refuses 'MmioDataWidth is 96;' MmioDataWidth=96
  check 'refuses DmaDataWidth 1024' refuses 'DmaDataWidth is 1024;' DmaDataWidth=1024
  check 'refuses MmioAddrWidth 65' refuses 'MmioAddrWidth is 65;' MmioAddrWidth=65
  check 'refuses DmaAddrWidth 8' refuses 'DmaAddrWidth is 8;' DmaAddrWidth=8
  check 'refuses MmioReads 0' refuses 'MmioReads is 0;' MmioReads=0
  check 'refuses MmioWrites 65' refuses 'MmioWrites is 65, MmioReads is 4;' MmioWrites=65
  check 'refuses MmioIdWidth 0' refuses 'MmioIdWidth is 0, DmaIdWidth is 4;' MmioIdWidth=0
  check 'refuses DmaIdWidth 0' refuses 'MmioIdWidth is 1, DmaIdWidth is 0;' DmaIdWidth=0
  check 'refuses 65 DMA requests' refuses 'DmaWrites is 33, DmaReads is 32;' DmaWrites=33 \
    DmaReads=32
  check 'refuses an XDMA of 32 bits' refuses_in accelerator_xdma 'DataWidth is 32;' DataWidth=32
  check 'refuses an XDMA with 5 channels' refuses_in accelerator_xdma 'C2hChannels is 5;' \
    C2hChannels=5
  check 'refuses an XDMA with 17 user interrupts' refuses_in accelerator_xdma 'NumUsrIrq is 17;' \
    NumUsrIrq=17
  check 'refuses an XDMA with 33 vectors' refuses_in accelerator_xdma 'MsixVectors is 33;' \
    MsixVectors=33
  check 'refuses an XDMA with bursts of 8 KiB' refuses_in accelerator_xdma 'BurstBytes is 8192;' \
    BurstBytes=8192
  check 'refuses an XDMA with a BAR of 8 GiB' refuses_in accelerator_xdma \
    'AxilBarSize is 0x200000000' "AxilBarSize=64'h200000000"
  check 'refuses an UltraScale+ block of 32 bits' refuses_in accelerator_pcie4 'DataWidth is 32;' \
    DataWidth=32
  check 'refuses straddle with 256 bits' refuses_in accelerator_pcie4 \
    'CqStraddle, CcStraddle or RqStraddle is 1 and DataWidth 256;' CcStraddle=1
  check 'refuses four completions in 256 bits' refuses_in accelerator_pcie4 \
    'RcStraddle is 4 and DataWidth 256;' RcStraddle=4
  check 'refuses a completion boundary of 32' refuses_in accelerator_pcie4 'RcbBytes is 32;' RcbBytes=32
  check 'refuses completions of 100 bytes' refuses_in accelerator_pcie4 'CompletionBytes is 100;' \
    CompletionBytes=100
  check 'refuses no reads of the guest' refuses_in accelerator_pcie4 'CqReads is 0;' CqReads=0
  check 'refuses ResetClocks 0' refuses 'ResetClocks is 0;' ResetClocks=0
  check 'refuses DataWidth 24' refuses_in accelerator_nic_bridge 'DataWidth is 24;' DataWidth=24
  check 'refuses DataWidth 4' refuses_in accelerator_nic_bridge 'DataWidth is 4;' DataWidth=4
  check 'refuses DataWidth 48 of registers' refuses_in accelerator_axi_regs 'DataWidth is 48;' \
    DataWidth=48
  check 'refuses RegAddrWidth 2' refuses_in accelerator_axi_regs \
    'RegAddrWidth is 2; 3 to 64 are possible' RegAddrWidth=2
  check 'refuses RegAddrWidth 65' refuses_in accelerator_axi_regs \
    'RegAddrWidth is 65; 3 to 64 are possible' RegAddrWidth=65
  check 'refuses MsixVectors 2049' refuses 'MsixVectors is 2049;' MsixVectors=2049
  for vectors in 3 12 33 64; do
    check "refuses MsiVectors $vectors" refuses \
      "MsiVectors is $vectors; 0, 1, 2, 4, 8, 16 and 32 are possible" "MsiVectors=$vectors"
  done
  check 'refuses MsiMasking 2' refuses 'MsiMasking is 2;' MsiVectors=1 MsiMasking=2
  check 'refuses MsiMasking without MSI' refuses 'MsiMasking is 1 and MsiVectors 0' MsiMasking=1
  check 'takes MSI alone' lint bridge.f accelerator_pcie_bridge MsixVectors=0 MsiVectors=32 \
    MsiMasking=1
  check 'refuses a BAR beyond the address' refuses \
    'BAR 0 of 0x10000 bytes ends at 0xffff on m_axi, MmioAddrWidth is 12 and ends at 0xfff' \
    MmioAddrWidth=12 "Bar0Size=64'h10000"
  check 'refuses a BAR behind the address' refuses \
    'BAR 2 of 0x1000 bytes ends at 0x100fff on m_axi, MmioAddrWidth is 20 and ends at 0xfffff' \
    MmioAddrWidth=20 "Bar2Size=64'h1000" "Bar2AxiBase=64'h100000"
  check 'takes a BAR that just fits' lint bridge.f accelerator_pcie_bridge MmioAddrWidth=16 \
    "Bar0Size=64'h10000"
  check 'refuses BoardRules 2' refuses 'BoardRules is 2;' BoardRules=2
  check 'refuses CapCount 9' refuses 'CapCount is 9;' CapCount=9
  check 'refuses a capability without a body' refuses 'CapBytes[1] is 0;' CapCount=2 \
    "CapBytes=64'h4"
  check 'refuses a capability of 65 bytes' refuses 'CapBytes[0] is 65;' CapCount=1 \
    "CapBytes=64'h41"

  say 'breaking the rules of the bridges, and trying the register port'
  cases misuse.cpp misuse-uart MISUSE_UART accelerator_uart_port -F "$hdl/bridge.f"
  cases axi_checker_test.cpp axi-checker CHECKER axi_checker -GDataWidth=64 -GIdWidth=4 \
    "$hdl/tests/axi_checker.sv"
  cases axi_regs_test.cpp axi-regs REGS accelerator_axi_regs -GDataWidth=64 \
    "$hdl/rtl/accelerator_axi_regs.sv"
  wait "${CASES_PIDS[@]}" || true
  for program in misuse-pcie misuse-nic misuse-uart axi-checker axi-regs; do
    cases_of "$program"
  done
  check 'what is unknown is told' unknowns

  say 'comparing the imports with the header of the DPI library'
  check 'prototypes' prototypes

  say 'running a simulation'
  if "$REPO_DIR/scripts/build-sim.sh" regs >>"$LOG_FILE" 2>&1; then
    check 'ends after +max_clocks' ends_by_itself
    check 'ends by SIGTERM' ends_by_signal TERM Terminated
    check 'ends by SIGINT' ends_by_signal INT Interrupt
    check 'refuses an endpoint' refuses_to_run 'endpoint.*10\.0\.0\.1.*loopback' \
      +accelerator_endpoint=tcp://10.0.0.1:7557
    check 'the endpoint by name wins' refuses_to_run 'endpoint.*10\.0\.0\.2.*loopback' \
      "$endpoint" +accelerator_endpoint_regs=tcp://10.0.0.2:7557
    check 'refuses waves in a build without' refuses_to_run 'built without waves' +waves
    check 'refuses a misspelt clock limit' refuses_to_run 'max_clock=5: there is no such' \
      "$endpoint" +max_clock=5
    check 'refuses a misspelt endpoint' refuses_to_run 'enpoint=1: there is no such' \
      +accelerator_enpoint=1
    check 'refuses an endpoint without a value' refuses_to_run 'endpoint: a value is needed' \
      +accelerator_endpoint
    check 'refuses an idle limit that is none' refuses_to_run 'idle=x: a number is needed' \
      "$endpoint" +accelerator_idle=x
    check 'refuses a record that cannot be written' refuses_to_run 'record /none/r: No such file' \
      "$endpoint" +accelerator_record=/none/r
    check 'refuses a plan of faults that is not there' refuses_to_run \
      'plan of faults /none/plan: No such file' "$endpoint" +accelerator_faults=/none/plan
    check 'refuses a record of no size' refuses_to_run 'record=r: bytes is 5, expected' \
      "$endpoint" +accelerator_record=r +accelerator_record_size=5
    check 'refuses an argument without +' refuses_to_run 'clocks=5: an argument begins with' \
      "$endpoint" max_clocks=5
    check 'refuses a part of waves without waves' refuses_to_run 'is for a simulation with' \
      "$endpoint" +waves_from=5
    check 'refuses the period of a clock that is not there' refuses_to_run \
      'user_clk_ps is for a top module with the input user_clk' "$endpoint" +user_clk_ps=5
    check "leaves the user's own arguments alone" takes_the_users +wavelength=5 +mine
  else
    failed=$((failed + 1))
    say "FAILED: the regs simulation cannot be built; see $LOG_FILE"
  fi
  if "$REPO_DIR/scripts/build-sim.sh" regs --waves >>"$LOG_FILE" 2>&1; then
    simulation=$REPO_DIR/build/sim/regs-waves/regs
    check 'refuses waves into a folder that is not there' refuses_to_run_waves
    check 'waves from a clock on' waves_window
    check 'waves from a signal on' waves_signal
    check 'waves into a disk that fills up' waves_full
  else
    failed=$((failed + 1))
    say "FAILED: the regs simulation with waves cannot be built; see $LOG_FILE"
  fi
  check 'waves from when the design says so' waves_design
  check 'a clock beside aclk ticks' ticks
  check 'refuses a top with an input that nothing drives' refuses_inputs
fi

if ((!quick)); then
  say "running the cocotb suites${suites[*]:+: ${suites[*]}}"
  status=0
  PYTHONDONTWRITEBYTECODE=1 python "$hdl/tests/run.py" --cache "$(cache_dir)/cocotb" \
    "${seed[@]}" "${requests[@]}" "${suites[@]}" 2>>"$LOG_FILE" | tee "$out/cocotb.out" || status=$?
  read -r p _ f _ < <(tail -n 1 "$out/cocotb.out" | tr -d ,)
  if [[ ! $p =~ ^[0-9]+$ || ! $f =~ ^[0-9]+$ ]]; then
    say "FAILED: the cocotb suites ended with status $status and no count; see $LOG_FILE"
    p=0 f=1
  elif ((status != 0 && f == 0)); then
    say "FAILED: the cocotb suites ended with status $status; see $LOG_FILE"
    f=1
  fi
  passed=$((passed + p)) failed=$((failed + f))
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
