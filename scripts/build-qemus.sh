#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds QEMU with the accelerator-pcie device, and the same QEMU without it:
# scripts/build_qemus.py. docs/building-qemu.md tells the whole story.
set -euo pipefail
SCRIPT_NAME='build-qemus.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python_script build_qemus.py "$@"
