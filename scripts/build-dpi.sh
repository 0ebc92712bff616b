#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds the DPI library in the forms that proprietary simulators load.
set -euo pipefail
SCRIPT_NAME=build-dpi.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'HELP'
usage: scripts/build-dpi.sh [--out DIR]

Builds the DPI library for a simulator that brings libraries of its own:

  DIR/libaccelerator_dpi.so   shared form
  DIR/libaccelerator_dpi.a    static form, to be linked into a DPI library of yours
  DIR/accelerator_dpi.h       the C header

Both are position independent, contain libzmq and the C++ runtime, need only the C
library of the system, and show exactly the functions of the header: another libzmq or
libstdc++ in the same process is neither used nor disturbed. What they show is checked
before they are put in place.

Link the static form with -lpthread -ldl -lm. Build on the oldest system that the
library is to run on: it needs that system's glibc or a newer one.

  --out DIR    default build/dpi

environment:
  CXX          the compiler that links, default g++; its static C++ runtime is taken
HELP
}

out=$REPO_DIR/build/dpi
take_options --out=out -- "$@"
make_folder "$out"
out=$(cd "$out" && pwd)
LOG_FILE=$out/build.log
: >"$LOG_FILE"

need_packages g++ binutils
have cargo || die "cargo is missing; install Rust from https://rustup.rs"
cxx=${CXX:-g++}
have "$cxx" || die "CXX is $cxx, which is not there"

say 'building the DPI library'
run_logged 'building the DPI library' cargo build --manifest-path "$REPO_DIR/Cargo.toml" \
  --release --locked --package accelerator-dpi
target=$(cargo metadata --manifest-path "$REPO_DIR/Cargo.toml" --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
archive=$target/release/libaccelerator_dpi.a
header=$REPO_DIR/dpi-bridge/include/accelerator_dpi.h
[[ -f $archive ]] || die "cargo made no $archive"

# Work beside the result, so that putting it in place is a rename.
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

grep -oE '\bacc_[a-z0-9_]+\(' "$header" | tr -d '(' | LC_ALL=C sort -u >"$work/names"
[[ -s $work/names ]] || die "$header declares no function"
{
  echo '{ global:'
  sed 's/$/;/' "$work/names"
  echo 'local: *; };'
} >"$work/exports.map"
mapfile -t names <"$work/names"

# Shared: everything but the header's functions is local, and calls within bind within.
run_logged 'linking the shared form' "$cxx" -shared -o "$work/libaccelerator_dpi.so" \
  "${names[@]/#/-Wl,-u,}" -Wl,-u,__cxa_pure_virtual \
  -Wl,--version-script="$work/exports.map" -Wl,-Bsymbolic -Wl,-z,defs -Wl,-z,now \
  -Wl,-z,noexecstack -Wl,--gc-sections -Wl,--strip-debug -Wl,-soname,libaccelerator_dpi.so \
  -static-libstdc++ -static-libgcc "$archive" -lpthread -ldl -lm

# Static: one object in which everything else is local too. Symbols of the kind "unique", of
# which a process has one each, become weak first: only those can be made local.
runtime=()
for name in libstdc++.a libgcc_eh.a libgcc.a; do
  file=$("$cxx" -print-file-name="$name")
  [[ -f $file ]] || die "$cxx has no $name"
  runtime+=("$file")
done
roots=()
for name in "${names[@]}" __cxa_pure_virtual; do roots+=(-u "$name"); done
run_logged 'linking the static form' ld -r -o "$work/all.o" "${roots[@]}" --gc-sections \
  --force-group-allocation --strip-debug "$archive" "${runtime[@]}"
run_logged 'hiding symbols' objcopy --wildcard --weaken-symbol='_Z*' "$work/all.o" "$work/weak.o"
# Bitcode that rustc leaves in its own libraries confuses the plugins of other linkers.
run_logged 'hiding symbols' objcopy --keep-global-symbols="$work/names" \
  --remove-section=.llvmbc --remove-section=.llvmcmd "$work/weak.o" "$work/accelerator_dpi.o"
run_logged 'making the archive' ar crs "$work/libaccelerator_dpi.a" "$work/accelerator_dpi.o"
cp "$header" "$work/accelerator_dpi.h"

# exported FILE TABLE: what a table of symbols offers to others.
exported() {
  readelf --wide "$2" "$1" 2>/dev/null |
    awk '$5 ~ /^(GLOBAL|WEAK|UNIQUE)$/ && $7 != "UND" { sub(/@.*/, "", $8); print $8 }' |
    LC_ALL=C sort -u
}
diff "$work/names" <(exported "$work/libaccelerator_dpi.so" --dyn-syms) >&2 ||
  die "the shared form shows other functions than $header"
diff "$work/names" <(exported "$work/accelerator_dpi.o" --syms) >&2 ||
  die "the static form shows other functions than $header"
needed=$(readelf --dynamic "$work/libaccelerator_dpi.so" |
  sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc|libm|libpthread|libdl|ld-linux.*)\.so' || true)
[[ -z $needed ]] || die "the shared form needs $needed"
! readelf --dynamic "$work/libaccelerator_dpi.so" | grep -q TEXTREL ||
  die "the shared form is not position independent"

for name in libaccelerator_dpi.so libaccelerator_dpi.a accelerator_dpi.h; do
  mv -f "$work/$name" "$out/$name"
done
glibc=$(readelf --wide --version-info "$out/libaccelerator_dpi.so" | grep -oE 'GLIBC_[0-9.]+' |
  sort -uV | tail -n 1)
say "$out/libaccelerator_dpi.so, .a: ${#names[@]} functions; needs ${glibc/_/ } or newer"
