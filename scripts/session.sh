# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The settings that a user's terminals share, for sourceme.sh and saved_session.sh.
# It is sourced into interactive shells: no `set`, no exit.

# The names of the settings.
accelerator_session_names='NPU_COSIM_PORT BRIDGE COSIM_MAC COSIM_PLAIN_MAC'

# Where they are kept.
accelerator_session_file() {
  printf '%s\n' "${XDG_STATE_HOME:-$HOME/.local/state}/accelerator-pcie/session"
}

accelerator_session_show() {
  local name
  for name in $accelerator_session_names; do
    printf '%s=%s\n' "$name" "${!name:-}"
  done
}
