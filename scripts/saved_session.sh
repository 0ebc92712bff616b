# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Another terminal with the settings that `. scripts/sourceme.sh` made last:
#
#   . scripts/saved_session.sh

if [ -z "${BASH_VERSION:-}" ]; then
  echo "saved_session.sh: these scripts are for bash" >&2
elif [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  echo "saved_session.sh: source it: . scripts/saved_session.sh" >&2
  exit 1
else
  # shellcheck source=scripts/session.sh
  . "$(dirname "${BASH_SOURCE[0]}")/session.sh"
  if [[ -r $(accelerator_session_file) ]]; then
    # Values are taken as text: nothing in the file is run.
    while IFS='=' read -r accelerator_name accelerator_value; do
      if [[ " $accelerator_session_names " == *" $accelerator_name "* ]]; then
        export "$accelerator_name=$accelerator_value"
      fi
    done <"$(accelerator_session_file)"
    unset accelerator_name accelerator_value
    accelerator_session_show
  else
    echo "saved_session.sh: nothing is saved; source scripts/sourceme.sh first" >&2
  fi
fi
