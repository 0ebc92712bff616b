#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Cards that come, go, are reset and replaced under a real guest.
set -euo pipefail
SCRIPT_NAME=test-life.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite life.py "$@"
