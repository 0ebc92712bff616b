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
usage: scripts/test-build.sh

Builds small designs with scripts/build-sim.sh: the build for editing and what it spares,
what elaboration refuses, the warnings that are shown. The last line is: N passed, N failed.

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

case ${1:-} in
  '') ;;
  -h | --help)
    usage
    exit 0
    ;;
  *) die "unknown argument '$1'; see --help" ;;
esac

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

say 'the build for editing'
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

######## Errors and warnings ########

say 'errors and warnings of elaboration'
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

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
