#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What scripts/demo.sh says and does when something goes wrong, and its options for the VM:
# tests/scripts/test_demo.py.
set -euo pipefail
SCRIPT_NAME=test-demo.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(binutils)
pytest_suite harness "$@"
