#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The card against a guest without an operating system, under TCG and KVM.
set -euo pipefail
SCRIPT_NAME=test-bare.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_packages gcc binutils make
vm_suite bare.py "$@"
