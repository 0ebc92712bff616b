#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Puts changed RTL under a running guest: scripts/swap_rtl.py.
set -euo pipefail
SCRIPT_NAME='swap-rtl.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python_script swap_rtl.py "$@"
