# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What the scripts that run a proprietary simulator share: their arguments and the one file
# list. Sourced after lib.sh by run-xsim.sh, run-questa.sh, run-vcs.sh and run-xcelium.sh.
#
#   flow_help TOOL TEXT      the usage of run-TOOL.sh; TEXT is what is particular to it
#   flow_arguments ARG...    reads the arguments into
#       NAME TOP             of the design
#       SOURCES              its Verilog and the test bench, absolute, in order of compilation
#       VHDL                 its VHDL, likewise, which is compiled before
#       INCLUDES DEFINES     folders; NAME or NAME=VALUE
#       SEARCH               -v, -y and +libext+ of the list; LIST_FILES, LIST_FOLDERS and
#                            LIST_SUFFIXES of file-list.sh are the same apart
#       LIBRARIES GLBL       of -L and --glbl: NAME or NAME=FOLDER; a file, or nothing
#       PLUSARGS             without their plus signs
#       OUT                  folder to work in, made and entered
#       LIBRARY              shared or static, and DPI the folder of scripts/build-dpi.sh
#       GUI BUILD_ONLY       1 or 0
#       C_SOURCES            C files of the user, for --library static
#   flow_need TOOL HINT      dies with HINT where TOOL is not there
#   flow_run COMMAND...      shows a command and runs it

# shellcheck source=scripts/file-list.sh
. "$(dirname "${BASH_SOURCE[0]}")/file-list.sh"

flow_help() {
  cat <<HELP
usage: scripts/run-$1.sh EXAMPLE [option...] [+PLUSARG...]
       scripts/run-$1.sh --top MODULE --files LIST.f [option...] [+PLUSARG...]

$2

  EXAMPLE        $(cd "$REPO_DIR/hdl/examples" && echo *): a folder of hdl/examples
  --top MODULE   top module of a design of your own, with the inputs aclk and aresetn;
                 in Verilog or VHDL. -D ACCELERATOR_USER_CLK, if it has user_clk as well
  --files LIST   its file list, as scripts/build-sim.sh takes it
  -D NAME[=V]    defines a macro; may be given more than once
  -L LIB[=DIR]   library that was compiled before, for example unisims_ver, in which modules
                 are looked for; may be given more than once
  --glbl FILE    the global reset of AMD's primitives, as a second top module: glbl.v, in
                 data/verilog/src of a Vivado
  --out DIR      folder to work in; default build/$1/NAME
  --dpi DIR      where scripts/build-dpi.sh put the DPI library; default build/dpi, built
                 if it is not there
  --gui          in the simulator's window
  --build-only   compiles and elaborates, and does not run
$3  --help         this text

The simulation takes the arguments of hdl/sim/accelerator_tb.sv:
  +accelerator_endpoint=E   where QEMU connects: a port, tcp://..., ipc://...;
                            default \$NPU_COSIM_PORT or 7557
  +max_clocks=N             ends after N clocks
  +stop_file=FILE           ends when FILE is there
  +clock_ps=N, +user_clk_ps=N  periods of aclk and user_clk
  +waves=FILE               writes VCD
HELP
}

