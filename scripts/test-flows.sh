#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Checks what is made for Vivado and other simulators, without having them.
# Tests aside count in a shell of their own, which leaves what it counted in a file.
# shellcheck disable=SC2030,SC2031
set -euo pipefail
SCRIPT_NAME=test-flows.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"

usage() {
  cat <<'HELP'
usage: scripts/test-flows.sh [--update] [PART...]

Checks the flows for Vivado and other simulators, none of which it needs. The last line
is: N passed, N failed.

  --update   writes the transcripts in hdl/tests/flows/expected anew
  PART       library   the DPI library beside another libzmq in one process; the header
                       as C99 and C++11
             flows     scripts/run-*.sh with stand-ins that refuse what vendors do not
                       document, their calls against the transcripts
             tcl       the Tcl scripts with a recorder in place of Vivado's commands,
                       which refuses what it does not know, their calls against the
                       transcripts
             slang     the sources elaborated by slang, and scanned; the components in VHDL
                       against the modules
             bench     the test bench with Verilator --timing: every example does the
                       same, clock for clock, however the clock is made, and whatever
                       its registers begin with

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

update=0 parts=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --update) update=1 ;;
    library | flows | tcl | slang | bench) parts+=("$1") ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
((${#parts[@]})) || parts=(library flows tcl slang bench)

out=$REPO_DIR/build/test-flows
tests=$REPO_DIR/hdl/tests/flows
rm -rf "$out"
make_folder "$out"
LOG_FILE=$out/test.log
: >"$LOG_FILE"
log=$LOG_FILE
passed=0 failed=0

# check TEXT COMMAND...: one test, that passes if the command does. Bash heeds no errexit in
# it, so a function says itself where it ends.
check() {
  local text=$1
  shift
  printf '\n== %s\n' "$text" >>"$log"
  if "$@" >>"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    say "FAILED: $text; see $log"
  fi
}

# refuses TEXT COMMAND...: the command fails, and says TEXT.
refuses() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "passed: $*"
    return 1
  fi
  echo "$output"
  grep -qF -- "$text" <<<"$output"
}

# aside NAME COMMAND...: tests in the background, with a log of their own. Not more at once than
# there are processors.
ASIDE=()
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
aside() {
  local name=$1
  shift
  local running
  while mapfile -t running < <(jobs -rp) && ((${#running[@]} >= $(nproc))); do
    # Which one ended and how is in its file.
    wait -n || true
  done
  (
    LOG_FILE=$out/$name.log
    log=$LOG_FILE
    : >"$log"
    passed=0 failed=0
    "$@"
    printf '%s %s\n' "$passed" "$failed" >"$out/$name.count"
  ) &
  ASIDE+=("$name")
}

# Waits for all of them, and counts their tests.
asides() {
  local name p f
  wait
  for name in "${ASIDE[@]}"; do
    if [[ -s $out/$name.count ]]; then
      read -r p f <"$out/$name.count"
      passed=$((passed + p)) failed=$((failed + f))
    else
      failed=$((failed + 1))
      say "FAILED: $name did not come to its end; see $out/$name.log"
    fi
  done
  ASIDE=()
}

# same NAME FILE: the file is the transcript of that name, or becomes it.
same() {
  local expected=$tests/expected/$1.txt
  if ((update)); then
    mkdir -p "$tests/expected"
    cp "$2" "$expected"
  fi
  diff -u "$expected" "$2"
}

dpi=$REPO_DIR/build/dpi
if [[ " ${parts[*]} " == *' library '* || " ${parts[*]} " == *' flows '* ]]; then
  say 'building the DPI library for simulators'
  "$REPO_DIR/scripts/build-dpi.sh" --out "$dpi" >>"$log" 2>&1 ||
    die "the DPI library cannot be built; see $log"
fi

######## The DPI library ########

part_library() {
  need_packages gcc g++ binutils libzmq5
  local c99=(gcc -std=c99 -Wall -Wextra -Wpedantic -Werror "-I$dpi")
  local cxx11=(g++ -std=c++11 -Wall -Wextra -Wpedantic -Werror "-I$dpi")
  check 'header as C99' "${c99[@]}" -fsyntax-only -x c "$dpi/accelerator_dpi.h"
  check 'header as C++11' "${cxx11[@]}" -fsyntax-only -x c++ "$dpi/accelerator_dpi.h"

  local program=$out/two_zmq mode
  check 'build of two_zmq' "${c99[@]}" -D_POSIX_C_SOURCE=200809L \
    "$REPO_DIR/dpi-bridge/tests/c/two_zmq.c" -o "$program" -ldl
  # The static form as xsc makes a DPI library of it.
  check 'link of the static form' gcc -shared -o "$out/from_static.so" -Wl,--whole-archive \
    "$dpi/libaccelerator_dpi.a" -Wl,--no-whole-archive -Wl,-z,defs -lpthread -ldl -lm
  for mode in global local; do
    check "beside another libzmq, $mode" two_zmq "$dpi/libaccelerator_dpi.so" "$mode"
    check "static form beside another libzmq, $mode" two_zmq "$out/from_static.so" "$mode"
  done
  # The plain archive shows its libzmq: the test notices.
  check 'a library with a libzmq on show is noticed' plain_archive
}

two_zmq() {
  # A socket's path has to be short.
  local folder status=0
  folder=$(mktemp -d)
  timeout 120 "$out/two_zmq" libzmq.so.5 "$1" "$2" "ipc://$folder/s" || status=$?
  rm -rf "$folder"
  return "$status"
}

plain_archive() {
  local target
  target=$(cargo metadata --manifest-path "$REPO_DIR/Cargo.toml" --format-version 1 --no-deps |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  g++ -shared -o "$out/plain.so" -Wl,--whole-archive "$target/release/libaccelerator_dpi.a" \
    -Wl,--no-whole-archive || return 1
  refuses 'shows a libzmq' two_zmq "$out/plain.so" local
}

######## The flows, with stand-ins ########

part_flows() {
  need_packages gcc binutils python3
  local bin=$out/bin tool
  mkdir -p "$bin"
  for tool in xvhdl xvlog xelab xsim xsc vlib vcom vlog vsim vhdlan vlogan vcs simv xrun; do
    ln -s "$tests/tool.py" "$bin/$tool"
  done
  export FLOW_ROOT=$REPO_DIR FLOW_OUT=$out/work FLOW_LOG=$out/calls FLOW_FILES=$out/files
  local example flow form libraries line
  mkdir -p "$out/own/cells" "$out/own/compiled"
  printf 'entity card is\nend entity;\n' >"$out/own/card.vhd"
  touch "$out/own/all.v" "$out/own/glbl.v"
  export OWN_FOLDER=$out/own
  echo 'int mine(void) { return 1; }' >"$out/mine.c"
  for flow in xsim questa vcs xcelium; do
    for example in "$REPO_DIR"/hdl/examples/*/; do
      example=$(basename "$example")
      python3 "$tests/files.py" "$REPO_DIR/hdl/examples/$example/$example.f" >"$FLOW_FILES"
      : >"$FLOW_LOG"
      for form in shared static; do
        [[ $form == shared || $flow == xsim || $flow == vcs ]] || continue
        echo "# run-$flow.sh EXAMPLE --library $form" >>"$FLOW_LOG"
        check "run-$flow.sh $example, $form" flow "$flow" "$example" --library "$form" \
          +accelerator_endpoint=ipc:///run/card +max_clocks=1000
      done
      # Two have something beside what all have.
      case $example in
        vhdl | clocks)
          check "calls of run-$flow.sh for $example" same "run-$flow-$example" "$FLOW_LOG"
          continue
          ;;
      esac
      sed -i "s/\b${example}\b/EXAMPLE/g; s/\b${example}_top\b/EXAMPLE_top/g" "$FLOW_LOG"
      check "calls of run-$flow.sh for $example" same "run-$flow" "$FLOW_LOG"
    done

    : >"$FLOW_LOG"
    python3 "$tests/files.py" "$REPO_DIR/hdl/examples/regs/regs.f" >"$FLOW_FILES"
    if [[ $flow == xsim || $flow == vcs ]]; then
      echo "# run-$flow.sh with C code of the user's" >>"$FLOW_LOG"
      check "run-$flow.sh with C code" flow "$flow" regs --library static --c "$out/mine.c"
    fi
    echo "# run-$flow.sh in a window" >>"$FLOW_LOG"
    check "run-$flow.sh in a window" flow "$flow" regs --gui
    echo "# run-$flow.sh with a design of the user's" >>"$FLOW_LOG"
    python3 "$tests/files.py" "$tests/own.f" >"$FLOW_FILES"
    check "run-$flow.sh, a design of one's own" flow "$flow" --top regs_top \
      --files "$tests/own.f" -D MINE=2 --build-only
    echo "# run-$flow.sh with libraries and VHDL" >>"$FLOW_LOG"
    python3 "$tests/files.py" "$REPO_DIR/hdl/examples/regs/regs.f" >"$FLOW_FILES"
    libraries=(-L "unisims_ver=$out/own/compiled")
    [[ $flow != vcs ]] || libraries=()
    # shellcheck disable=SC2016 # the list's own variable
    printf '%s\n' card.vhd '-y ${OWN_FOLDER}/cells +libext+.v+.vlib /* not' 'cells.sv */' \
      '-v all.v' "-F $REPO_DIR/hdl/examples/regs/regs.f" '# and no more' >"$out/own/own.f"
    check "run-$flow.sh with libraries and VHDL" flow "$flow" --top regs_top \
      --files "$out/own/own.f" "${libraries[@]}" --glbl "$out/own/glbl.v"
    sed -i "s#$out/mine.c#mine.c#" "$FLOW_LOG"
    check "further calls of run-$flow.sh" same "run-$flow-more" "$FLOW_LOG"
    for line in 'nowhere.sv' '-v nowhere.v' '-F nowhere.f' '-y nowhere' '+incdir+nowhere'; do
      printf '\n%s\n' "$line" >"$out/own/bad.f"
      check "run-$flow.sh, $line" refuses "bad.f:2: there is no" flow "$flow" --top regs_top \
        --files "$out/own/bad.f"
    done
    echo '--x-assign 0' >"$out/own/bad.f"
    check "run-$flow.sh, an option of Verilator's" refuses "bad.f:1: '--x-assign' is not known" \
      flow "$flow" --top regs_top --files "$out/own/bad.f"
    check "run-$flow.sh without the simulator" without_tools "$flow"
    check "run-$flow.sh, no such example" refuses "no example 'none'" flow "$flow" none
    check "run-$flow.sh, unknown option" refuses "unknown option" flow "$flow" regs --nonsense
  done
  check 'run-vcs.sh, a compiled library' refuses 'no compiled library' flow vcs regs -L unisims_ver
  check 'run-xcelium.sh, a library without its folder' refuses 'unisims_ver=DIR' flow xcelium \
    regs -L unisims_ver
  python3 "$tests/files.py" "$REPO_DIR/hdl/examples/regs/regs.f" >"$FLOW_FILES"
  check 'a library that lacks a function is noticed' lacking
}

flow() {
  local tool=$1
  shift
  mkdir -p "$out/work"
  # The same name every time, since it is in the transcript.
  rm -rf "$out/work/$tool"
  PATH=$out/bin:$PATH "$REPO_DIR/scripts/run-$tool.sh" --dpi "$dpi" --out "$out/work/$tool" "$@"
}

without_tools() {
  refuses 'is not there' "$REPO_DIR/scripts/run-$1.sh" --dpi "$dpi" --out "$out/work/none" regs
}

lacking() {
  local folder=$out/lacking
  mkdir -p "$folder"
  cp "$dpi"/* "$folder"
  echo 'int acc_poll(void *h, int ready) { (void)h; return ready; }' |
    gcc -shared -fPIC -x c - -o "$folder/libaccelerator_dpi.so" || return 1
  refuses 'lacks' env PATH="$out/bin:$PATH" "$REPO_DIR/scripts/run-xsim.sh" --dpi "$folder" \
    --out "$out/work/lacking" regs
}

######## Tcl ########

part_tcl() {
  need_packages tcl python3
  export FLOW_OUT=$out/tcl
  mkdir -p "$FLOW_OUT"
  # Stands for the one that a simulator would load.
  mkdir -p "$FLOW_OUT/dpi"
  : >"$FLOW_OUT/dpi/libaccelerator_dpi.so"
  local vivado=$REPO_DIR/hdl/vivado module card mode sources=() line
  while IFS= read -r line; do sources+=("$line"); done < <(
    python3 "$tests/files.py" "$REPO_DIR/hdl/bridge.f" | grep -v accelerator_tb)
  for module in accelerator_pcie_bridge accelerator_nic_bridge accelerator_uart_bridge; do
    [[ -f $REPO_DIR/hdl/rtl/$module.sv ]] || continue
    check "wrapper of $module" python3 "$vivado/wrapper.py" "$REPO_DIR/hdl/rtl/$module.sv" \
      "$FLOW_OUT/${module}_ip.v" "$FLOW_OUT/$module.tcl"
    check "packaging of $module" recorded "$vivado/package_ip.tcl" "$module" "$FLOW_OUT/ip" \
      xc7a35tcpg236-1 "$FLOW_OUT/${module}_ip.v" "$FLOW_OUT/$module.tcl" "${sources[@]}"
    # The files are checked when they are added.
    sed -i 's/^add_files .*/add_files .../' "$FLOW_OUT/transcript"
    # Parameters that ip.tcl does not know are shown; which these are is not compared.
    sed -i '/^ipgui::add_group -name Further/,/^ipx::create_xgui_files/{/^ipx::create/!d}' \
      "$FLOW_OUT/transcript"
    [[ ! -f $tests/expected/package-$module.txt && $update == 0 ]] ||
      check "calls that package $module" same "package-$module" "$FLOW_OUT/transcript"
  done
  for card in regs sort; do
    check "generic platform with $card" recorded "$vivado/generic_base.tcl" "$FLOW_OUT/project" \
      xc7a35tcpg236-1 "$vivado/card/$card" "$FLOW_OUT/ip" "$FLOW_OUT/dpi"
    check "calls of the generic platform with $card" same "generic-$card" "$FLOW_OUT/transcript"
    check "vcu128 platform with $card" recorded "$vivado/vcu128_base.tcl" "$FLOW_OUT/project" \
      xcvu37p-fsvh2892-2L-e "$vivado/card/$card" "$FLOW_OUT/ip" "$FLOW_OUT/dpi" \
      xilinx.com:vcu128:part0:1.0
    check "calls of the vcu128 platform with $card" same "vcu128-$card" "$FLOW_OUT/transcript"
    for mode in behavioral post-synthesis post-implementation; do
      check "run_sim.tcl of $card, $mode" recorded "$REPO_DIR/scripts/run_sim.tcl" "$mode" \
        --card "$vivado/card/$card" --dpi "$FLOW_OUT/dpi" --out "$FLOW_OUT/sim" \
        --plusarg max_clocks=1000
      sed -i 's/^add_files .*/add_files .../' "$FLOW_OUT/transcript"
      check "calls of run_sim.tcl of $card, $mode" same "run_sim-$card-$mode" "$FLOW_OUT/transcript"
    done
  done
  for card in "$REPO_DIR"/hdl/examples/*/; do
    check "run_sim.tcl of $(basename "$card")" recorded "$REPO_DIR/scripts/run_sim.tcl" \
      --example "$(basename "$card")" --dpi "$FLOW_OUT/dpi" --out "$FLOW_OUT/sim"
  done
  : >"$FLOW_OUT/there.xpr"
  check 'run_sim.tcl of a project' recorded "$REPO_DIR/scripts/run_sim.tcl" post-implementation \
    --project "$FLOW_OUT/there.xpr" --type timing --scripts-only --dpi "$FLOW_OUT/dpi"
  check 'calls of run_sim.tcl of a project' same run_sim-project "$FLOW_OUT/transcript"
  check 'run_sim.tcl --help' says 'usage: vivado -mode batch' recorded \
    "$REPO_DIR/scripts/run_sim.tcl" --help
  check 'run_sim.tcl, unknown argument' refuses "unknown argument '--nonsense'" recorded \
    "$REPO_DIR/scripts/run_sim.tcl" --nonsense
  check 'run_sim.tcl, an example after synthesis' refuses 'needs --card or --project' recorded \
    "$REPO_DIR/scripts/run_sim.tcl" post-synthesis --example regs --dpi "$FLOW_OUT/dpi"
  check 'run_sim.tcl without the DPI library' refuses 'scripts/build-dpi.sh makes it' recorded \
    "$REPO_DIR/scripts/run_sim.tcl" --dpi "$FLOW_OUT/none"
  # The scripts around them, with a stand-in for Vivado that runs the recorder.
  mkdir -p "$FLOW_OUT/bin"
  ln -sf "$tests/tool.py" "$FLOW_OUT/bin/vivado"
  export FLOW_LOG=$FLOW_OUT/transcript
  check 'build_bridge-ip.sh' env "PATH=$FLOW_OUT/bin:$PATH" \
    "$REPO_DIR/scripts/build_bridge-ip.sh" --out "$FLOW_OUT/packaged"
  check 'the IP is there' test -f "$FLOW_OUT/packaged/accelerator_pcie_bridge/component.xml"
  for line in generic vcu128; do
    check "build_platform.sh $line" env "PATH=$FLOW_OUT/bin:$PATH" \
      "$REPO_DIR/scripts/build_platform.sh" "$line" --card "$vivado/card/sort" \
      --out "$FLOW_OUT/$line" --ip "$FLOW_OUT/packaged" --dpi "$FLOW_OUT/dpi"
  done
  check 'build_platform.sh, no such platform' refuses "no platform 'none'" \
    "$REPO_DIR/scripts/build_platform.sh" none
  check 'build_platform.sh, no card' refuses 'has no accelerator_card.v' \
    "$REPO_DIR/scripts/build_platform.sh" --card "$tests"
  check 'build_platform.sh without Vivado' refuses 'vivado is not there' \
    "$REPO_DIR/scripts/build_platform.sh"
  check 'build_bridge-ip.sh without Vivado' refuses 'vivado is not there' \
    "$REPO_DIR/scripts/build_bridge-ip.sh"
  # The recorder refuses.
  check 'an unknown command is refused' snippet 'unknown command report_nonsense' \
    'report_nonsense'
  check 'an unknown option is refused' snippet 'create_project has no option -nonsense' \
    'create_project a b -nonsense'
  check 'an unknown property is refused' snippet 'a project has no property nonsense' \
    'create_project a b; set_property nonsense 1 [current_project]'
  check 'an unknown pin is refused' snippet 'no pin card/nonsense' \
    'create_bd_design d; get_bd_pins card/nonsense'
  check 'an open input is refused' snippet 'buffer/CLK_IN_D is not connected' \
    'create_bd_design d; create_bd_cell -type ip -vlnv xilinx.com:ip:util_ds_buf:2.1 buffer
     validate_bd_design'
}

recorded() {
  tclsh "$tests/recorder.tcl" "$FLOW_OUT/transcript" "$@"
}

says() {
  local text=$1
  shift
  "$@" | grep -F -- "$text"
}

snippet() {
  printf '%s\n' "$2" >"$FLOW_OUT/snippet.tcl"
  refuses "$1" recorded "$FLOW_OUT/snippet.tcl"
}

######## Another front end ########

part_slang() {
  python_env slang
  LOG_FILE=$log
  local python=$PYTHON_ENV/bin/python
  "$python" "$tests/elaborate.py" >"$out/slang.out" 2>>"$log" || true
  cat "$out/slang.out" >>"$log"
  local p f
  read -r p _ f _ < <(tail -n 1 "$out/slang.out" | tr -d ,)
  if [[ ! $p =~ ^[0-9]+$ || ! $f =~ ^[0-9]+$ ]]; then
    say "FAILED: elaborate.py ended without a count; see $log"
    p=0 f=1
  fi
  ((f == 0)) || grep -E '^FAILED' "$out/slang.out" || true
  passed=$((passed + p)) failed=$((failed + f))

  # The components in VHDL are the modules.
  "$python" "$tests/components.py" >"$out/components.out" 2>>"$log" || true
  cat "$out/components.out" >>"$log"
  read -r p _ f _ < <(tail -n 1 "$out/components.out" | tr -d ,)
  if [[ ! $p =~ ^[0-9]+$ || ! $f =~ ^[0-9]+$ ]]; then
    say "FAILED: components.py ended without a count; see $log"
    p=0 f=1
  fi
  ((f == 0)) || grep -vE '^ok' "$out/components.out" || true
  passed=$((passed + p)) failed=$((failed + f))
  check 'a component with another width is noticed' declared 'port 13 is' \
    's/m_axi_wdata\( *: out.*MmioDataWidth\)/m_axi_wdata\1 + 1/'
  check 'a component with another direction is noticed' declared "'user_resetn', 'in'" \
    's/user_resetn\( *\): out/user_resetn\1: in /'
  check 'a component with another default is noticed' declared 'DmaReads is 16' \
    's/DmaReads\( *: integer := \)16/DmaReads\1 8/'
  check 'a component without a port is noticed' declared 'in one of the two only' '/ intx  /d'
  check 'a component without a generic is noticed' declared 'no such generic' '/StallClocks /d'

  # The analysis and the scan notice what they are there for.
  local below='module b(input logic clk); logic q, r; int n; initial clear(); task automatic clear(); r = 0; endtask
    task automatic set(input logic v); q <= v; endtask task automatic step(); n++; endtask endmodule b u(.clk);'
  check 'a second process that writes a variable is noticed' analysed 'cannot be written to' \
    'logic q; initial q = 1; always_ff @(posedge clk) q <= 0;'
  check 'a task that another process calls in a module below is noticed' \
    analysed "variable 'm.u.q' is written by more than one process: AlwaysFF in m, Initial in m" \
    "$below initial u.set(1); always_ff @(posedge clk) u.set(0);"
  check 'a task that calls such a task is noticed' analysed "variable 'm.u.n' is written" \
    "$below task t; u.step(); endtask initial t(); always_ff @(posedge clk) u.step();"
  check 'a task that a module calls and the one above it is noticed' analysed "variable 'm.u.r'" \
    "$below always_ff @(posedge clk) u.clear();"
  check 'a task that one process calls in a module below is taken' \
    analyse "$below always_ff @(posedge clk) begin u.set(1); u.step(); u.set(0); end"
  check 'a variable that is known at the start is taken' \
    analyse 'logic q = 1; always_ff @(posedge clk) q <= 0;'
  check 'a warning is noticed' analysed 'overflows 8-bit operand' \
    'logic [7:0] a; assign a = 8'\''d1 << 9;'
  check 'an open array is noticed' scanned 'an open array' \
    'import "DPI-C" function int f(input bit [7:0] a[]);'
  check 'a type of one'\''s own is noticed' scanned 'not in the common subset' 'import "DPI-C" function int f(input union_t u);'
  check 'a four-state argument is noticed' scanned 'a four-state type' \
    'import "DPI-C" function int f(input logic [7:0] a);'
  check 'an export is noticed' scanned 'a call back' 'export "DPI-C" task t;'
  check 'a generate block without a name is noticed' scanned 'without a name' \
    '  if (Width > 1) begin'
  check 'an argument of another type is noticed' scanned 'not in the common subset' \
    'import "DPI-C" function int f(inout int a);'
}

# declared TEXT SED: with the components edited so, the comparison ends with TEXT.
declared() {
  sed "$2" "$REPO_DIR/hdl/vhdl/accelerator_components.vhd" >"$out/components.vhd"
  refuses "$1" "$PYTHON_ENV/bin/python" "$tests/components.py" "$out/components.vhd"
}

analyse() {
  printf 'module m(input logic clk);\n%s\nendmodule\n' "$1" >"$out/analysed.sv"
  "$PYTHON_ENV/bin/python" "$tests/elaborate.py" --analyse m "$out/analysed.sv"
}

analysed() {
  refuses "$1" analyse "$2"
}

scanned() {
  printf 'module m;\n%s\nendmodule\n' "$2" >"$out/scanned.sv"
  refuses "$1" "$PYTHON_ENV/bin/python" "$tests/elaborate.py" --scan "$out/scanned.sv"
}

######## The test bench ########

part_bench() {
  need_packages g++ make perl
  compiler_cache
  python_env
  LOG_FILE=$log
  export PATH=$PYTHON_ENV/bin:$PATH
  local example
  for example in "$REPO_DIR"/hdl/examples/*/; do
    example=$(basename "$example")
    # An example without a script has nothing to compare.
    if ! grep -q "\"$(script_of "$example")\"" "$REPO_DIR/hdl/tests/scripted.cpp"; then
      say "$example has no script in hdl/tests/scripted.cpp: not run"
      continue
    fi
    aside "bench-of-$example" bench_of "$example"
  done
  aside bench-of-uart_bridge bench_of uart_bridge
  # A card of a Vivado project, in place of the example that it is made from.
  aside bench-of-card bench_of card
  aside bench-of-usr_irq bench_of_usr_irq
  asides
}

# What the guest does in a design: the card and the one with two clocks are the sorter.
script_of() {
  case $1 in
    card | clocks) echo sort ;;
    *) echo "$1" ;;
  esac
}

# Its edges never are where those of aclk are, at which the order would be another with every clock.
USER_CLOCK=3000

bench_of() {
  check "build of $1 with --timing" build_bench "$1"
  check "$1 does the same with every clock" styles "$1"
  check "$1 does the same after any power-on" power_on "$1"
  check "$1 ends when the stop file is there" stops "$1"
}

bench_of_usr_irq() {
  check 'build of usr_irq_tb' verilator --binary --timing -Wall --assert \
    --timescale 1ns/1ps --prefix Vtop --Mdir "$out/bench-usr_irq" --top-module usr_irq_tb "$tests/usr_irq_tb.sv" \
    "$REPO_DIR/hdl/vivado/accelerator_usr_irq.v" -CFLAGS -std=gnu++20 \
    -MAKEFLAGS 'OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include'
  check 'every interrupt of a card reaches the PCIe block once' says 'usr_irq_tb: 500 interrupts' \
    timeout 120 "$out/bench-usr_irq/Vtop"
}

# build_bench EXAMPLE: the simulation with a scripted guest. Its run is short, so the compiler
# does not optimise; what is not called is left out by the linker, since the stand-in need not have
# functions that an example has no use for.
build_bench() {
  local folder=$out/bench-$1 top=$1_top list=("-F" "$REPO_DIR/hdl/examples/$1/$1.f")
  if [[ $1 == uart_bridge ]]; then
    list=(-F "$REPO_DIR/hdl/bridge.f" "$tests/uart_bridge_top.sv")
  elif [[ $1 == card ]]; then
    top=accelerator_card_top
    # The bridge's list has the registers' file too.
    list=("+incdir+$REPO_DIR/hdl/vivado/card/sort" -F "$REPO_DIR/hdl/bridge.f"
      "$REPO_DIR/hdl/vivado/accelerator_card_top.sv")
    local file
    while IFS= read -r file; do
      [[ $file == */accelerator_axi_regs.sv || $file == */accelerator_tb.sv ]] || list+=("$file")
    done < <(python3 "$tests/files.py" "$REPO_DIR/hdl/vivado/card/sort/card.f")
  fi
  verilator --binary --timing --no-sched-zero-delay -Wall -Wno-UNUSEDPARAM --assert \
    --x-initial unique --x-assign unique \
    --timescale 1ns/1ps --prefix Vtop --Mdir "$folder" --top-module accelerator_tb \
    "+define+ACCELERATOR_TOP=$top" "${list[@]}" \
    "$REPO_DIR/hdl/sim/accelerator_tb.sv" "$REPO_DIR/hdl/tests/scripted.cpp" \
    -CFLAGS '-std=gnu++20 -ffunction-sections' -LDFLAGS -Wl,--gc-sections \
    -MAKEFLAGS 'OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include'
}

styles() {
  local style calls script other=()
  script=$(script_of "$1")
  [[ $1 != clocks ]] || other=("+user_clk_ps=$USER_CLOCK")
  for style in 0 1 2; do
    SCRIPT=$script TRANSCRIPT=$out/$1-$style.txt timeout 120 "$out/bench-$1/Vtop" +max_clocks=30000 \
      "+clock_style=$style" "${other[@]}" >"$out/$1-$style.out" || return 1
    cat "$out/$1-$style.out"
    grep -q '^accelerator_tb: clocks=30000$' "$out/$1-$style.out" || return 1
    # All of the script was done, and nothing that the interface does not allow.
    [[ $(tail -n 1 "$out/$1-$style.txt") == 'outstanding 0 0 0 0' ]] || return 1
    diff "$out/$1-0.txt" "$out/$1-$style.txt" || return 1
    # The bridge of the card holds it against the rules of a board, too.
    ! grep Warning "$out/$1-$style.out" || return 1
  done
  # A read of a register and, but for a card without them, an interrupt at the very least.
  calls=$(cut -d ' ' -f 2 "$out/$1-0.txt")
  case $1 in
    uart_bridge)
      grep -qx 'serial tHEqUICKbROWNfOXjUMPSoVERtHElAZYdOG' "$out/$1-0.txt"
      return
      ;;
    twin)
      # Both have done their work, each at its own time.
      [[ $(grep -c '^outstanding 0 0 0 0$' "$out/$1-0.txt") == 2 ]] || return 1
      ! diff <(sed -n '/^board left/,/^outst/p' "$out/$1-0.txt" | tail -n +2) \
        <(sed -n '/^board right/,/^outst/p' "$out/$1-0.txt" | tail -n +2) || return 1
      ;;
  esac
  grep -qx 1 <<<"$calls" || return 1
  case $1 in
    uart) grep -q '^0000beef' "$out/$1-0.txt" ;;
    virtio_net) grep -qx 5 <<<"$calls" && (($(grep -c '^frame 300 ' "$out/$1-0.txt") == 2)) ;;
    *) grep -qx 5 <<<"$calls" ;;
  esac
}

