#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds a Verilator simulation of an example, or of a design of the user's own.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/file-list.sh
. "$(dirname "${BASH_SOURCE[0]}")/file-list.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
# shellcheck source=scripts/sim-compile.sh
. "$(dirname "${BASH_SOURCE[0]}")/sim-compile.sh"

usage() {
  cat <<'HELP'
usage: scripts/build-sim.sh EXAMPLE [option...]
       scripts/build-sim.sh --top MODULE --files LIST.f [option...]

Builds a simulation with Verilator and prints where it is.

  EXAMPLE        regs, sort, probe, twin, uart, virtio_net, xdma, pcie4 or clocks: a
                 folder of hdl/examples; vhdl is for the other simulators
  --top MODULE   top module of a design of your own. Its inputs are aclk and
                 aresetn, user_clk if it has a second clock, and no other: nothing would
                 drive it. It instantiates accelerator_pcie_bridge (hdl/README.md)
  --files LIST   its file list. Paths in it are relative to the list itself; it
                 takes the bridge in with: -F <path to>/hdl/bridge.f. It may have
                 further lists (-F, -f), +incdir+, +define+, -y, +libext+ and -v
  --waves        a build that can write waves; without it the simulation is faster
  --edit         a build for editing: the compiler optimises less, and its work is
                 spread over the processors. It takes about half as long, the simulation
                 is about a fifth slower. scripts/swap-rtl.sh asks for it
  --out DIR      where it goes: DIR/NAME, default build/sim/NAME/NAME, where NAME
                 is EXAMPLE or MODULE; with --waves NAME-waves, with --edit NAME-edit
  --list-packages  only name the Debian packages that this needs
  -D NAME[=V]    defines a macro for the design; may be given more than once
  -G NAME=VALUE  sets a parameter of the top module; may be given more than once

The simulation takes:
  +accelerator_endpoint=E   where QEMU connects: a port, tcp://..., ipc://...;
                            default $NPU_COSIM_PORT or 7557
  +max_clocks=N             ends after N clocks; otherwise SIGTERM and SIGINT end it
  +user_clk_ps=N            period of user_clk, 3001 unless given; that of aclk is +clock_ps=N,
                            4000 unless given
  +max_clocks_per_second=N  sleeps, so that N clocks take a second on the wall at least: to see
                            what slow RTL does
  +waves[=FILE]             (--waves builds) writes FST, as does ACCELERATOR_WAVES=FILE
  +waves_from=N             from clock N on
  +waves_trigger            from SIGUSR1 on, or from when the top's output waves_trigger,
                            if it has one, is 1
  +waves_clocks=N           for N clocks

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

# Lines of warnings that are shown at most.
SHOWN_LINES=60

example='' top='' files='' out='' waves=0 edit=0 extra=() status=0 list_packages=0
# shellcheck disable=SC2329 # called by name
took() {
  case $1 in
    -D) extra+=("+define+$2") ;;
    -G) extra+=("-G$2") ;;
    *)
      [[ -z $example ]] || die "two examples given: '$example' and '$1'"
      example=$1
      ;;
  esac
}
take_options --waves:waves=1 --edit:edit=1 --list-packages:list_packages=1 --top=top --files=files \
  --out=out -D=@took -G=@took @took -- "$@"

packages=(g++ make perl)
((!waves)) || packages+=(liblz4-dev zlib1g-dev)
if ((list_packages)); then
  printf '%s\n' "${packages[@]}" "${PYTHON_ENV_PACKAGES[@]}"
  exit 0
fi

