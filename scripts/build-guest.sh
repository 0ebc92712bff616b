#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes the guest that the demo and the tests boot: the distribution's own kernel
# and a small initramfs with our drivers and programs. scripts/build_guest.py does.
set -euo pipefail
SCRIPT_NAME='build-guest.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python_script build_guest.py "$@"
