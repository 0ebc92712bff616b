#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What docs/guest-clock.md says of the guest's time while RTL is slow.
set -euo pipefail
SCRIPT_NAME=test-guest-clock.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite clock.py "$@"