# Registers begin with anything, as on a chip, and as X in other simulators: what reset does not
# clear in time stops the bridge, lets it hang, or shows in what it calls.
power_on() {
  local seed script random=() status=0
  script=$(script_of "$1")
  for ((seed = 0; seed <= 40; seed++)); do
    ((seed == 0)) || random=(+verilator+rand+reset+2 "+verilator+seed+$seed")
    SCRIPT=$script TRANSCRIPT=$out/$1-power-$((seed != 0)).txt timeout 60 "$out/bench-$1/Vtop" \
      +max_clocks=3000 "${random[@]}" >"$out/$1-power.out" 2>&1 || status=$?
    if ((status != 0)); then
      cat "$out/$1-power.out"
      echo "seed $seed: status $status"
      return 1
    fi
    # The script is not over, but something was done.
    [[ $(wc -l <"$out/$1-power-0.txt") -gt 10 ]] || return 1
    if ! diff "$out/$1-power-0.txt" "$out/$1-power-$((seed != 0)).txt"; then
      echo "seed $seed"
      return 1
    fi
  done
}

stops() {
  : >"$out/stop-$1"
  timeout 120 "$out/bench-$1/Vtop" "+stop_file=$out/stop-$1" | tee "$out/stop-$1.out"
  grep -q '^accelerator_tb: clocks=4096$' "$out/stop-$1.out"
}

for part in "${parts[@]}"; do
  say "$part"
  # The bench has some aside of its own.
  if [[ $part == bench ]] || ((${#parts[@]} == 1)); then
    "part_$part"
  else
    aside "$part" "part_$part"
  fi
done
asides
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
