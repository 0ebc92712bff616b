# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Settings of the co-simulation for a terminal:
#
#   . scripts/sourceme.sh
#
# sets, unless they are set already, and keeps for `. scripts/saved_session.sh`:
#
#   NPU_COSIM_PORT    first TCP port of simulator and QEMU; the two above it go with it
#   BRIDGE            name of the bridge that scripts/make-bridge.sh makes
#   COSIM_MAC         MAC address of the accelerator VM
#   COSIM_PLAIN_MAC   and of the plain VM
#
# They follow from the user's number, so that users of one machine do not meet. (Users
# whose numbers differ by a multiple of 1,000 do.)

if [ -z "${BASH_VERSION:-}" ]; then
  echo "sourceme.sh: these scripts are for bash" >&2
elif [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  echo "sourceme.sh: source it: . scripts/sourceme.sh" >&2
  exit 1
else
  # shellcheck source=scripts/session.sh
  . "$(dirname "${BASH_SOURCE[0]}")/session.sh"
  : "${NPU_COSIM_PORT:=$((7557 + UID % 1000 * 8))}"
  : "${BRIDGE:=br-cosim$((UID % 1000))}"
  : "${COSIM_MAC:=$(printf '52:54:00:%02x:%02x:01' $((UID >> 8 & 255)) $((UID & 255)))}"
  : "${COSIM_PLAIN_MAC:=$(printf '52:54:00:%02x:%02x:02' $((UID >> 8 & 255)) $((UID & 255)))}"
  export NPU_COSIM_PORT BRIDGE COSIM_MAC COSIM_PLAIN_MAC
  if mkdir -p "$(dirname "$(accelerator_session_file)")"; then
    accelerator_session_show >"$(accelerator_session_file)"
  fi
  accelerator_session_show
fi
