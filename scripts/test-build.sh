#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds of designs that are not ours, as scripts/build-sim.sh makes them: hdl/tests/suite_designs.py.
set -euo pipefail
SCRIPT_NAME=test-build.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"

usage() {
  cat <<'HELP'
usage: scripts/test-build.sh [PART...]

Builds small designs with scripts/build-sim.sh. The last line is: N passed, N failed.

  PART   edit     the build for editing, and what it spares
         together builds of one design at once
         errors   what elaboration refuses, and the warnings that are shown
         lists    what a file list may have, and how it is told what is not there

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)
HELP
}

parts=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    edit | together | errors | lists) parts+=("test_$1") ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
((${#parts[@]})) || parts=(test_)
python_env
export PYTHONDONTWRITEBYTECODE=1
# PART or PART…
wanted=$(printf ' or %s' "${parts[@]}")
exec "$PYTHON_ENV/bin/python" -m pytest -c "$REPO_DIR/hdl/tests/pytest.ini" -q --no-header \
  -n "$(nproc)" --dist load --maxschedchunk 1 -k "${wanted# or }" "$REPO_DIR/hdl/tests/suite_designs.py"
