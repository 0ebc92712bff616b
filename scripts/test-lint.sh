#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Python: ruff and mypy, with the settings of python/pyproject.toml: tests/scripts/test_lint.py.
set -euo pipefail
SCRIPT_NAME=test-lint.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(git)
pytest_suite harness "$@"
