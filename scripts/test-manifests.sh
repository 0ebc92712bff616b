#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The manifests of the HDL for FuseSoC and Bender name what the file lists do.
set -euo pipefail
SCRIPT_NAME=test-manifests.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/file-list.sh
. "$(dirname "${BASH_SOURCE[0]}")/file-list.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

BENDER_VERSION=0.32.1

usage() {
  cat <<EOF
usage: scripts/test-manifests.sh [--long]

For the bridges and each example: FuseSoC lints them with Verilator, and takes the sources and
include folders of hdl/bridge.f or of the example's file list, in its order; so does
Bender.yml. The last line is: N passed, N failed.

  --long    also builds a simulation with FuseSoC and runs it, and asks Bender itself, which
            is built with cargo (some minutes, once)
  --help    this text
EOF
}

LONG=no
case ${1:-} in
  '') ;;
  --long) LONG=yes ;;
  --help | -h)
    usage
    exit 0
    ;;
  *) die "unknown argument '$1'; see --help" ;;
esac

OUT=$REPO_DIR/build/test-manifests
rm -rf "$OUT"
make_folder "$OUT"
LOG_FILE=$OUT/test.log
: >"$LOG_FILE"
python_env
VERILATOR_BIN=$PYTHON_ENV/bin
python_env manifests
LOG_FILE=$OUT/test.log
export PATH=$VERILATOR_BIN:$PATH
FUSESOC=$PYTHON_ENV/bin/fusesoc
# What a user has configured is not asked.
ACCELERATOR_CACHE=$(cache_dir)
export ACCELERATOR_CACHE
export XDG_CONFIG_HOME=$OUT/config XDG_DATA_HOME=$OUT/data XDG_CACHE_HOME=$OUT/cache
passed=0 failed=0

# check TEXT COMMAND...: one test, that passes if the command does.
check() {
  local text=$1
  shift
  printf '\n== %s\n' "$text" >>"$LOG_FILE"
  if "$@" >>"$LOG_FILE" 2>&1 </dev/null; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    say "FAILED: $text; see $LOG_FILE"
  fi
}

# The names of what is tested, and for each its file list and its core.
mapfile -t NAMES < <(printf 'bridge\n' && cd hdl/examples && printf '%s\n' */ | tr -d /)
list_of() { # NAME
  if [[ $1 == bridge ]]; then echo hdl/bridge.f; else echo "hdl/examples/$1/$1.f"; fi
}
core_of() { # NAME
  if [[ $1 == bridge ]]; then echo accelerator:pcie:bridge; else echo "accelerator:example:$1"; fi
}

# What the file list means.
expected() { # NAME
  read_list "$(list_of "$1")"
  printf '+incdir+%s\n' "${LIST_INCLUDES[@]}" | LC_ALL=C sort -u
  printf '%s\n' "${LIST_SOURCES[@]}" "${LIST_VHDL[@]}"
}

# The same of what a tool writes, whose paths are relative to a folder.
named() { # FOLDER <FILE
  local line
  while read -r line; do
    case $line in
      +incdir+*) printf '+incdir+%s\n' "$(list_path "$1" "${line#+incdir+}")" ;;
      *.sv | *.v | *.vhd) list_path "$1" "$line" ;;
    esac
  done
}

# ---- FuseSoC ---------------------------------------------------------------------

fusesoc_run() { # TARGET NAME
  local work=$OUT/$1-$2
  "$FUSESOC" --cores-root hdl run --no-export --target "$1" --work-root "$work" "$(core_of "$2")" \
    "${@:3}" >"$work.log" 2>&1 </dev/null
}

# A core that cannot be read is a warning to FuseSoC.
linted() { # NAME STATUS
  cat "$OUT/lint-$1.log"
  [[ $2 == 0 ]] && ! grep -qE 'WARNING|ERROR|%Warning' "$OUT/lint-$1.log" || return 1
  diff -u <(expected "$1") <(named "$OUT/lint-$1" <"$(echo "$OUT/lint-$1"/*.vc)")
}

