#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Co-simulation across two hosts, which are two network namespaces of this one.
set -euo pipefail
SCRIPT_NAME=test-two-hosts.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_packages iproute2 util-linux
vm_suite two_hosts.py "$@"
