#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Licences: of the files, and of all that is compiled for the DPI library:
# tests/licences/test_licences.py.
set -euo pipefail
SCRIPT_NAME=test-licences.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(git)
pytest_suite harness "$@"