# FuseSoC has no way from VHDL to Verilator: of that one it is asked for the files alone, as it would
# give them to Vivado's simulator.
set_up() { # NAME
  local work=$OUT/setup-$1
  "$FUSESOC" --cores-root hdl run --setup --no-export --target sim --work-root "$work" "$(core_of "$1")" \
    >"$work.log" 2>&1 </dev/null || { cat "$work.log"; return 1; }
  cat "$work.log"
  ! grep -qE 'WARNING|ERROR' "$work.log" || return 1
  diff -u <(expected "$1" | grep -v '^+') <("$PYTHON_ENV/bin/python" - "$work"/*.eda.yml <<'PYTHON' | named "$work"
import sys

import yaml

with open(sys.argv[1]) as file:
    for entry in yaml.safe_load(file)["files"]:
        if not entry.get("is_include_file"):
            print(entry["name"])
PYTHON
  )
}
check 'FuseSoC has the files of vhdl' set_up vhdl

# Two at a time: each waits for Verilator.
for name in "${NAMES[@]}"; do
  [[ $name != vhdl ]] || continue
  while mapfile -t RUNNING < <(jobs -rp) && ((${#RUNNING[@]} >= 2)); do
    wait -n || true
  done
  { fusesoc_run lint "$name" && echo 0 || echo 1; } >"$OUT/lint-$name.status" &
done
wait
for name in "${NAMES[@]}"; do
  [[ $name != vhdl ]] || continue
  check "FuseSoC lints $name, and has the files of its list" linted "$name" "$(<"$OUT/lint-$name.status")"
done

# Their version is that of the repository.
versions() {
  local version core status=0
  version=$(scripts/package.sh --print-version)
  while IFS= read -r core; do
    grep -qE "^name: accelerator:[a-z_]+:[a-z0-9_]+:${version//./\\.}$" "$core" || {
      echo "$core: its name does not end in the version $version"
      status=1
    }
  done < <(git ls-files '*.core')
  return "$status"
}
check 'the cores have the version of Cargo.toml' versions

# ---- Bender ----------------------------------------------------------------------

# What a target of Bender.yml selects.
bender_yml() { # NAME
  "$PYTHON_ENV/bin/python" - "accelerator_$1" <<'PYTHON'
import re
import sys

import yaml

with open("Bender.yml") as file:
    manifest = yaml.safe_load(file)
for folder in sorted(manifest["export_include_dirs"]):
    print(f"+incdir+{folder}")
for group in manifest["sources"]:
    # An expression of names, of which one is enough.
    if "target" not in group or sys.argv[1] in re.findall(r"\w+", group["target"]):
        print(*group["files"], sep="\n")
PYTHON
}

same_as_yml() { # NAME
  diff -u <(expected "$1") <(bender_yml "$1" | named "$REPO_DIR")
}
for name in "${NAMES[@]}"; do
  check "Bender.yml has the files of $name" same_as_yml "$name"
done

# ---- the long form ---------------------------------------------------------------

# Bender writes a file beside its manifest.
bender_flist() { # NAME
  (cd "$OUT/bender" && "$BENDER" script flist-plus --target "accelerator_$1")
}
same_as_bender() { # NAME
  diff -u <(expected "$1") <(bender_flist "$1" | sed "s,$OUT/bender/,$REPO_DIR/," | named "$REPO_DIR")
}

# The simulation begins, looks for its QEMU, and ends by itself.
simulates() { # STATUS
  cat "$OUT/sim-regs.log"
  [[ $1 == 0 ]] && grep -q 'regs: clocks=5000 .*end="+max_clocks"' "$OUT/sim-regs.log"
}

if [[ $LONG == yes ]]; then
  BENDER=$(cache_dir)/cargo/bin/bender
  if [[ $("$BENDER" --version 2>/dev/null) != "bender $BENDER_VERSION" ]]; then
    say "building bender $BENDER_VERSION with cargo"
    run_logged 'cargo install bender' cargo install --locked --no-default-features \
      --root "$(cache_dir)/cargo" --version "=$BENDER_VERSION" bender
  fi
  mkdir "$OUT/bender"
  cp -r Bender.yml hdl "$OUT/bender/"
  for name in "${NAMES[@]}"; do
    check "Bender has the files of $name" same_as_bender "$name"
  done

  run_logged 'building the DPI library' scripts/build-dpi.sh --out "$OUT/dpi"
  STATUS=0
  LDLIBS="$OUT/dpi/libaccelerator_dpi.a -lpthread -ldl -lm" fusesoc_run sim regs \
    --accelerator_endpoint "ipc://$OUT/endpoint" --max_clocks 5000 || STATUS=$?
  check 'FuseSoC builds a simulation, and runs it' simulates "$STATUS"
fi

printf '%s passed, %s failed\n' "$passed" "$failed"
((failed == 0))
