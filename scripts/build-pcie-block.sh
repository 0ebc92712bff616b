#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Writes the module that a design instantiates as its UltraScale+ PCIe block: the name and the ports
# of the IP, and accelerator_pcie4 in it. scripts/pcie_block.py does.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python_script pcie_block.py "$@"
