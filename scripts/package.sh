#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Packages what the builds made, for those who only use it: scripts/package/packages.py.
set -euo pipefail
SCRIPT_NAME=package.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

NAME=accelerator-cosim
PREFIX=opt/$NAME

usage() {
  cat <<EOF
usage: scripts/package.sh [option...] [WHAT...]

Packages QEMU with the device, the DPI library, the HDL, a simulation and a guest, so that
they can be used where nothing of it is built. Builds what is missing.

  deb       $NAME.deb: all of it, below /$PREFIX, with the command accelerator-demo. For
            the release of Debian that it is made on and newer ones
  wheel     the Python package, which finds what the .deb has installed
  oci       an image with the .deb in a minimal Debian, as an OCI archive. Needs root, or
            user namespaces that an ordinary user may make
  sources   the source of everything in the .deb that its licence wants to be offered,
            fetched, in one tar

The default is deb and wheel. docs/install.md is the guide.

  --qemu DIR    the QEMU in DIR (default: build/qemu/patched, built if missing)
  --out DIR     where they go (default: build/packages)
  --print-version  only say the version, which is that of Cargo.toml
  --help        this text

environment:
  SOURCE_DATE_EPOCH    the time that files in the packages have (default: that of the
                       last commit); the same builds give the same packages, byte by byte
  DEBFULLNAME, DEBEMAIL  the maintainer of the .deb
EOF
}

QEMU_DIR='' OUT=$REPO_DIR/build/packages PRINT_VERSION=no WHAT=()
# shellcheck disable=SC2329 # called by name
took() {
  case $1 in
    --qemu) QEMU_DIR=$(realpath "$2") ;;
    --out) OUT=$(realpath -m "$2") ;;
    deb | wheel | oci | sources) WHAT+=("$1") ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
}
take_options --qemu=@took --out=@took --print-version:PRINT_VERSION @took -- "$@"
((${#WHAT[@]})) || WHAT=(deb wheel)

VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"$/\1/p' Cargo.toml)
[[ $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "Cargo.toml has no version in workspace.package"
if [[ $PRINT_VERSION == yes ]]; then
  printf '%s\n' "$VERSION"
  exit 0
fi

have dpkg-deb || die "packages are made on Debian or Ubuntu: dpkg-deb is missing"
need_packages git dpkg-dev binutils xz-utils
make_folder "$OUT"
python_env harness
: >"$OUT/package.log"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C.UTF-8 TZ=UTC PYTHONDONTWRITEBYTECODE=1 PACKAGE_VERSION=$VERSION
exec "$PYTHON_ENV/bin/python" scripts/package/packages.py "$OUT" "$QEMU_DIR" "${WHAT[@]}"
