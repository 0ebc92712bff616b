#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds of designs that are not ours, as scripts/build-sim.sh makes them:
# hdl/tests/suite_designs.py.
set -euo pipefail
SCRIPT_NAME=test-build.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
pytest_suite '' "$@"
