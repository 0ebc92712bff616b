#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulators that end by each signal and come back, under a QEMU that goes on.
set -euo pipefail
SCRIPT_NAME=test-restarts.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_packages gcc g++
vm_suite restarts.py "$@"
