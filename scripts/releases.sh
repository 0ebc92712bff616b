# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The releases of QEMU that there is a series for, and what their builds need: patches/releases.toml,
# which says what each value means. Source it after lib.sh:
#
#   RELEASES             their names, which are those of the folders of patches/, in order
#   DATA                 all values, by TABLE.KEY, those of a release by release.NAME.KEY. A list has
#                        a text a line
#   data_list KEY NAME   sets the array NAME to the texts of a list
#   series_for VERSION   sets RELEASE to the name of the one for a version of QEMU, and MIN_RUST to
#                        its oldest Rust; false if there is none
#   nearest_version RELEASE VERSION...
#                        prints which of these versions of Debian's package, the newest first, is of
#                        that release, or of the first in order that has one if RELEASE is empty;
#                        false if none is

RELEASES_FILE=${RELEASES_FILE:-$REPO_DIR/patches/releases.toml}
declare -A DATA=()
RELEASES=()

# Nothing but bash: this is where a bare machine begins.
read_releases() {
  local line table='' list='' number=0 text
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    if [[ -z $list ]]; then
      if [[ $line =~ ^[[:space:]]*(#.*)?$ ]]; then
        continue
      elif [[ $line =~ ^\[release\.'"'([^\"\\]+)'"'\]$ ]]; then
        RELEASES+=("${BASH_REMATCH[1]}") table=release.${BASH_REMATCH[1]}
        continue
      elif [[ $line =~ ^\[([a-z]+)\]$ ]]; then
        table=${BASH_REMATCH[1]}
        continue
      elif [[ $line =~ ^([a-z0-9]+)' = "'([^\"\\]*)'"'$ ]]; then
        DATA[$table.${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
        continue
      elif [[ $line =~ ^([a-z0-9]+)' = ['(.*)$ ]]; then
        list=$table.${BASH_REMATCH[1]} line=${BASH_REMATCH[2]}
        DATA[$list]=''
      else
        die "$RELEASES_FILE:$number: no line as its head tells of: $line"
      fi
    fi
    while [[ $line =~ ^[[:space:]]*'"'([^\"\\]*)'"',?(.*)$ ]]; do
      text=${BASH_REMATCH[1]} line=${BASH_REMATCH[2]}
      DATA[$list]+=${DATA[$list]:+$'\n'}$text
    done
    if [[ $line == ']' ]]; then
      list=''
    elif [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]]; then
      die "$RELEASES_FILE:$number: not of a list of texts: $line"
    fi
  done <"$RELEASES_FILE"
  [[ -z $list ]] || die "$RELEASES_FILE ends in the middle of $list"
}
read_releases

data_list() {
  local -n to=$2
  # shellcheck disable=SC2034 # for who calls
  mapfile -t to <<<"${DATA[$1]:?is missing in $RELEASES_FILE}"
}

series_for() {
  local pattern patterns
  # shellcheck disable=SC2034 # for who calls
  for RELEASE in "${RELEASES[@]}"; do
    MIN_RUST=${DATA[release.$RELEASE.rust]}
    data_list "release.$RELEASE.versions" patterns
    for pattern in "${patterns[@]}"; do
      # shellcheck disable=SC2053 # a pattern on purpose
      [[ $1 == $pattern ]] && return 0
    done
  done
  return 1
}

nearest_version() {
  local asked=$1 wanted version upstream
  shift
  for wanted in ${asked:-"${RELEASES[@]}"}; do
    for version in "$@"; do
      upstream=${version#*:}
      if series_for "${upstream%%[+-]*}" && [[ $RELEASE == "$wanted" ]]; then
        printf '%s\n' "$version"
        return 0
      fi
    done
  done
  return 1
}
