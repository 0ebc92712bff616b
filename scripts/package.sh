#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Packages what the builds made, for those who only use it.
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
while (($#)); do
  case $1 in
    --qemu | --out)
      (($# >= 2)) || die "$1 needs a folder"
      case $1 in
        --qemu) QEMU_DIR=$(realpath "$2") ;;
        --out) OUT=$(realpath -m "$2") ;;
      esac
      shift
      ;;
    --print-version) PRINT_VERSION=yes ;;
    --help | -h)
      usage
      exit 0
      ;;
    deb | wheel | oci | sources) WHAT+=("$1") ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
((${#WHAT[@]})) || WHAT=(deb wheel)

VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"$/\1/p' Cargo.toml)
[[ $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "Cargo.toml has no version in workspace.package"
if [[ $PRINT_VERSION == yes ]]; then
  printf '%s\n' "$VERSION"
  exit 0
fi

have dpkg-deb || die "packages are made on Debian or Ubuntu: dpkg-deb is missing"
need_packages git dpkg-dev binutils xz-utils
ARCHITECTURE=$(dpkg --print-architecture)
DEB=$OUT/${NAME}_${VERSION}_$ARCHITECTURE.deb
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

make_folder "$OUT"
LOG_FILE=$OUT/package.log
: >"$LOG_FILE"
WORK=$(mktemp -d "$OUT/.work.XXXXXX")
trap 'rm -rf "$WORK"' EXIT

# ---- what is packaged ------------------------------------------------------------

# Without the time of the packages: C++ is compiled anew when it changes.
build() {
  say "$*"
  run_logged "$*" env --unset SOURCE_DATE_EPOCH "$@"
}

# wheel FOLDER: the Python package.
wheel() {
  python_env harness
  LOG_FILE=$OUT/package.log
  run_logged 'building the wheel' "$PYTHON_ENV/bin/pip" --disable-pip-version-check wheel \
    --no-deps --no-build-isolation --wheel-dir "$1" ./python
}

# copy_files TO PATH...: files of the repository, with their paths.
copy_files() {
  local to=$1 file
  shift
  while IFS= read -r -d '' file; do
    install -D -p -m "$([[ -x $file ]] && echo 755 || echo 644)" "$file" "$to/$file"
  done < <(git ls-files -z -- "$@")
}

# The tools that read a record.
TOOLS=(accelerator-trace accelerator-replay)

# zeromq-src compiles libzmq; other crates that only build are not in what is built.
linked_crates() {
  local tree=(cargo tree --locked --package accelerator-dpi --package accelerator-pcie
    "${TOOLS[@]/#/--package=}" --prefix none --format '/{p}/')
  "${tree[@]}" --edges normal,no-proc-macro 2>>"$LOG_FILE"
  "${tree[@]}" --edges normal,build 2>>"$LOG_FILE" | grep '^/zeromq-src '
}

# Licences of the crates that are in what is linked.
crate_licences() {
  local to=$1 manifest folder name file
  while IFS= read -r manifest; do
    folder=${manifest%/*}
    name=${folder##*/}
    for file in "$folder"/{LICEN[CS]E,COPYING,NOTICE,UNLICENSE}* "$folder"/vendor/COPYING*; do
      [[ ! -f $file ]] || install -D -m 644 "$file" "$to/$name/${file##*/}"
    done
  done < <(cargo metadata --locked --format-version 1 2>>"$LOG_FILE" |
    grep -oE '"manifest_path":"[^"]*/registry/src/[^"]*"' | cut -d'"' -f4 | grep -Ff <(
      linked_crates | sed -nE 's,^/([^ ]+) v([^ /]+)[^/]*/$,/\1-\2/,p' | sort -u))
  [[ -n $(find "$to" -type f -print -quit 2>/dev/null) ]] || die "cargo knows no licence of a crate"
}

value() { # NAME
  sed -n "s/^$1=//p" "$QEMU_DIR/source" | sed 's/ *$//'
}

target_folder() {
  cargo metadata --locked --format-version 1 --no-deps 2>>"$LOG_FILE" |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

stage() {
  local root=$WORK/root to=$WORK/root/$PREFIX file
  mkdir -p "$to"/{bin,lib,include,simulations,guest,python,source} "$root/usr/bin" \
    "$root/usr/share/doc/$NAME" "$root/usr/lib/python3/dist-packages"

  cp "$QEMU_DIR/bin/qemu-system-x86_64" "$to/bin/"
  cp "${TOOLS[@]/#/$(target_folder)/release/}" "$to/bin/"
  cp -r "$QEMU_DIR/share" "$to/"
  cp build/dpi/libaccelerator_dpi.{so,a} "$to/lib/"
  cp build/dpi/accelerator_dpi.h "$to/include/"
  cp build/sim/sort/sort "$to/simulations/"
  cp -L build/guest-plain/{vmlinuz,initramfs.cpio.gz,release} "$to/guest/"
  strip --strip-unneeded "$to"/bin/* "$to/lib/libaccelerator_dpi.so" "$to/simulations/sort"

  copy_files "$to" README.md CHANGELOG.md LICENSES Bender.yml docs hdl ':!hdl/tests' protocol/PROTOCOL.md \
    examples scripts/{demo,vm,lib}.sh
  crate_licences "$to/LICENSES/crates"
  git ls-files -z | LC_ALL=C sort -z | tar --create --no-recursion --owner 0 --group 0 \
    --numeric-owner --mode go+u,go-w --mtime "@$SOURCE_DATE_EPOCH" --transform "s,^,$NAME-$VERSION/,S" \
    --null --files-from - |
    xz -6 --threads=1 >"$to/source/$NAME-$VERSION.tar.xz"

  wheel "$WORK/wheel"
  python3 -m zipfile --extract "$WORK"/wheel/*.whl "$to/python"
  # What it imports, as pip has it in the environment of the tests.
  for file in "$PYTHON_ENV"/lib/python3.*/site-packages/{qemu,qemu_qmp-*.dist-info}; do
    [[ -d $file ]] || die "the environment of the harness has no qemu.qmp"
    cp -r "$file" "$to/python/"
  done
  find "$to/python" \( -name __pycache__ -o -name INSTALLER -o -name REQUESTED \
    -o -name direct_url.json -o -name uv_cache.json \) -prune -exec rm -rf {} +
  printf '%s\n' "/$PREFIX/python" >"$root/usr/lib/python3/dist-packages/$NAME.pth"

  install -m 755 scripts/package/accelerator-demo "$root/usr/bin/"
  ln -s "/$PREFIX/bin/qemu-system-x86_64" "$root/usr/bin/accelerator-qemu-system-x86_64"
  ln -s "${TOOLS[@]/#//$PREFIX/bin/}" "$root/usr/bin/"
  ln -s "/$PREFIX/docs" "/$PREFIX/README.md" "$root/usr/share/doc/$NAME/"
  gzip -9n <CHANGELOG.md >"$root/usr/share/doc/$NAME/changelog.gz"
  local sources
  # Each a line of the field, which begins with a space.
  sources=$(sed 's/^/  /; s/$/\\n/' build/guest-plain/sources | tr -d '\n')
  sed -e "s|@VERSION@|$VERSION|" -e "s|@QEMU_VERSION@|$(value version)|" \
    -e "s|@QEMU_FROM@|$(value from)|" -e "s|@QEMU_SHA256@|$(value sha256)|" \
    -e "s|@QEMU_SERIES@|$(value series)|" -e "s|@QEMU_FIRMWARE@|$(value firmware)|" \
    -e "s|@GUEST_SOURCES@|${sources%\\n}|" \
    scripts/package/copyright >"$root/usr/share/doc/$NAME/copyright"
  ! grep -n '@' "$root/usr/share/doc/$NAME/copyright" || die "scripts/package/copyright has names without a value"
  chmod -R u=rwX,go=rX "$root"
}

# What the programs need of Debian, as its own packages say it.
dependencies() {
  local programs=("$WORK/root/$PREFIX"/bin/* "$WORK/root/$PREFIX/simulations/sort"
    "$WORK/root/$PREFIX/lib/libaccelerator_dpi.so") words=()
  mkdir -p "$WORK/shlibs/debian"
  printf '%s\n' "Source: $NAME" '' "Package: $NAME" "Architecture: $ARCHITECTURE" \
    >"$WORK/shlibs/debian/control"
  mapfile -t words < <(printf -- '-e\n%s\n' "${programs[@]}")
  (cd "$WORK/shlibs" && dpkg-shlibdeps -O "${words[@]}" 2>>"$LOG_FILE") | sed -n 's/^shlibs:Depends=//p'
}

find_qemu() {
  if [[ -z $QEMU_DIR ]]; then
    build scripts/build-qemus.sh --patched-only
    QEMU_DIR=$REPO_DIR/build/qemu/patched
  fi
  [[ -x $QEMU_DIR/bin/qemu-system-x86_64 ]] || die "$QEMU_DIR/bin/qemu-system-x86_64 is not there"
  [[ -f $QEMU_DIR/source ]] ||
    die "$QEMU_DIR does not say which source it is made of: build it with this checkout's scripts/build-qemus.sh"
}

make_deb() {
  local root=$WORK/root depends
  find_qemu
  build scripts/build-dpi.sh
  build cargo build --release --locked "${TOOLS[@]/#/--package=}"
  build scripts/build-sim.sh sort
  build scripts/build-guest.sh --out build/guest-plain
  say "making $(basename "$DEB")"
  stage
  depends=$(dependencies)
  [[ $depends == *libc6* ]] || die "dpkg-shlibdeps found no dependency; see $LOG_FILE"
  mkdir -p "$root/DEBIAN"
  (cd "$root" && find usr opt -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
  cat >"$root/DEBIAN/control" <<EOF
Package: $NAME
Version: $VERSION
Architecture: $ARCHITECTURE
Maintainer: ${DEBFULLNAME:-accelerator-pcie} <${DEBEMAIL:-accelerator-pcie@localhost}>
Installed-Size: $(du -sk --apparent-size --exclude DEBIAN "$root" | cut -f1)
Depends: $depends
Recommends: python3 (>= 3.11)
Suggests: python3-pytest, verilator
Section: electronics
Priority: optional
Description: PCIe card in QEMU whose logic is RTL in an HDL simulator
 A guest in QEMU sees a PCI Express card, and the card is RTL that runs in an HDL
 simulator. The Linux driver runs unmodified in the VM, the RTL unmodified in the
 simulator.
 .
 QEMU with the device accelerator-pcie, its firmware, the DPI library for simulators
 with its C header, the bridge in SystemVerilog with file lists and examples, a
 harness for driver tests in Python, accelerator-trace and accelerator-replay,
 which read and replay records of simulations, and, for the command
 accelerator-demo, a simulation and a small guest.
EOF
  find "$root" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
  # Most of it is compressed already, or programs. One thread makes the same of the same.
  run_logged 'dpkg-deb' dpkg-deb --root-owner-group -Zzstd -z12 --threads-max=1 --build "$root" "$WORK/result.deb"
  mv "$WORK/result.deb" "$DEB"
  say "$DEB ($(($(stat -c %s "$DEB") / 1048576)) MiB)"
}

make_wheel() {
  local file
  wheel "$WORK/out"
  for file in "$WORK"/out/*.whl; do
    mv "$file" "$OUT/"
    say "$OUT/${file##*/}"
  done
}

# A minimal Debian of this release with the .deb and Python, as one layer.
make_oci() {
  local image=${DEB%.deb}.oci.tar mirror codename options=() option
  [[ -f $DEB ]] || make_deb
  need_packages mmdebstrap debian-archive-keyring python3
  mirror=$(debian_mirror)
  [[ -n $mirror ]] || die "apt here knows no mirror of Debian to make the image from"
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && printf '%s\n' "$VERSION_CODENAME")
  # What apt was told here, for instance of mirrors that are frozen.
  while IFS= read -r option; do options+=(--aptopt="$option"); done < <(
    apt-config dump | grep -E '^Acquire::(Check-Valid-Until|http::Proxy|https::Proxy) ')
  say "making a minimal Debian $codename with ${DEB##*/}"
  # shellcheck disable=SC2016 # for the shell that mmdebstrap starts
  run_logged 'mmdebstrap' mmdebstrap --variant=minbase --include=python3 "${options[@]}" \
    --customize-hook="copy-in '$DEB' /tmp" \
    --customize-hook="chroot \"\$1\" apt-get -q -y --no-install-recommends install '/tmp/${DEB##*/}'" \
    --customize-hook="rm \"\$1/tmp/${DEB##*/}\"" \
    --customize-hook='chroot "$1" useradd --create-home --uid 1000 cosim' \
    "$codename" "$WORK/root.tar" "$mirror"
  python3 scripts/package/oci.py "$WORK/root.tar" "$WORK/image.tar" --version "$VERSION" \
    --architecture "$ARCHITECTURE" --epoch "$SOURCE_DATE_EPOCH"
  mv "$WORK/image.tar" "$image"
  say "$image ($(($(stat -c %s "$image") / 1048576)) MiB)"
}

# Whether a source package is in a folder with all its files.
has_source() { # FOLDER PACKAGE VERSION
  local dsc=$1/${2}_${3#*:}.dsc
  [[ -f $dsc ]] && awk '/^[^ ]/ { on = /^Checksums-Sha256:/ } on && NF == 3 { print $1 "  " $3 }' "$dsc" |
    (cd "$1" && sha256sum --check --status 2>/dev/null)
}

# The tarball of QEMU as it was built, and Debian's source packages as they were taken.
make_sources() {
  local folder=$OUT/$NAME-$VERSION-sources mirror codename suite package version file
  local words=() apt=() missing=()
  find_qemu
  [[ -f build/guest-plain/sources ]] || build scripts/build-guest.sh --out build/guest-plain
  mkdir -p "$folder" "$WORK"/apt/{lists,cache/archives}/partial
  for file in "$(cache_dir)"/{debian,download}/qemu*.tar.*; do
    [[ ! -f $file || $(sha256sum <"$file") != "$(value sha256) "* ]] || cp "$file" "$folder/"
  done
  compgen -G "$folder/qemu*.tar.*" >/dev/null ||
    die "the cache has no tarball of QEMU with sha256 $(value sha256): it was built from $(value from)"

  mirror=$(debian_mirror)
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && printf '%s\n' "$VERSION_CODENAME")
  [[ -n $mirror ]] || die "apt here knows no mirror of Debian to fetch the sources from"
  for suite in "$codename" "$codename-updates" "$codename-proposed-updates"; do
    printf 'deb-src %s %s main\n' "$mirror" "$suite"
  done >"$WORK/apt/sources.list"
  # shellcheck disable=SC2016 # apt expands the field
  apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' 2>/dev/null |
    grep -- "$codename-security" | sort -u >>"$WORK/apt/sources.list" || true
  apt=(apt-get -q -o "Dir::Etc::sourcelist=$WORK/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$WORK/apt/lists" -o "Dir::Cache=$WORK/apt/cache" -o APT::Sandbox::User=root)
  run_logged 'apt-get update' "${apt[@]}" update
  read -r -a words < <(tr '\n' ' ' <build/guest-plain/sources; [[ $(value firmware) == that* ]] || value firmware)
  say "fetching $((${#words[@]} / 2)) source packages"
  while ((${#words[@]})); do
    package=${words[0]} version=${words[1]}
    words=("${words[@]:2}")
    has_source "$folder" "$package" "$version" || (cd "$folder" && "${apt[@]}" source --download-only \
      --only-source "$package=$version") >>"$LOG_FILE" 2>&1 || true
    has_source "$folder" "$package" "$version" || missing+=("$package $version")
  done
  ((${#missing[@]} == 0)) || die "the mirror does not have: $(printf '%s, ' "${missing[@]}" |
    sed 's/, $//'). What it has is in $folder: put these beside it, from https://snapshot.debian.org, and try again"
  rm -f "$folder/SHA256SUMS"
  (cd "$folder" && sha256sum -- *) >"$WORK/SHA256SUMS"
  mv "$WORK/SHA256SUMS" "$folder/"
  tar --create --file "$WORK/sources.tar" --directory "$OUT" --sort name --owner 0 --group 0 --numeric-owner \
    --mtime "@$SOURCE_DATE_EPOCH" "${folder##*/}"
  mv "$WORK/sources.tar" "${DEB%_*}_sources.tar"
  rm -rf "$folder"
  say "${DEB%_*}_sources.tar ($(($(stat -c %s "${DEB%_*}_sources.tar") / 1048576)) MiB)"
}

for what in "${WHAT[@]}"; do
  "make_$what"
done
