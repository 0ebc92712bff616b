#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# accel-symbols [MODULE...]: tells gdb on the host where the kernel has put modules, by default all
# that came with the guest. Each line is a command for gdb, for its working directory in the checkout.
set -e

if [ $# -eq 0 ]; then
  for file in /modules/*.ko /modules/user/*.ko; do
    name=${file##*/}
    # The kernel's names have no hyphens.
    name=$(echo "${name%.ko}" | tr - _)
    [ ! -d "/sys/module/$name/sections" ] || set -- "$@" "$name"
  done
fi
for module in "$@"; do
  name=$(echo "$module" | tr - _)
  sections=/sys/module/$name/sections
  file=
  for each in /modules/*.ko /modules/user/*.ko; do
    [ "$(echo "${each##*/}" | tr - _)" != "$name.ko" ] || file=${each##*/}
  done
  if [ -z "$file" ]; then
    echo "accel-symbols: $module is not one of the guest's own modules" >&2
    exit 1
  fi
  if [ ! -d "$sections" ]; then
    echo "accel-symbols: $module is not loaded" >&2
    exit 1
  fi
  line="add-symbol-file build/guest/modules/$file"
  # Not those of init, whose memory is given back.
  for section in .text .rodata .data .bss; do
    [ ! -e "$sections/$section" ] || line="$line -s $section $(cat "$sections/$section")"
  done
  echo "$line"
done
