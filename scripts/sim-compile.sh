# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# From the C++ that Verilator makes of a design to a program. Sourced after lib.sh by build-sim.sh.
#
#   sim_compile FOLDER NAME LEVEL BYTES
#
# FOLDER is Verilator's, with the prefix Vsim; the program in it is called program, and calls itself
# NAME. The design is compiled with -O LEVEL, in parts of about BYTES. Sets SECONDS_COMPILER and
# SECONDS_LINKER. What is the same for every design is compiled once, in the cache.

# sim_make FOLDER ARG...
sim_make() {
  local folder=$1
  shift
  # A make that this one runs below has settings for its own.
  env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -C "$folder" -f "$REPO_DIR/hdl/sim/sim.mk" \
    SIM_NAME="$SIM_COMPILE_NAME" OPT_FAST="-O$SIM_COMPILE_LEVEL" OPT_GLOBAL=-O2 "$@"
}

# Verilator's own part of every program. Sets SIM_RUNTIME, the folder that holds it.
sim_runtime() {
  local folder=$1 key new
  key=$(content_key "$(sim_make "$folder" -n RUNTIME=/runtime runtime)" \
    "$(sim_make "$folder" toolchain)")
  SIM_RUNTIME=$(cache_dir)/sim/runtime-$key
  [[ ! -e $SIM_RUNTIME/.complete ]] || return 0
  exec 7>"$SIM_RUNTIME.lock"
  flock -w 3600 7 || die "$SIM_RUNTIME.lock is still held after an hour by another process"
  if [[ ! -e $SIM_RUNTIME/.complete ]]; then
    say 'compiling what every simulation has'
    new=$SIM_RUNTIME
    rm -rf "$new"
    mkdir -p "$new"
    run_logged 'compiling what every simulation has' sim_make "$folder" -j "$(nproc)" \
      "RUNTIME=$new" runtime
    : >"$new/.complete"
  fi
  exec 7>&-
}

# Puts the generated C++ into files of about so many bytes, and into one for each processor at least
# where there is enough of it: each costs the reading of the headers.
sim_parts() {
  local folder=$1 bytes=$2 all parts i=0 file sources
  mapfile -t sources < <(sim_make "$folder" RUNTIME=/runtime generated)
  all=$(cd "$folder" && cat "${sources[@]}" | wc -c)
  parts=$((all / bytes + 1))
  # Processors do not help one another with a file, but memory has an end.
  ((parts <= $(nproc))) || parts=$(nproc)
  ((parts >= all / 2000000 + 1)) || parts=$((all / 2000000 + 1))
  rm -f "$folder"/part_*.cpp
  # From the largest on, one for each in turn.
  mapfile -t sources < <(cd "$folder" && ls -S "${sources[@]}")
  for file in "${sources[@]}"; do
    printf '#include "%s"\n' "$file" >>"$folder/part_$((i % parts)).cpp"
    i=$((i + 1))
  done
}

# Some of what it sets is for the script that sources this.
# shellcheck disable=SC2034
sim_compile() {
  local folder=$1 begin middle
  SIM_COMPILE_NAME=$2 SIM_COMPILE_LEVEL=$3
  begin=$(clock_us)
  sim_runtime "$folder"
  sim_parts "$folder" "$4"
  run_logged 'compiling the simulation' sim_make "$folder" -j "$(nproc)" \
    "RUNTIME=$SIM_RUNTIME" objects
  middle=$(clock_us)
  run_logged 'linking the simulation' sim_make "$folder" "RUNTIME=$SIM_RUNTIME" program
  SECONDS_COMPILER=$(seconds_between "$begin" "$middle")
  SECONDS_LINKER=$(seconds_between "$middle" "$(clock_us)")
}
