#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Drivers with cards that go wrong by plan.
set -euo pipefail
SCRIPT_NAME=test-faults.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite faults.py "$@"
