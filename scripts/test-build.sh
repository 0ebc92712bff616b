#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds of designs that are not ours, as scripts/build-sim.sh makes them.
set -euo pipefail
SCRIPT_NAME=test-build.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'HELP'
usage: scripts/test-build.sh [PART...]

Builds small designs with scripts/build-sim.sh. The last line is: N passed, N failed.

  PART   edit     the build for editing, and what it spares
         together builds of one design at once
         errors   what elaboration refuses, and the warnings that are shown
         lists    what a file list may have, and how it is told what is not there

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

parts=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    edit | together | errors | lists) parts+=("$1") ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
((${#parts[@]})) || parts=(edit together errors lists)

out=$REPO_DIR/build/test-build
rm -rf "$out"
mkdir -p "$out"
log=$out/test.log
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

# A design in a folder of its own: the bridge's file list and what comes on the standard input.
# design NAME
design() {
  mkdir -p "$out/$1"
  printf '%s\n' "-F $REPO_DIR/hdl/bridge.f" "$1.sv" >"$out/$1/$1.f"
  # Never built before, by whoever ran this.
  sed "s/UNIQUE/$RANDOM$RANDOM$RANDOM/" >"$out/$1/$1.sv"
}

# build NAME ARG...: leaves what is said in $out/NAME/said.
build() {
  local name=$1 status=0
  shift
  cd "$REPO_DIR" || return 1
  "$REPO_DIR/scripts/build-sim.sh" --top "$name" --files "$out/$name/$name.f" --out "$out/$name" \
    "$@" >"$out/$name/said" 2>&1 || status=$?
  cat "$out/$name/said"
  return "$status"
}

# says NAME TEXT..., silent NAME TEXT...: whether each TEXT is in what the build of NAME said last.
says() {
  local name=$1 text
  shift
  for text in "$@"; do
    grep -qF -- "$text" "$out/$name/said" || { echo "not said: $text"; return 1; }
  done
}
silent() {
  ! says "$@"
}

# refused NAME TEXT ARG...: the build of NAME fails, and says TEXT.
refused() {
  local name=$1 text=$2
  shift 2
  if build "$name" "$@"; then
    echo 'was built'
    return 1
  fi
  says "$name" "$text" && [[ ! -e $out/$name/$name ]]
}

# runs NAME PROGRAM TEXT: the simulation ends by itself and has said TEXT.
runs() {
  timeout 60 "$out/$1/$2" "+accelerator_endpoint=ipc://$out/$1/e" +max_clocks=200 >"$out/$1/ran" 2>&1 ||
    { cat "$out/$1/ran"; return 1; }
  cat "$out/$1/ran"
  grep -qF -- "$3" "$out/$1/ran"
}

######## The build for editing ########

part_edit() {
  design edited <<'CODE'
module edited (input logic aclk, input logic aresetn, output logic [31:0] count);
  initial $display("edited: version UNIQUE");
  always_ff @(posedge aclk) count <= aresetn ? count + 1 : 0;
endmodule
CODE
  check 'a build for editing' build edited --edit
  check 'it says the seconds of each part' says edited 'seconds: DPI library ' 'Verilator ' \
    'compiler ' 'linker '
  check 'it runs' runs edited edited-edit 'edited: version'
  sed -i 's/version [0-9]*/version of the edit/' "$out/edited/edited.sv"
  # The edit is the same in every run: it has to be built all the same, and with this one's name.
  sed -i "s/count + 1/count + $((RANDOM + 2))/" "$out/edited/edited.sv"
  check 'a build after an edit' build edited --edit
  check 'it is built' says edited 'building the simulation'
  check 'it does not compile again what no edit changes' silent edited 'what every simulation has'
  check 'it is the edited one' runs edited edited-edit 'edited: version of the edit'
  check 'an optimised build beside it' build edited
  check 'it runs as well' runs edited edited 'edited: version of the edit'
  check 'nothing is built twice' build edited --edit
  check 'as it says' silent edited 'building the simulation'
}

######## Several at once ########

part_together() {
  design together <<'CODE'
module together (input logic aclk, input logic aresetn, output logic [31:0] count);
  initial $display("together: version UNIQUE");
  always_ff @(posedge aclk) count <= aresetn ? count + 1 : 0;
endmodule
CODE
  check 'a build waits for another into its folder' waits together
  check 'it runs' runs together together-edit 'together: version'
  check 'four builds at once' at_once together 4
  check 'it runs after that' runs together together-edit 'together: version'
}

# waits NAME: a build tells that the folder is in use, and goes on once it is not.
waits() {
  local name=$1 fd pid i status=0
  exec {fd}<"$out/$name"
  flock "$fd"
  build "$name" --edit {fd}<&- &
  pid=$!
  for ((i = 0; i < 300; i++)); do
    ! grep -q 'another build into' "$out/$name/said" 2>/dev/null || break
    sleep 0.1
  done
  # It has not begun.
  ((i < 300)) && kill -0 "$pid" && silent "$name" 'building the DPI library' || status=1
  exec {fd}<&-
  wait "$pid" || status=$?
  return "$status"
}

# at_once NAME COUNT
at_once() {
  local name=$1 pids=() pid status=0
  while ((${#pids[@]} < $2)); do
    "$REPO_DIR/scripts/build-sim.sh" --top "$name" --files "$out/$name/$name.f" --out "$out/$name" \
      --edit &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
  done
  return "$status"
}

######## Errors and warnings ########

part_errors() {
  design errors <<'CODE'
module errors (input logic aclk, input logic aresetn);
  /* verilator lint_off PINMISSING */
  accelerator_pcie_bridge #(.MmioDataWidth(48)) u_bridge (.aclk, .aresetn);
endmodule
CODE
  check 'an error of the bridge is one' refused errors 'MmioDataWidth is 48;'
  check 'an error of the bridge is one, editing' refused errors 'MmioDataWidth is 48;' --edit

  design own_errors <<'CODE'
module own_errors #(parameter int Depth = 3) (input logic aclk, input logic aresetn);
  if (Depth < 4) begin : gen_bad $fatal(1, "Depth is %0d; UNIQUE", Depth); end
  wire unused = aclk & aresetn;
endmodule
CODE
  check 'an error of the user'\''s is one' refused own_errors 'Depth is 3;'
  check 'and none with another parameter' build own_errors -G Depth=4

  design warned <<'CODE'
module warned (input logic aclk, input logic aresetn, output logic [7:0] narrow);
  logic [11:0] wide = 12'dUNIQUE;
  if (1) begin : gen_note $warning("the user says so"); end
  assign narrow = wide;
  wire unused = aclk & aresetn;
endmodule
CODE
  sed -i "s/12'd[0-9]*/12'd$((RANDOM % 4096))/" "$out/warned/warned.sv"
  check 'warnings do not stop a build' build warned --edit
  check 'they are shown, with the line' says warned 'warned.sv:4:' 'assign narrow = wide;' \
    'the user says so' 'has 2 warnings'
  check 'a build that is there already' build warned --edit
  check 'shows them again' says warned 'warned.sv:4:' 'the user says so'
}

######## File lists ########

part_lists() {
  local folder=$out/listed line
  design listed <<'CODE'
module listed (input logic aclk, input logic aresetn, output logic o);
  import late_pkg::*;
  wire logic y, v, f;
  in_y u_y (.o(y));
  in_v u_v (.o(v));
  in_f u_f (.o(f));
  initial $display("listed UNIQUE: %0d %0d %0d %0d", Late, `FROM_INCLUDE, `FROM_LIST, `FROM_LINE);
  assign o = y & v & f & aclk & aresetn;
endmodule
CODE
  sed -i '1i `include "included.svh"' "$folder/listed.sv"
  mkdir -p "$folder/cells" "$folder/include" "$folder/deep/er"
  cat >"$folder/cells/in_y.sv" <<'CODE'
module in_y (output logic o); initial $display("first"); assign o = 1; endmodule
CODE
  echo 'module in_v (output logic o); assign o = 1; endmodule' >"$folder/all.v"
  echo 'module in_f (output logic o); assign o = 1; endmodule' >"$folder/deep/er/in_f.sv"
  echo 'package late_pkg; localparam int Late = 11; endpackage' >"$folder/late_pkg.sv"
  echo '`define FROM_INCLUDE 12' >"$folder/include/included.svh"
  # A list in a list in a list; the innermost is relative to where the user is.
  echo '-f er/inner.f' >"$folder/deep/deep.f"
  echo "${folder#"$REPO_DIR"/}/deep/er/in_f.sv" >"$folder/deep/er/inner.f"
  cat >"$folder/listed.f" <<LIST
# As people write them.
-y \$LISTED_FOLDER/cells +libext+.sv
-v \${LISTED_FOLDER}/all.v   // two of a kind
+incdir+include +define+FROM_LIST=13
-F $REPO_DIR/hdl/bridge.f
-F deep/deep.f
listed.sv /* a package that
is needed before */ late_pkg.sv
LIST
  export LISTED_FOLDER=$folder
  check 'a list with everything' build listed --edit -D FROM_LINE=14
  check 'everything arrives' runs listed listed-edit ': 11 12 13 14'
  # What is found in libraries belongs to the design.
  sed -i "s/first/edited cell $RANDOM/" "$folder/cells/in_y.sv"
  check 'an edit of a cell in a library' build listed --edit -D FROM_LINE=14
  check 'is built' runs listed listed-edit 'edited cell'

  for line in 'nowhere.sv' '-v nowhere.v' '-F nowhere.f' '-y nowhere' '+incdir+nowhere'; do
    printf '\n%s\n' "$line" >"$folder/listed.f"
    check "a list with $line" refused listed "listed.f:2: there is no f"
  done
  echo 'listed.vhd' >"$folder/listed.f"
  touch "$folder/listed.vhd"
  check 'a list with VHDL' refused listed 'listed.vhd is VHDL'
  # shellcheck disable=SC2016 # the list's own variable
  echo '$NO_SUCH_VARIABLE/a.sv' >"$folder/listed.f"
  check 'a list with a variable that is not set' refused listed 'NO_SUCH_VARIABLE is not set'
  echo '-F listed.f' >"$folder/listed.f"
  check 'a list that takes itself in' refused listed 'lists that take one another in'
}

for part in "${parts[@]}"; do
  say "$part"
  "part_$part"
done
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
