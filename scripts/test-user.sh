#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The demo as an ordinary user has it: not root, and with nothing but Rust in the PATH.
set -euo pipefail
SCRIPT_NAME='test-user.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-user.sh [--qemu DIR]

Makes an ordinary user and runs scripts/demo.sh as that user, in an environment
that is empty but for a PATH with Rust in it; then once more in a checkout that
cannot be written, which has to be said in a sentence. Checkout, cache and crates
are copies that have the same places as the originals, in a mount namespace of its
own, so that no more is built anew than the guest. Neither the user nor a file is
left.

Run by an ordinary user it is that user's own checkout and cache, and nothing is
made but the environment.

  --qemu DIR    the QEMU in DIR/bin (default: what scripts/build-qemus.sh builds)
  --help        this text
EOF
}

QEMU_DIR='' STAGE=outside NAME='' UNDER=''
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --qemu)
      (($# >= 2)) || die "--qemu needs a folder"
      QEMU_DIR=$(realpath "$2")
      shift
      ;;
    # For itself, in the namespace.
    --inside)
      STAGE=inside NAME=$2 UNDER=$3
      shift 2
      ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
[[ -z $QEMU_DIR || -x $QEMU_DIR/bin/qemu-system-x86_64 ]] ||
  die "$QEMU_DIR/bin/qemu-system-x86_64 is not there"

CACHE=$(realpath "$(cache_dir)")
CARGO=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
BLOCKS=4

# the_demo PREFIX...: runs it by the command before it, and looks at how it ends.
the_demo() {
  local output status=0
  output=$("$@" scripts/demo.sh --blocks "$BLOCKS" "${DEMO_ARGS[@]}" 2>&1) || status=$?
  printf '%s\n' "$output"
  ((status == 0)) || die "the demo ended with status $status"
  [[ ${output##*$'\n'} == PASS ]] || die "the demo did not end with PASS"
}
DEMO_ARGS=()

# ---- by an ordinary user ---------------------------------------------------------

if ((EUID != 0)); then
  [[ -z $QEMU_DIR ]] || DEMO_ARGS=(--qemu "$QEMU_DIR")
  the_demo env -i "HOME=$HOME" "CARGO_HOME=$CARGO" "ACCELERATOR_CACHE=$CACHE" \
    "PATH=$(rustc --print sysroot)/bin:/usr/local/bin:/usr/bin:/bin"
  exit 0
fi

# ---- by root, outside ------------------------------------------------------------

# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$?
  trap '' INT TERM HUP
  # Also while a process of it still ends.
  userdel --force "$NAME" 2>/dev/null || true
  rm -rf "$UNDER" "$CACHE_COPY" "$TREE_COPY"
  ! getent passwd "$NAME" >/dev/null || warn "the user $NAME is left"
  exit "$status"
}

if [[ $STAGE == outside ]]; then
  need_packages passwd util-linux
  # What root has of it is what the user finds.
  [[ -n $QEMU_DIR ]] || scripts/build-qemus.sh --patched-only
  scripts/build-sim.sh sort
  scripts/build-guest.sh --out build/guest-plain
  NAME=acc-test-$$
  UNDER=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
  # Beside the originals: a hard link leads to no other file system.
  CACHE_COPY=$CACHE/user-$$ TREE_COPY=$REPO_DIR/target/user-$$
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  chmod 755 "$UNDER"
  useradd --no-create-home --no-log-init --home-dir "$UNDER/home" --shell /bin/sh "$NAME"

  # Files that nobody writes to again are links, and stay root's. The user's are the folders,
  # and what is written in place.
  say "copying checkout, cache and crates"
  mkdir -p "$CACHE_COPY" "$TREE_COPY/target/release"
  find "$CACHE" -mindepth 1 -maxdepth 1 -not -name 'user-*' -not -name '*.lock' -not -name log \
    -not -name qemu -exec cp -al -t "$CACHE_COPY" {} +
  mkdir -p "$CACHE_COPY/qemu"
  find "$CACHE/qemu" -mindepth 1 -maxdepth 1 -not -name 'work-*' -exec cp -al -t "$CACHE_COPY/qemu" {} +
  # The user makes the guest anew, from the packages that root has fetched: depmod, modinfo and
  # the compiler are where a user's surroundings matter.
  rm -rf "$CACHE_COPY"/guest/{distribution,result,work}-*
  rm -f "$CACHE_COPY/download/upstream-unreachable"
  cp -a "$CACHE/download/upstream-unreachable" "$CACHE_COPY/download/" 2>/dev/null || true
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [[ ! -e $file ]] || printf '%s\0' "$file"
  done | xargs -0 cp -a --parents -t "$TREE_COPY"
  TARGET=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  cp -a "$TARGET/release/." "$TREE_COPY/target/release/"
  mkdir -p "$UNDER/cargo" "$UNDER/home" "$UNDER/rust" "$UNDER/cache" "$UNDER/tree"
  cp -a "$CARGO/registry" "$UNDER/cargo/"
  [[ ! -f $CARGO/config.toml ]] || cp "$CARGO/config.toml" "$UNDER/cargo/"
  if [[ -n $QEMU_DIR ]]; then
    cp -aL "$QEMU_DIR" "$UNDER/qemu"
    DEMO_ARGS=(--qemu "$UNDER/qemu")
  fi
  find "$CACHE_COPY" -type d -exec chown "$NAME:" {} +
  chown -R "$NAME:" "$TREE_COPY" "$UNDER/cargo" "$UNDER/home"
  [[ ! -f $CACHE_COPY/download/upstream-unreachable ]] ||
    chown "$NAME:" "$CACHE_COPY/download/upstream-unreachable"

  say "running the demo as $NAME"
  unshare --mount --propagation private -- "$0" "${DEMO_ARGS[@]}" --inside "$NAME" "$UNDER" </dev/null
  say "an ordinary user's demo passes, and a checkout that cannot be written is told of"
  exit 0
fi

# ---- by root, in the namespace ---------------------------------------------------

[[ -z $QEMU_DIR ]] || DEMO_ARGS=(--qemu "$QEMU_DIR")
mount --bind "$(rustc --print sysroot)" "$UNDER/rust"
mount --bind "$CACHE/user-${NAME##*-}" "$UNDER/cache"
mount --bind "$REPO_DIR/target/user-${NAME##*-}" "$UNDER/tree"

# expose PATH FROM: the user finds FROM at PATH, whoever may enter the folders above it.
expose() {
  local path=$1 from=$2 above=''
  local -a parts
  IFS=/ read -r -a parts <<<"${path#/}"
  for part in "${parts[@]}"; do
    above+=/$part
    [[ $above != "$path" ]] || break
    if ! setpriv --reuid "$NAME" --regid "$NAME" --clear-groups test -x "$above"; then
      mount -t tmpfs -o mode=755 tmpfs "$above"
      break
    fi
  done
  mkdir -p "$path"
  mount --bind "$from" "$path"
}
cd /
expose "$CACHE" "$UNDER/cache"
expose "$CARGO" "$UNDER/cargo"
expose "$REPO_DIR" "$UNDER/tree"
cd "$REPO_DIR"

AS_USER=(setpriv --reuid "$NAME" --regid "$NAME" --clear-groups --no-new-privs
  env -i "HOME=$UNDER/home" "CARGO_HOME=$CARGO" "ACCELERATOR_CACHE=$CACHE"
  "PATH=$UNDER/rust/bin:/usr/local/bin:/usr/bin:/bin")
"${AS_USER[@]}" test ! -w / || die "the user $NAME is not an ordinary one"
the_demo "${AS_USER[@]}"

say "the same in a checkout that cannot be written"
mount -o remount,bind,ro "$REPO_DIR"
status=0
output=$("${AS_USER[@]}" scripts/demo.sh "${DEMO_ARGS[@]}" 2>&1) || status=$?
printf '%s\n' "$output"
if ((status != 1)) || [[ $output == *mkdir:* || $output != *'error: the folder '*' cannot be written, '* ]]; then
  die "in a checkout that cannot be written the demo ended with status $status"
fi
