#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The cards behind QEMU's virtual IOMMUs.
set -euo pipefail
SCRIPT_NAME=test-iommu.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite iommu.py "$@"
