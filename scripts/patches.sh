#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Applies, exports and checks the series of patches/. patches/README.md says when
# to use which.
set -euo pipefail
SCRIPT_NAME=patches.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PATCHES=$REPO_DIR/patches
BASE_TAG=accelerator-pcie-base

usage() {
  cat <<'EOF'
usage: scripts/patches.sh COMMAND ...

  apply RELEASE TREE         apply patches/RELEASE to an unpacked QEMU tree
  apply --git RELEASE TREE   the same as git commits; a tree without git becomes a
                             repository, and the tag accelerator-pcie-base marks
                             what was there before
  refresh RELEASE TREE       write patches/RELEASE from the commits of TREE that come
                             after accelerator-pcie-base
  rebase OLD TREE NEW        carry the series of release OLD over to TREE, an unpacked
                             QEMU of another release, and write it as patches/NEW
  check [RELEASE [TREE]]     check the form of all series or of one; with a pristine
                             TREE also that it applies there, without changing it

RELEASE is the name of a folder of patches/. apply takes --quiet, and --baseline for
only those patches that have a line "Baseline: yes".
EOF
}

# Commits carry no one's name: the series belongs to the project.
git_in() {
  local tree=$1
  shift
  git -C "$tree" -c user.name=accelerator-pcie -c user.email=accelerator-pcie@localhost \
    -c commit.gpgSign=false -c core.autocrlf=false "$@"
}

need_release() {
  [[ -f $PATCHES/$1/series ]] ||
    die "there is no patches/$1/series; there are: $(cd "$PATCHES" && printf '%s ' */ | tr -d /)"
}

need_tree() {
  [[ -f $1/VERSION && -d $1/rust ]] || die "$1 is no QEMU source tree: it has no VERSION or no rust/"
}

# The patches of a release, in order.
series() {
  sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$PATCHES/$1/series"
}

is_repository() {
  [[ $(git -C "$1" rev-parse --show-toplevel 2>/dev/null) == "$(cd "$1" && pwd -P)" ]]
}

# Those of them that are for a QEMU without the device as well.
baseline() {
  local name
  series "$1" | while read -r name; do
    ! grep -qx 'Baseline: yes' "$PATCHES/$1/$name" || printf '%s\n' "$name"
  done
}