# Takes a file list over. What only one simulator understands is refused, but for Verilator's waivers.
flow_list() {
  local option path
  read_list "$1"
  for option in "${LIST_OTHER[@]}"; do
    [[ ${option##*: } == -W* ]] || die "${option%: *}: '${option##*: }' is not known to every simulator"
  done
  SOURCES+=("${LIST_SOURCES[@]}") VHDL+=("${LIST_VHDL[@]}") C_SOURCES+=("${LIST_NATIVE[@]}")
  INCLUDES+=("${LIST_INCLUDES[@]}") DEFINES+=("${LIST_DEFINES[@]}")
  # In the words of all but xsim.
  for path in "${LIST_FILES[@]}"; do SEARCH+=(-v "$path"); done
  for path in "${LIST_FOLDERS[@]}"; do SEARCH+=(-y "$path"); done
  if ((${#LIST_FOLDERS[@]})); then
    # Verilator looks for these without being told.
    ((${#LIST_SUFFIXES[@]})) || LIST_SUFFIXES=(.v .sv)
    SEARCH+=("+libext$(printf '+%s' "${LIST_SUFFIXES[@]}")")
  fi
}

# Some of what it sets is for the scripts that source this.
# shellcheck disable=SC2034
flow_arguments() {
  local tool=$1 files='' example=''
  shift
  NAME='' TOP='' OUT='' DPI=$REPO_DIR/build/dpi LIBRARY=shared GUI=0 BUILD_ONLY=0
  SOURCES=() VHDL=() SEARCH=() LIBRARIES=() GLBL='' INCLUDES=() DEFINES=() PLUSARGS=() C_SOURCES=()
  # shellcheck disable=SC2317,SC2329 # called by name
  took() {
    case $1 in
      --c)
        [[ -f $2 ]] || die "there is no C file $2"
        C_SOURCES+=("$(realpath "$2")")
        ;;
      --glbl)
        [[ -f $2 ]] || die "there is no file $2"
        GLBL=$(realpath "$2")
        ;;
      +*) PLUSARGS+=("${1#+}") ;;
      *)
        [[ -z $example ]] || die "two examples given: '$example' and '$1'"
        example=$1
        ;;
    esac
  }
  take_options --gui:GUI=1 --build-only:BUILD_ONLY=1 --top=TOP --files=files --out=OUT --dpi=DPI \
    --library=LIBRARY --c=@took -D=DEFINES+ -L=LIBRARIES+ --glbl=@took @took -- "$@"
  case $LIBRARY in
    shared) ;;
    static)
      [[ $tool == xsim || $tool == vcs ]] || die "$tool takes the shared library only" ;;
    *) die "--library is $LIBRARY, expected shared or static" ;;
  esac
  if [[ -n $example ]]; then
    [[ -z $TOP && -z $files ]] || die "an example has its own --top and --files"
    [[ $example != */* && -e $REPO_DIR/hdl/examples/$example/$example.f ]] ||
      die "no example '$example'; there are: $(cd "$REPO_DIR/hdl/examples" && echo *)"
    NAME=$example TOP=${example}_top files=$REPO_DIR/hdl/examples/$example/$example.f
  else
    [[ -n $TOP && -n $files ]] || die "an EXAMPLE, or --top and --files, is needed; see --help"
    NAME=$TOP
  fi
  DEFINES+=("ACCELERATOR_TOP=$TOP")
  flow_list "$files"
  ((${#C_SOURCES[@]} == 0)) || [[ $LIBRARY == static ]] ||
    die "C files need --library static: they and the library become one"
  [[ $tool != vcs || ${#LIBRARIES[@]} == 0 ]] ||
    die "run-vcs.sh compiles in one step, which takes no compiled library: name the sources in the list, with -y or -v"
  SOURCES+=("$REPO_DIR/hdl/sim/accelerator_tb.sv")
  if [[ $tool == xcelium ]]; then
    local library
    for library in "${LIBRARIES[@]}"; do
      [[ $library == *=* ]] || die "-L $library: Xcelium needs the folder as well, $library=DIR"
    done
  fi

  if [[ ! -f $DPI/libaccelerator_dpi.so || ! -f $DPI/libaccelerator_dpi.a ]]; then
    "$REPO_DIR/scripts/build-dpi.sh" --out "$DPI"
  fi
  DPI=$(cd "$DPI" && pwd)
  OUT=${OUT:-$REPO_DIR/build/$tool/$NAME}
  mkdir -p "$OUT"
  cd "$OUT" || die "the folder $OUT cannot be entered"
}

flow_need() {
  have "$1" || die "$1 is not there: $2"
}

flow_run() {
  say "$*"
  "$@"
}
