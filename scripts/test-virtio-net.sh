#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The network card in RTL under a guest that looks at it and starts anew.
set -euo pipefail
SCRIPT_NAME=test-virtio-net.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
vm_suite net.py "$@"
