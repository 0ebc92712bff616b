#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds a Verilator simulation of an example, or of a design of the user's own.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"

usage() {
  cat <<'HELP'
usage: scripts/build-sim.sh EXAMPLE [--waves] [--out DIR]
       scripts/build-sim.sh --top MODULE --files LIST.f [--waves] [--out DIR]

Builds a simulation with Verilator and prints where it is.

  EXAMPLE        regs, sort, probe, twin, uart or virtio_net: a folder of hdl/examples
  --top MODULE   top module of a design of your own. It has the inputs aclk and
                 aresetn and instantiates accelerator_pcie_bridge (hdl/README.md)
  --files LIST   its file list. Paths in it are relative to the list itself; it
                 takes the bridge in with: -F <path to>/hdl/bridge.f
  --waves        a build that can write waves; without it the simulation is faster
  --out DIR      where it goes: DIR/NAME, default build/sim/NAME/NAME, where NAME
                 is EXAMPLE or MODULE; with --waves NAME-waves
  -D NAME[=V]    defines a macro for the design; may be given more than once
  -G NAME=VALUE  sets a parameter of the top module; may be given more than once

The simulation takes:
  +accelerator_endpoint=E   where QEMU connects: a port, tcp://..., ipc://...;
                            default $NPU_COSIM_PORT or 7557
  +max_clocks=N             ends after N clocks; otherwise SIGTERM and SIGINT end it
  +max_clocks_per_second=N  sleeps, so that N clocks take a second on the wall at least: to see
                            what slow RTL does
  +waves[=FILE]             (--waves builds) writes FST, as does ACCELERATOR_WAVES=FILE

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

example='' top='' files='' out='' waves=0 extra=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --waves) waves=1 ;;
    --top | --files | --out | -D | -G)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --top) top=$2 ;;
        --files) files=$2 ;;
        --out) out=$2 ;;
        -D) extra+=("+define+$2") ;;
        -G) extra+=("-G$2") ;;
      esac
      shift
      ;;
    -*) die "unknown option '$1'; see --help" ;;
    *)
      [[ -z $example ]] || die "two examples given: '$example' and '$1'"
      example=$1
      ;;
  esac
  shift
done

if [[ -n $example ]]; then
  [[ -z $top && -z $files ]] || die "an example has its own --top and --files"
  [[ $example != */* && -e $REPO_DIR/hdl/examples/$example/$example.f ]] ||
    die "no example '$example'; there are: $(cd "$REPO_DIR/hdl/examples" && echo *)"
  name=$example
  top=${example}_top
  files=$REPO_DIR/hdl/examples/$example/$example.f
else
  [[ -n $top && -n $files ]] || die "an EXAMPLE, or --top and --files, is needed; see --help"
  [[ -f $files ]] || die "there is no file list $files"
  name=$top
fi
name=$name$([[ $waves == 0 ]] || echo -waves)
out=${out:-$REPO_DIR/build/sim/$name}
mkdir -p "$out"
out=$(cd "$out" && pwd)
LOG_FILE=$out/build.log
: >"$LOG_FILE"

need_packages g++ make perl
((!waves)) || need_packages liblz4-dev zlib1g-dev
have cargo || die "cargo is missing; install Rust from https://rustup.rs"
python_env
LOG_FILE=$out/build.log
# Verilator's makefiles call `python`, which a machine need not have.
export PATH=$PYTHON_ENV/bin:$PATH
verilator=$PYTHON_ENV/bin/verilator

say "$name: building the DPI library"
run_logged 'building the DPI library' cargo build --manifest-path "$REPO_DIR/Cargo.toml" \
  --release --package accelerator-dpi
target=$(cargo metadata --manifest-path "$REPO_DIR/Cargo.toml" --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
library=$target/release/libaccelerator_dpi.a
[[ -f $library ]] || die "cargo made no $library"

# What the macros say: assertions stay on; every module has a timescale.
design=(--timescale 1ns/1ps --assert --top-module "$top" "${extra[@]}" -F "$files")
flags=(--cc --exe --build -j "$(nproc)" --prefix Vsim -O3 --x-assign fast
  --x-initial fast --no-timing
  -CFLAGS "-std=gnu++20 -DVL_TIME_CONTEXT -O2 -DSIM_NAME='\"$name\"'"
  -MAKEFLAGS 'CFG_CXXFLAGS_PCH_I=-include'
  -LDFLAGS "$library -lpthread -ldl -lm")
((!waves)) || flags+=(--trace-fst --trace-structs)
# Our own RTL has no warnings; those of the user's are told and do not stop the build.
if [[ -n $example ]]; then flags+=(-Wall); else flags+=(-Wno-fatal); fi

# The text after the preprocessor is all that the design is made of.
source=$out/preprocessed.v
"$verilator" -E -P "${design[@]}" >"$source" 2>>"$LOG_FILE" ||
  { tail -n 40 "$LOG_FILE" >&2; die "Verilator cannot read the design"; }
# C++ beside it, for its own DPI functions, is not in that text.
mapfile -t native < <(grep -oE '^[^ /]+\.(c|cc|cpp)$' "$files" | sed "s#^#$(realpath "$(dirname "$files")")/#")
key=$(content_key "$source" "${native[@]}" "$library" "$REPO_DIR/hdl/sim/sim_main.cpp" \
  "$REPO_DIR/scripts/python-requirements.txt" "$name" "$top" "${extra[@]}" "${flags[*]//$library/}")
rm -f "$source"
folder=$(cache_dir)/sim/$name-$key

if [[ ! -x $folder/program ]]; then
  lock_cache "sim-$name-$key"
  if [[ ! -x $folder/program ]]; then
    say "$name: building the simulation"
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    run_logged 'building the simulation' "$verilator" "${flags[@]}" --Mdir "$folder" \
      "${design[@]}" "$REPO_DIR/hdl/sim/sim_main.cpp"
    mv "$folder/Vsim" "$folder/program"
    warnings=$(grep -c '^%Warning' "$LOG_FILE" || true)
    ((!warnings)) || warn "$name: Verilator has $warnings warnings; see $LOG_FILE"
    # Only the program is needed from here on.
    find "$folder" -mindepth 1 -not -name program -delete
  fi
  unlock_cache
fi
# By rename, since the file may be running.
cp "$folder/program" "$out/.$name.new"
mv -f "$out/.$name.new" "$out/$name"
say "$name: $out/$name"
