#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The demo as an ordinary user has it: not root, and with nothing but Rust in the PATH:
# tests/scripts/test_user.py.
set -euo pipefail
SCRIPT_NAME=test-user.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(passwd util-linux)
pytest_suite harness "$@"
