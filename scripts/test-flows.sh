#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What is made for Vivado and other simulators, without having them: hdl/tests/suite_flows.py.
set -euo pipefail
SCRIPT_NAME=test-flows.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(gcc g++ binutils libzmq5 tcl make perl ccache)
pytest_suite '' "$@"
