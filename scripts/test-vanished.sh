#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Hosts that vanish from the network without a word.
set -euo pipefail
SCRIPT_NAME=test-vanished.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_packages gcc g++ iproute2 util-linux
vm_suite vanished.py "$@"
