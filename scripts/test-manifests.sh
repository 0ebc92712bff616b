#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The manifests of the HDL for FuseSoC and Bender name what the file lists do:
# hdl/tests/suite_manifests.py.
set -euo pipefail
SCRIPT_NAME=test-manifests.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
pytest_suite '' "$@"
