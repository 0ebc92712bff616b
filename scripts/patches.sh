#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Applies, exports and checks the series of patches/, by scripts/patch_series.py. patches/README.md
# says when to use which.
set -euo pipefail
SCRIPT_NAME=patches.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python_script patch_series.py "$@"
