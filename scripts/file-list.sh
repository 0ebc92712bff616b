# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Reads a file list, with what it means to `verilator -F`. Sourced after lib.sh by sim-flow.sh and
# build-sim.sh.
#
#   read_list LIST   dies with the list and its line where something that is named is not there,
#                    and sets, all paths absolute:
#     LIST_SOURCES   Verilog and SystemVerilog, in order
#     LIST_VHDL      VHDL, in order
#     LIST_NATIVE    C and C++
#     LIST_INCLUDES  +incdir+, -I
#     LIST_DEFINES   +define+, -D: NAME or NAME=VALUE
#     LIST_FOLDERS   -y, and LIST_SUFFIXES of +libext+
#     LIST_FILES     -v
#     LIST_OTHER     other options, as "LIST:LINE: OPTION"; what follows one may be its value, so
#                    a word behind it that is no file is taken for that
#
# Paths in a list are relative to the list's folder; so is the list behind -F. The list behind -f is
# too, but what is in that one is relative to the folder that the user is in. $NAME, ${NAME} and
# $(NAME) are environment variables. // and # begin a comment.

read_list() {
  LIST_SOURCES=() LIST_VHDL=() LIST_NATIVE=() LIST_INCLUDES=() LIST_DEFINES=()
  LIST_FOLDERS=() LIST_SUFFIXES=() LIST_FILES=() LIST_OTHER=()
  [[ -f $1 ]] || die "there is no file list $1"
  list_open "$1" "$(cd "$(dirname "$1")" && pwd)" 0
}

# A word with its environment variables.
list_expand() {
  local word=$1 name
  while [[ $word =~ \$(\{([A-Za-z_][A-Za-z0-9_]*)\}|\(([A-Za-z_][A-Za-z0-9_]*)\)|([A-Za-z_][A-Za-z0-9_]*)) ]]; do
    name=${BASH_REMATCH[2]}${BASH_REMATCH[3]}${BASH_REMATCH[4]}
    [[ -n ${!name+set} ]] || die "$2: the environment variable $name is not set"
    word=${word/"${BASH_REMATCH[0]}"/"${!name}"}
  done
  printf '%s\n' "$word"
}

# list_path BASE PATH
list_path() {
  if [[ $2 == /* ]]; then realpath -ms "$2"; else realpath -ms "$1/$2"; fi
}

# list_open LIST BASE DEPTH: a list whose paths are relative to BASE.
list_open() {
  local list=$1 base=$2 depth=$3 line number=0 where word path words part value=0 in_comment=0
  ((depth < 32)) || die "$list: lists that take one another in"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    where=$list:$number
    if ((in_comment)); then
      [[ $line == *'*/'* ]] || continue
      line=${line#*'*/'} in_comment=0
    fi
    while [[ $line == *'/*'* && ${line%%'/*'*} != *//* ]]; do
      if [[ ${line#*'/*'} == *'*/'* ]]; then
        part=${line#*'/*'}
        line="${line%%'/*'*} ${part#*'*/'}"
      else
        line=${line%%'/*'*} in_comment=1
      fi
    done
    line=${line%$'\r'}
    line=${line%%//*}
    [[ ! $line =~ ^[[:space:]]*# ]] || continue
    read -r -a words <<<"$line"
    set -- "${words[@]}"
    while (($#)); do
      word=$(list_expand "$1" "$where")
      shift
      case $word in
        -F | -f | -y | -v)
          (($#)) || die "$where: $word needs a name"
          path=$(list_path "$base" "$(list_expand "$1" "$where")")
          shift
          if [[ $word == -y ]]; then
            [[ -d $path ]] || die "$where: there is no folder $path"
            LIST_FOLDERS+=("$path")
          else
            [[ -f $path ]] || die "$where: there is no file $path"
            case $word in
              -v) LIST_FILES+=("$path") ;;
              -F) list_open "$path" "$(dirname "$path")" $((depth + 1)) ;;
              -f) list_open "$path" "$PWD" $((depth + 1)) ;;
            esac
          fi
          ;;
        +incdir+* | -I?*)
          word=${word#-I}
          word=${word#+incdir+}
          while [[ -n $word ]]; do
            path=$(list_path "$base" "${word%%+*}")
            [[ -d $path ]] || die "$where: there is no folder $path"
            LIST_INCLUDES+=("$path")
            [[ $word == *+* ]] || break
            word=${word#*+}
          done
          ;;
        +libext+*) IFS=+ read -r -a words <<<"${word#+libext+}" && LIST_SUFFIXES+=("${words[@]}") ;;
        +define+*)
          IFS=+ read -r -a words <<<"${word#+define+}"
          LIST_DEFINES+=("${words[@]}")
          ;;
        -D?*) LIST_DEFINES+=("${word#-D}") ;;
        -* | +*)
          LIST_OTHER+=("$where: $word")
          value=1
          continue
          ;;
        *)
          path=$(list_path "$base" "$word")
          if [[ ! -f $path ]]; then
            ((value)) || die "$where: there is no file $path"
          else
            case $path in
              *.vhd | *.vhdl | *.VHD | *.VHDL) LIST_VHDL+=("$path") ;;
              *.c | *.cc | *.cpp | *.cxx | *.o | *.a | *.so) LIST_NATIVE+=("$path") ;;
              *) LIST_SOURCES+=("$path") ;;
            esac
          fi
          ;;
      esac
      value=0
    done
  done <"$list"
}
