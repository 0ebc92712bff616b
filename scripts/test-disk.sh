#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A Debian on a disk image, in which a card's driver is built.
set -euo pipefail
SCRIPT_NAME=test-disk.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
# What the image is made with; an ordinary user needs uidmap for it.
need_packages mmdebstrap debian-archive-keyring uidmap genext2fs e2fsprogs fdisk dosfstools mtools \
  syslinux syslinux-common
python_env vm
DEBIAN_MIRROR=$(debian_mirror)
[[ -n $DEBIAN_MIRROR ]] || die "apt here knows no mirror of Debian to make the image from"
export DEBIAN_MIRROR
# mke2fs and its like are not on an ordinary user's path.
CACHE=$(cache_dir)
export CACHE
PATH=$PYTHON_ENV/bin:$PATH:/usr/sbin:/sbin vm_suite disk.py "$@"