apply() {
  local git=no quiet=no which=series name release tree
  while [[ ${1:-} == --* ]]; do
    case $1 in
      --git) git=yes ;;
      --quiet) quiet=yes ;;
      --baseline) which=baseline ;;
      *) die "apply does not know $1; see --help" ;;
    esac
    shift
  done
  (($# == 2)) || die "apply takes RELEASE and TREE; see --help"
  release=$1 tree=$2
  need_release "$release"
  need_tree "$tree"
  [[ $git == no ]] || mark_base "$tree"
  while read -r name; do
    [[ $quiet == yes ]] || say "applying $release/$name to QEMU $(<"$tree/VERSION")"
    if [[ $git == yes ]]; then
      git_in "$tree" am -q "$PATCHES/$release/$name" || conflict "$release" "$tree" "$name" "$release"
    else
      patch -d "$tree" -p1 -s --no-backup-if-mismatch -F 0 -i "$PATCHES/$release/$name" ||
        die "$release/$name does not apply to QEMU $(<"$tree/VERSION") in $tree"
    fi
  done < <("$which" "$release")
}

# Makes the tree a repository if it is none, and tags what is there.
mark_base() {
  local tree=$1
  have git || die "git is missing"
  if ! is_repository "$tree"; then
    say "making $tree a git repository"
    git_in "$tree" init -q
    git_in "$tree" add -A .
    git_in "$tree" commit -q -m "QEMU $(<"$tree/VERSION")"
  fi
  [[ ! -d $(git_in "$tree" rev-parse --absolute-git-dir)/rebase-apply ]] ||
    die "$tree is in the middle of applying patches: git -C $tree am --continue, or --abort"
  git_in "$tree" diff --quiet HEAD -- || die "$tree has changes that are not committed"
  git_in "$tree" tag -f "$BASE_TAG" HEAD >/dev/null
}

conflict() {
  local old=$1 tree=$2 name=$3 new=$4
  # Leave the change in the files, with the places that do not fit marked.
  patch -d "$tree" -p1 --merge -s --no-backup-if-mismatch -i "$PATCHES/$old/$name" || true
  die "$old/$name does not fit QEMU $(<"$tree/VERSION"). Mend the marked places in $tree, then:
  git -C $tree add -u && git -C $tree am --continue
  scripts/patches.sh refresh $new $tree"
}

refresh() {
  (($# == 2)) || die "refresh takes RELEASE and TREE; see --help"
  local release=$1 tree=$2 out
  need_tree "$tree"
  { is_repository "$tree" && git_in "$tree" rev-parse -q --verify "$BASE_TAG" >/dev/null; } ||
    die "$tree has no tag $BASE_TAG; start with: scripts/patches.sh apply --git RELEASE $tree"
  git_in "$tree" diff --quiet HEAD -- || die "$tree has changes that are not committed"
  [[ -n $(git_in "$tree" rev-list "$BASE_TAG..HEAD") ]] ||
    die "$tree has no commits after $BASE_TAG: nothing to export"
  out=$(mktemp -d)
  git_in "$tree" format-patch -q -N --zero-commit --no-signature --full-index --no-renames \
    -o "$out" "$BASE_TAG..HEAD"
  mkdir -p "$PATCHES/$release"
  rm -f "$PATCHES/$release"/*.patch
  mv "$out"/*.patch "$PATCHES/$release/"
  rmdir "$out"
  {
    printf '# SPDX-License-Identifier: GPL-2.0-or-later\n'
    (cd "$PATCHES/$release" && printf '%s\n' *.patch)
  } >"$PATCHES/$release/series"
  check "$release"
}

rebase() {
  (($# == 3)) || die "rebase takes OLD, TREE and NEW; see --help"
  local old=$1 tree=$2 new=$3 name
  need_release "$old"
  need_tree "$tree"
  mark_base "$tree"
  while read -r name; do
    say "carrying $old/$name over to QEMU $(<"$tree/VERSION")"
    git_in "$tree" am -q -C1 "$PATCHES/$old/$name" || conflict "$old" "$tree" "$name" "$new"
  done < <(series "$old")
  refresh "$new" "$tree"
}

check() {
  local releases=("$@") release tree='' name file path bad=0 failed=0 count scratch
  if (($# == 2)); then
    releases=("$1") tree=$2
    need_tree "$tree"
  elif (($# == 0)); then
    releases=()
    for file in "$PATCHES"/*/series; do
      releases+=("$(basename "$(dirname "$file")")")
    done
  fi
  for release in "${releases[@]}"; do
    need_release "$release"
    count=0 bad=0
    while read -r name; do
      file=$PATCHES/$release/$name
      count=$((count + 1))
      if [[ ! -f $file ]]; then
        warn "$release/series names $name, which is not there"
        bad=1
        continue
      fi
      if ! grep -q '^Subject: \[PATCH\] [^ ]' "$file"; then
        warn "$release/$name has no subject as git format-patch writes it"
        bad=1
      fi
      # The text between the header and the list of files says why.
      if [[ -z $(awk '/^---$/ {exit} body && NF {print} /^$/ {body = 1}' "$file") ]]; then
        warn "$release/$name does not say why"
        bad=1
      fi
      # Files of ours are files of this repository, not additions of a patch.
      if grep -q '^new file mode' "$file"; then
        warn "$release/$name adds a file: $(awk '/^diff --git/ {f = $4} /^new file/ {print f}' "$file" | paste -sd' ')"
        bad=1
      fi
      # The baseline has no Rust.
      if grep -qx 'Baseline: yes' "$file" && grep -q '^--- a/rust/' "$file"; then
        warn "$release/$name is for the baseline too, but changes rust/"
        bad=1
      fi
    done < <(series "$release")
    for path in "$PATCHES/$release"/*.patch; do
      [[ -f $path ]] || continue
      series "$release" | grep -qxF "$(basename "$path")" || {
        warn "$release/$(basename "$path") is not in the series"
        bad=1
      }
    done
    if [[ -n $tree ]]; then
      scratch=$(mktemp -d)
      # Only what the patches touch is needed to try them.
      mkdir -p "$scratch/patched/rust"
      cp "$tree/VERSION" "$scratch/patched/"
      while read -r name; do
        sed -n 's,^--- a/,,p' "$PATCHES/$release/$name" | while read -r path; do
          mkdir -p "$scratch/patched/$(dirname "$path")"
          cp "$tree/$path" "$scratch/patched/$path"
        done
      done < <(series "$release")
      cp -r "$scratch/patched" "$scratch/baseline"
      (apply --quiet "$release" "$scratch/patched") || bad=1
      (apply --quiet --baseline "$release" "$scratch/baseline") || bad=1
      rm -rf "$scratch"
    fi
    if ((bad)); then
      failed=1
    else
      say "patches/$release: $count in order${tree:+, and applies to QEMU $(<"$tree/VERSION")}"
    fi
  done
  ((failed == 0)) || die "not in order"
}

case ${1:-} in
  apply | refresh | rebase | check)
    command=$1
    shift
    "$command" "$@"
    ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 1
    ;;
esac
