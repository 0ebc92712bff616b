#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The harness for driver tests: the package, the plugin for pytest, the examples, the guide:
# tests/harness.py.
set -euo pipefail
SCRIPT_NAME=test-python.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
# The tests build the agent for this machine.
NEEDS=(gcc libc6-dev make)
pytest_suite harness "$@"
