#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The record of a simulation under a guest, what accelerator-trace makes of it, and
# accelerator-replay, without a guest: tests/scripts/test_record.py.
set -euo pipefail
SCRIPT_NAME=test-record.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
pytest_suite harness "$@"
