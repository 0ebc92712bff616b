#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Driver tests as an array of jobs on a Slurm of two nodes.
set -euo pipefail
SCRIPT_NAME='test-farm.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

QEMU_DIR=build/qemu/patched
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "--qemu needs a folder"
      QEMU_DIR=$2
      shift
      ;;
    --help | -h)
      cat <<'EOF'
usage: scripts/test-farm.sh [--qemu DIR]

Starts a Slurm with a controller and two nodes on this machine, by the user who calls it and in a
folder of its own, and runs tests/farm on it: bundles, jobs that are lost, and what docs/farms.md
says for Kubernetes. The packages are installed where that may be done; nothing of them has to run.

  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
EOF
      exit 0
      ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
[[ -x $QEMU_DIR/bin/qemu-system-x86_64 ]] ||
  die "$QEMU_DIR/bin/qemu-system-x86_64 is not there; scripts/build-qemus.sh builds it"
need_packages munge slurm-client slurmctld slurmd binutils
python_env harness

# The package as a user gets it.
OUT=$REPO_DIR/target/test/farm
make_folder "$OUT"
LOG_FILE=$OUT/build.log
: >"$LOG_FILE"
rm -rf "$OUT/package"
run_logged 'building the package' "$PYTHON_ENV/bin/pip" --disable-pip-version-check install \
  --no-deps --no-build-isolation --target "$OUT/package" "$REPO_DIR/python"
PYTHONPATH=$OUT/package PYTHONDONTWRITEBYTECODE=1 ACCELERATOR_ROOT=$REPO_DIR \
  "$PYTHON_ENV/bin/python" -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider -q \
  -n 2 --dist loadfile \
  --durations=10 --cosim-qemu "$(realpath "$QEMU_DIR")" --junit-xml="$OUT/report.xml" tests/farm
