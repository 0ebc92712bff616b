#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Driver tests as an array of jobs on a Slurm of two nodes: tests/harness.py, and tests/farm.
set -euo pipefail
SCRIPT_NAME=test-farm.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
NEEDS=(munge slurm-client slurmctld slurmd binutils)
pytest_suite harness "$@"
