# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What the scripts in this folder share. Source it after `set -euo pipefail`:
#
#   . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#
#   say TEXT...             one line of progress
#   warn TEXT...            a line that the user should read
#   die TEXT...             says why, and ends the script with status 1
#   have COMMAND            whether COMMAND is installed
#   need_packages NAME...   Debian packages: installs what is missing where it may
#   has_package NAME        whether that Debian package is installed
#   apt_as_root ARG...      apt-get as root, without a question; false where it may not
#   debian_mirror           the mirror of Debian that apt has here; nothing if it has none
#   make_folder DIR         makes it, and dies with a sentence if it cannot be written
#   cache_dir               the folder for what is built outside the tree, made if needed
#   content_key ARG...      16 hex digits that stand for the arguments, and for the content
#                           of those that are absolute paths of files or folders
#   lock_cache NAME         one process at a time past this point,
#   unlock_cache            until here or the end of the script
#   run_logged TEXT CMD...  runs CMD with its output in $LOG_FILE, dies with its end shown
#   version_ge A B          whether version A is B or newer
#   number OPTION VALUE LOW dies unless the value is a number from LOW
#   take_options ROW... -- ARG...   takes what rows tell of from a script's arguments: see there
#   python_script FILE ARG...  becomes scripts/FILE, which is in Python
#   vm_suite FILE ARG...    becomes the suite tests/vm/FILE, which has options of its own
#   clock_us                microseconds since the epoch
#   seconds_between A B     what lies between two of them, as 1.234

if [[ -z ${REPO_DIR:-} ]]; then
  REPO_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fi
SCRIPT_NAME=${SCRIPT_NAME:-$(basename "${BASH_SOURCE[-1]}" .sh)}

# On Debian depmod, modinfo and ip are where an ordinary user's PATH does not lead.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() {
  printf '[%s] %s\n' "$SCRIPT_NAME" "$*"
}

warn() {
  printf '[%s] warning: %s\n' "$SCRIPT_NAME" "$*" >&2
}

die() {
  printf '[%s] error: %s\n' "$SCRIPT_NAME" "$*" >&2
  exit 1
}

have() {
  command -v "$1" >/dev/null 2>&1
}

