#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The packages of scripts/package.sh in a fresh, minimal Debian that has none of the build tools:
# tests/scripts/test_package.py.
set -euo pipefail
SCRIPT_NAME=test-package.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(mmdebstrap debian-archive-keyring skopeo umoci)
pytest_suite harness "$@"
