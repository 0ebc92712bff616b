# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What the scripts that run a proprietary simulator share: their arguments and the one file
# list. Sourced after lib.sh by run-xsim.sh, run-questa.sh, run-vcs.sh and run-xcelium.sh.
#
#   flow_help TOOL TEXT      the usage of run-TOOL.sh; TEXT is what is particular to it
#   flow_arguments ARG...    reads the arguments into
#       NAME TOP             of the design
#       SOURCES              its files and the test bench, absolute, in order of compilation
#       INCLUDES DEFINES     folders; NAME or NAME=VALUE
#       PLUSARGS             without their plus signs
#       OUT                  folder to work in, made and entered
#       LIBRARY              shared or static, and DPI the folder of scripts/build-dpi.sh
#       GUI BUILD_ONLY       1 or 0
#       C_SOURCES            C files of the user, for --library static
#   flow_need TOOL HINT      dies with HINT where TOOL is not there
#   flow_run COMMAND...      shows a command and runs it

flow_help() {
  cat <<HELP
usage: scripts/run-$1.sh EXAMPLE [option...] [+PLUSARG...]
       scripts/run-$1.sh --top MODULE --files LIST.f [option...] [+PLUSARG...]

$2

  EXAMPLE        $(cd "$REPO_DIR/hdl/examples" && echo *): a folder of hdl/examples
  --top MODULE   top module of a design of your own, with the inputs aclk and aresetn
  --files LIST   its file list, as scripts/build-sim.sh takes it
  -D NAME[=V]    defines a macro; may be given more than once
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
  +waves=FILE               writes VCD
HELP
}

# Reads a file list and those that it takes in.
flow_list() {
  local list=$1 folder line word words
  [[ -f $list ]] || die "there is no file list $list"
  folder=$(cd "$(dirname "$list")" && pwd)
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%%//*}
    read -r -a words <<<"$line"
    set -- "${words[@]}"
    while (($#)); do
      word=$1
      case $word in
        -F)
          (($# >= 2)) || die "$list: -F needs a file"
          # Relative to the list, as the files are.
          local keep=("${@:3}")
          if [[ $2 == /* ]]; then flow_list "$2"; else flow_list "$folder/$2"; fi
          set -- x "${keep[@]}"
          ;;
        +incdir+*)
          word=${word#+incdir+}
          if [[ $word == /* ]]; then INCLUDES+=("$word"); else INCLUDES+=("$folder/$word"); fi
          ;;
        +define+*) DEFINES+=("${word#+define+}") ;;
        # Waivers for Verilator.
        -W*) ;;
        -* | +*) die "$list: '$word' is not known to every simulator" ;;
        *)
          [[ $word == /* ]] || word=$folder/$word
          [[ -f $word ]] || die "$list: there is no file $word"
          SOURCES+=("$(cd "$(dirname "$word")" && pwd)/$(basename "$word")")
          ;;
      esac
      shift
    done
  done <"$list"
}

# Some of what it sets is for the scripts that source this.
# shellcheck disable=SC2034
flow_arguments() {
  local tool=$1 files='' example=''
  shift
  NAME='' TOP='' OUT='' DPI=$REPO_DIR/build/dpi LIBRARY=shared GUI=0 BUILD_ONLY=0
  SOURCES=() INCLUDES=() DEFINES=() PLUSARGS=() C_SOURCES=()
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --gui) GUI=1 ;;
      --build-only) BUILD_ONLY=1 ;;
      --top | --files | --out | --dpi | --library | --c | -D)
        (($# >= 2)) || die "$1 needs a value; see --help"
        case $1 in
          --top) TOP=$2 ;;
          --files) files=$2 ;;
          --out) OUT=$2 ;;
          --dpi) DPI=$2 ;;
          --library) LIBRARY=$2 ;;
          --c)
            [[ -f $2 ]] || die "there is no C file $2"
            C_SOURCES+=("$(realpath "$2")")
            ;;
          -D) DEFINES+=("$2") ;;
        esac
        shift
        ;;
      +*) PLUSARGS+=("${1#+}") ;;
      -*) die "unknown option '$1'; see --help" ;;
      *)
        [[ -z $example ]] || die "two examples given: '$example' and '$1'"
        example=$1
        ;;
    esac
    shift
  done
  case $LIBRARY in
    shared) ;;
    static)
      [[ $tool == xsim || $tool == vcs ]] || die "$tool takes the shared library only" ;;
    *) die "--library is $LIBRARY, expected shared or static" ;;
  esac
  ((${#C_SOURCES[@]} == 0)) || [[ $LIBRARY == static ]] ||
    die "--c needs --library static: the C files and the library become one"

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
  SOURCES+=("$REPO_DIR/hdl/sim/accelerator_tb.sv")

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
