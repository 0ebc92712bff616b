#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What takes a card away from its driver, or the driver from its card, and gives it back.
set -euo pipefail
SCRIPT_NAME=test-power.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite power.py "$@"
