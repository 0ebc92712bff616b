#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Bytes between a chardev of QEMU and the UART bridge in RTL.
set -euo pipefail
SCRIPT_NAME=test-serial.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite serial.py "$@"