version_ge() {
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# A locale may have a comma in it, or another sign.
clock_us() {
  printf '%s\n' "${EPOCHREALTIME//[!0-9]/}"
}

seconds_between() {
  printf '%d.%03d\n' $((($2 - $1) / 1000000)) $((($2 - $1) / 1000 % 1000))
}

make_folder() {
  if ! mkdir -p "$1" 2>/dev/null || [[ ! -w $1 ]]; then
    die "the folder $1 cannot be written, and what is built and logged goes there: take a copy of the checkout that is yours"
  fi
}

cache_dir() {
  local dir=${ACCELERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/accelerator-pcie}
  mkdir -p "$dir" 2>/dev/null || die "the cache folder $dir cannot be made; ACCELERATOR_CACHE names another"
  printf '%s\n' "$dir"
}

content_key() {
  local arg file
  for arg in "$@"; do
    if [[ $arg == /* && -d $arg ]]; then
      (cd "$arg" && find . -type f -not -name '*.pyc' -print0 | LC_ALL=C sort -z |
        xargs -0 -r sha256sum)
    elif [[ $arg == /* && -f $arg ]]; then
      file=$(sha256sum <"$arg")
      printf '%s %s\n' "${file%% *}" "$(basename "$arg")"
    else
      printf '%s\n' "$arg"
    fi
  done | sha256sum | cut -c1-16
}

# The lock is held until the script ends. Programs that the script starts inherit
# the descriptor, so anything that outlives the script must close fd 9.
lock_cache() {
  local lock
  lock=$(cache_dir)/$1.lock
  exec 9>"$lock"
  if ! flock -n 9; then
    say "another process builds $1; waiting for it (at most an hour)"
    flock -w 3600 9 || die "$lock is still held after an hour by another process"
  fi
}

unlock_cache() {
  exec 9>&-
}

run_logged() {
  local text=$1 status=0
  shift
  {
    printf '\n== %s\n== %s\n' "$text" "$*"
    "$@"
  } >>"${LOG_FILE:?}" 2>&1 </dev/null || status=$?
  if ((status != 0)); then
    tail -n 40 "$LOG_FILE" >&2
    die "$text failed with status $status; the whole log is $LOG_FILE"
  fi
}

# Whether commands can be run as root without a question.
can_be_root() {
  ((EUID == 0)) || { have sudo && sudo -n true 2>/dev/null; }
}

apt_as_root() {
  local as_root=()
  can_be_root || return 1
  ((EUID == 0)) || as_root=(sudo -n)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}

debian_mirror() {
  # shellcheck disable=SC2016 # apt expands the fields
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 == "Debian" && $2 !~ /security/ && !found++ { print $2 }'
}

has_package() {
  dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# Installs Debian packages where it may; otherwise says which are missing and what to
# type.
need_packages() {
  local package missing=()
  if ! have dpkg-query; then
    warn "this is no Debian or Ubuntu: what the packages $* hold must be there already"
    return 0
  fi
  for package in "$@"; do
    has_package "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  can_be_root ||
    die "missing packages: ${missing[*]}; install them with: sudo apt-get install ${missing[*]}"
  say "installing packages: ${missing[*]}"
  if ! apt_as_root install "${missing[@]}" >/dev/null 2>&1; then
    # The package lists may be old or absent.
    apt_as_root update >&2 || warn "apt-get update failed; trying with the lists that are there"
    apt_as_root install "${missing[@]}" >&2 || die "these packages cannot be installed: ${missing[*]}"
  fi
}

number() {
  if [[ ! $2 =~ ^[0-9]+$ ]] || ((10#$2 < $3)); then
    die "$1 is $2, expected a number from $3"
  fi
}

# A row is an option, then = if it has a value or : if not, then the variable that it goes to.
#
#   --out=OUT  --cpus=CPUS>=1        the value, which may have to be a number from 1
#   --keep:KEEP  --gui:GUI=1         yes, or what the row says
#   -G=EXTRA+  --waves:EXTRA+=-w     adds to an array: the value, the option, or what the row says
#   --run=@took                      calls `took OPTION VALUE`
#   --full:@took                     calls `took OPTION REST...`; with ALSO set one of REST is taken
#   @took                            calls `took WORD` for a word that is no option
#
# --help and -h print what the script's `usage` does; what no row is for is refused.
take_options() {
  local option_rows=() option_row option_to option_value ALSO
  while [[ $1 != -- ]]; do
    option_rows+=("$1")
    shift
  done
  shift
  while (($#)); do
    option_to='' ALSO=''
    if [[ $1 == -h || $1 == --help ]]; then
      usage
      exit 0
    fi
    for option_row in "${option_rows[@]}"; do
      case $option_row in
        "$1"[=:]*) option_to=${option_row#"$1"} ;;
        @*) [[ $1 == -* ]] || option_to=$option_row ;;
      esac
    done
    [[ -n $option_to ]] || die "unknown option $1; see --help"
    option_value=yes
    if [[ $option_to == =* ]]; then
      (($# >= 2)) || die "$1 needs a value; see --help"
      ALSO=yes option_value=$2
      [[ $option_to != *'>='* ]] || number "$1" "$2" "${option_to#*>=}"
      option_to=${option_to%>=*}
    elif [[ $option_to == *?=* ]]; then
      option_value=${option_to#*=} option_to=${option_to%%=*}
    elif [[ $option_to == *+ ]]; then
      option_value=$1
    fi
    case $option_to in
      @*) "${option_to#@}" "$1" ;;
      =@*) "${option_to#=@}" "$1" "$2" ;;
      :@*) "${option_to#:@}" "$@" ;;
      *+)
        local -n option_array=${option_to:1:-1}
        option_array+=("$option_value")
        unset -n option_array
        ;;
      *) printf -v "${option_to:1}" %s "$option_value" ;;
    esac
    [[ -z $ALSO ]] || shift
    shift
  done
}

# A fresh Debian has no Python. What is said of that is none of the script's own output.
python_script() {
  have python3 || need_packages python3 >&2
  exec python3 -B "$REPO_DIR/scripts/$1" "${@:2}"
}

vm_suite() {
  need_packages python3
  cd "$REPO_DIR" || exit
  export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
  exec python3 "tests/vm/$1" "${@:2}"
}

# shared_memory MIB: sets RAM, the options for so much memory that the simulator can reach by
# itself.
shared_memory() {
  # shellcheck disable=SC2034,SC2054 # for who calls; the commas are QEMU's
  RAM=(-m "$1M" -object "memory-backend-memfd,id=ram,size=$1M,share=on" -machine memory-backend=ram)
}