if [[ -n $example ]]; then
  [[ -z $top && -z $files ]] || die "an example has its own --top and --files"
  [[ $example != */* && -e $REPO_DIR/hdl/examples/$example/$example.f ]] ||
    die "no example '$example'; there are: $(cd "$REPO_DIR/hdl/examples" && echo *)"
  name=$example
  top=${example}_top
  files=$REPO_DIR/hdl/examples/$example/$example.f
else
  [[ -n $top && -n $files ]] || die "an EXAMPLE, or --top and --files, is needed; see --help"
  name=$top
fi
# Verilator reads the list itself. What is not there is told better here, before anything is built.
read_list "$files"
((${#LIST_VHDL[@]} == 0)) ||
  die "${LIST_VHDL[0]} is VHDL, which Verilator does not read; docs/other-simulators.md has who does"
((!waves)) || name+=-waves
((!edit)) || name+=-edit
out=${out:-$REPO_DIR/build/sim/$name}
make_folder "$out"
out=$(cd "$out" && pwd)
# What is between here and the program is in files that another build into this folder has too.
exec 8<"$out"
if ! flock -n 8; then
  say "another build into $out is under way; waiting for it (at most an hour)"
  flock -w 3600 8 || die "the build into $out is still under way after an hour"
fi
LOG_FILE=$out/build.log
: >"$LOG_FILE"

need_packages "${packages[@]}"
have cargo || die "cargo is missing; install Rust from https://rustup.rs"
python_env
LOG_FILE=$out/build.log
# Verilator's makefiles call `python`, which a machine need not have.
export PATH=$PYTHON_ENV/bin:$PATH
verilator=$PYTHON_ENV/bin/verilator

begin=$(clock_us)
say "$name: building the DPI library"
run_logged 'building the DPI library' cargo build --manifest-path "$REPO_DIR/Cargo.toml" \
  --release --package accelerator-dpi
target=$(cargo metadata --manifest-path "$REPO_DIR/Cargo.toml" --format-version 1 --no-deps |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
library=$target/release/libaccelerator_dpi.a
[[ -f $library ]] || die "cargo made no $library"

library_at=$(clock_us)

# What the macros say: assertions stay on; every module has a timescale.
design=(--timescale 1ns/1ps --assert --top-module "$top" "${extra[@]}" -F "$files")
flags=(--cc --exe --prefix Vsim -O3 --x-assign fast --x-initial fast --no-timing
  -CFLAGS '-std=gnu++20 -DVL_TIME_CONTEXT'
  -LDFLAGS "$library -lpthread -ldl -lm")
((!waves)) || flags+=(--trace-fst --trace-structs)
# The optimiser takes most of the time of a build. Without any the simulation has a fifth of its
# speed, and that is most of the time of a test.
level=2 part=1000000
if ((edit)); then
  level=1 part=150000
  flags+=(--output-split 5000)
fi
# Our own RTL has no warnings. Those of the user's are shown and do not stop the build, but what
# elaboration calls an error, in the bridge's checks or in the user's, is one.
strict=(-Wall)
[[ -n $example ]] || strict=(-Wno-fatal -Werror-USERERROR -Werror-USERFATAL)

# The text after the preprocessor, with what is found in libraries, is all that the design is
# made of.
source=$out/preprocessed.v
if ! "$verilator" -E -P --preproc-resolve -Wno-fatal "${design[@]}" >"$source" 2>>"$LOG_FILE"; then
  # It does not tell which line of which file it means; this does.
  run_logged 'reading the design' "$verilator" --lint-only -Wno-fatal --no-timing "${design[@]}"
  die "Verilator cannot read the design; the whole log is $LOG_FILE"
fi
# C++ beside it, for its own DPI functions, is not in that text.
key=$(content_key "$source" "${LIST_NATIVE[@]}" "$library" "$REPO_DIR"/hdl/sim/{sim_main.cpp,plusargs.h,user_clock.h,waves.h} \
  "$REPO_DIR/hdl/sim/sim.mk" "$REPO_DIR/scripts/sim-compile.sh" \
  "$(grep '^verilator==' "$REPO_DIR/scripts/python-requirements.txt")" "$name" "$top" "$level" "${design[*]//$files/}" \
  "${flags[*]//$library/} ${strict[*]}")
rm -f "$source"
folder=$(cache_dir)/sim/$name-$key
seconds=''

if [[ ! -x $folder/program ]]; then
  lock_cache "sim-$name-$key"
  if [[ ! -x $folder/program ]]; then
    say "$name: building the simulation"
    rm -rf "$folder"
    mkdir -p "$folder"
    "$verilator" "${flags[@]}" "${strict[@]}" --Mdir "$folder" "${design[@]}" "$REPO_DIR/hdl/sim/sim_main.cpp" \
      >"$folder/verilator.log" 2>&1 </dev/null || status=$?
    cat "$folder/verilator.log" >>"$LOG_FILE"
    ((status == 0)) ||
      { tail -n 40 "$folder/verilator.log" >&2; die "Verilator refuses the design; the whole log is $LOG_FILE"; }
    # The main program drives these, and does not know of another.
    inputs=$(sed -nE 's/^ *VL_IN[0-9W]*\(&([A-Za-z0-9_]+),.*/\1/p' "$folder/Vsim.h" |
      grep -vxE 'aclk|aresetn|user_clk' | paste -sd' ' || true)
    if [[ -n $inputs ]]; then
      rm -rf "$folder"
      die "the top module $top has inputs that nothing drives: $inputs. A simulation has aclk, aresetn and user_clk; put the design into a top module that makes the others from these"
    fi
    # A warning and the lines that belong to it.
    awk '/^%Warning/ { on = 1 } /^(%Error|- )/ { on = 0 } on' "$folder/verilator.log" >"$folder/warnings"
    verilated=$(clock_us)
    sim_compile "$folder" "$name" "$level" "$part"
    seconds="Verilator $(seconds_between "$library_at" "$verilated"), compiler $SECONDS_COMPILER, linker $SECONDS_LINKER"
    # Only the program is needed from here on, and what it is to be warned of.
    find "$folder" -mindepth 1 -not -name program -not -name warnings -delete
  fi
  unlock_cache
fi
# As often as it is built, whether it was compiled this time or not.
warnings=$(grep -c '^%Warning' "$folder/warnings" || true)
if ((warnings)); then
  head -n "$SHOWN_LINES" "$folder/warnings" >&2
  cp "$folder/warnings" "$out/warnings.log"
  lines=$(wc -l <"$folder/warnings")
  ((lines <= SHOWN_LINES)) || printf '… and %d lines more\n' $((lines - SHOWN_LINES)) >&2
  warn "$name: Verilator has $warnings warnings; all of them are in $out/warnings.log"
fi
# By rename, since the file may be running.
cp "$folder/program" "$out/.$name.new"
mv -f "$out/.$name.new" "$out/$name"
[[ -z $seconds ]] ||
  say "$name: seconds: DPI library $(seconds_between "$begin" "$library_at"), $seconds"
say "$name: $out/$name"
