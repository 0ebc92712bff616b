#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What scripts/test.sh does when it is told to end in the middle of a suite, and its report of that
# and of other ends; and what scripts do that wait for a line of a guest then:
# tests/scripts/test_interrupted.py.
set -euo pipefail
SCRIPT_NAME=test-interrupted.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
pytest_suite harness "$@"
