#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# LitePCIe from PyPI behind the UltraScale+ block: tests/scripts/test_litepcie.py.
set -euo pipefail
SCRIPT_NAME=test-litepcie.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
pytest_suite harness "$@"
