#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What an operating system does with a card besides driving it.
set -euo pipefail
SCRIPT_NAME=test-guest-os.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite guest_os.py "$@"
