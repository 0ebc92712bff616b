#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Two VMs on a network, by every kind of network, and that nothing is left of them:
# tests/scripts/test_network.py.
set -euo pipefail
SCRIPT_NAME=test-network.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(iproute2)
pytest_suite harness "$@"
