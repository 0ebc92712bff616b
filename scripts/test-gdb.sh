#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Breakpoints in a guest's driver and in the simulation of its card.
set -euo pipefail
SCRIPT_NAME=test-gdb.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
need_packages gdb
python_env vm
PATH=$PYTHON_ENV/bin:$PATH vm_suite gdb.py "$@"
