#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What accelerator-trace makes of a record for programs with a window: the page in a browser, the
# markers in GTKWave: tests/report/test_report.py.
set -euo pipefail
SCRIPT_NAME=test-report.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
# The sandbox of Chromium needs its helper where the kernel gives ordinary users no namespaces.
NEEDS=(chromium chromium-sandbox gtkwave xvfb xauth)
pytest_suite harness "$@"
