#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Tests of hdl/: the packages and the Python environment that they need, and then hdl/tests/run.py,
# which has the options and runs pytest.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"

need_packages python3
export PYTHONDONTWRITEBYTECODE=1
for word in "$@"; do
  case $word in
    -h | --help | --list) exec python3 "$REPO_DIR/hdl/tests/run.py" "$@" ;;
  esac
done
need_packages g++ make perl iverilog ccache
# Another form of it will do, too.
have ghdl || need_packages ghdl-mcode
python_env
exec "$PYTHON_ENV/bin/python" "$REPO_DIR/hdl/tests/run.py" "$@"
