#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds QEMU with the accelerator-pcie device, and the same QEMU without it.
# docs/building-qemu.md tells the whole story.
set -euo pipefail
SCRIPT_NAME='build-qemus.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# Which releases, packages, crates: patches/releases.toml.
. "$(dirname "${BASH_SOURCE[0]}")/releases.sh"

# Part of the key of a built QEMU: raise it when the layout of a result changes.
RESULT_FORMAT=2

DEVICE_DIR=$REPO_DIR/qemu-rust-device
CRATE_DIR=rust/hw/misc/accelerator-pcie
data_list crates.ours OUR_CRATES
data_list debian.suites DEBIAN_SUITES

usage() {
  cat <<EOF
usage: scripts/build-qemus.sh [option...]

Builds qemu-system-x86_64 with the accelerator-pcie device (patched) and without
it (baseline). The results are in the cache, and these links lead to them:

  build/qemu/patched/bin/qemu-system-x86_64
  build/qemu/baseline/bin/qemu-system-x86_64

The same links for each version are in build/qemu/VERSION/.

Source (default: QEMU $(upstream_version) from upstream; where that cannot be reached,
Debian's source package of the nearest release that has a series in patches/):
  --release NAME        of this release: one of $(printf '%s, ' "${RELEASES[@]}" | sed 's/, $//')
  --source PATH         a QEMU source tree or tarball; it is copied, never changed
  --sha256 HEX          refuse the tarball given by --source if its sha256 is another
  --upstream            from upstream or not at all
  --debian              Debian's source package, without trying upstream
  --debian-package DIR  a folder that holds Debian's .dsc and .orig.tar.xz
  --debian-mirror URL   the mirror to take it from (default: as apt is set up here)

What is built:
  --patched-only        leave the baseline out
  --baseline-only       leave the patched QEMU out
  --full                with displays (VNC, SDL, GTK, curses, SPICE), sound, user
                        networking, USB redirection, ...
  --debug               QEMU's --enable-debug: no optimisation, lock and cell checks
  --asan                with AddressSanitizer; leads to build/qemu/asan/bin and is
                        patched only
  --target aarch64      qemu-system-aarch64, for guests of that processor, with the
                        machine virt and few others; leads to build/qemu/aarch64/bin
                        and is patched only
  --configure-only      stop before compiling

Else:
  --jobs N              compilers at once (default: one per processor)
  --list-packages       only name the Debian packages that this needs
  --print-paths         only say where the results of the last build are
  --help                this text

The cache is \$ACCELERATOR_CACHE, or accelerator-pcie in \$XDG_CACHE_HOME or ~/.cache.
EOF
}

SOURCE='' SHA256='' FROM=auto DEBIAN_PACKAGE='' DEBIAN_MIRROR='' ASKED='' TARGET=x86_64
FLAVOURS=(patched baseline)
FULL=no DEBUG=no ASAN=no CONFIGURE_ONLY=no PRINT_PATHS=no LIST_PACKAGES=no JOBS=$(nproc)

parse_arguments() {
  # shellcheck disable=SC2329 # called by name
  took() {
    case $1 in
      --source) SOURCE=$2 FROM=local ;;
      --sha256) SHA256=${2,,} ;;
      --debian-package) DEBIAN_PACKAGE=$2 FROM=debian ;;
      --patched-only) FLAVOURS=(patched) ;;
      --baseline-only) FLAVOURS=(baseline) ;;
    esac
  }
  take_options --source=@took --sha256=@took --release=ASKED --upstream:FROM=upstream \
    --debian:FROM=debian --debian-package=@took --debian-mirror=DEBIAN_MIRROR \
    --patched-only:@took --baseline-only:@took --full:FULL --debug:DEBUG --asan:ASAN \
    --configure-only:CONFIGURE_ONLY --jobs=JOBS --target=TARGET --print-paths:PRINT_PATHS \
    --list-packages:LIST_PACKAGES -- "$@"
  [[ $ASAN == no ]] || FLAVOURS=(asan)
  case $TARGET in
    x86_64) ;;
    aarch64)
      [[ $ASAN == no && ${FLAVOURS[*]} == *patched* ]] ||
        die "--target aarch64 is patched only, and without --asan"
      FLAVOURS=(aarch64)
      ;;
    *) die "--target is $TARGET, expected x86_64 or aarch64" ;;
  esac
  EMULATOR=qemu-system-$TARGET
  [[ $JOBS =~ ^[1-9][0-9]*$ ]] || die "--jobs must be a number from 1, not '$JOBS'"
  [[ -z $ASKED || " ${RELEASES[*]} " == *" $ASKED "* ]] ||
    die "--release must be one of ${RELEASES[*]}, not '$ASKED'"
  [[ -z $SHA256 || $SHA256 =~ ^[0-9a-f]{64}$ ]] || die "--sha256 must be 64 hex digits, not '$SHA256'"
}

# ---- what must be installed ------------------------------------------------------

# Fills PACKAGES.
find_packages() {
  local full
  data_list packages.build PACKAGES
  if [[ $FULL == yes ]]; then
    data_list packages.full full
    PACKAGES+=("${full[@]}")
  fi
  # Machines of ARM describe themselves to their guests by a device tree.
  [[ $TARGET != aarch64 ]] || PACKAGES+=(libfdt-dev)
  have python3 || PACKAGES+=(python3)
  have python3 && ! python3 -c 'import tomllib' 2>/dev/null && PACKAGES+=(python3-tomli)
  return 0
}

# QEMU's configure would say this too, but only after minutes of other work.
check_rust() {
  local found
  { have rustc && have cargo; } ||
    die "Rust is missing: QEMU $VERSION needs rustc and cargo $MIN_RUST or newer (https://rustup.rs)"
  found=$(rustc --version | cut -d' ' -f2)
  version_ge "${found%%-*}" "$MIN_RUST" ||
    die "Rust $found is too old: QEMU $VERSION needs rustc $MIN_RUST or newer; with rustup: rustup update stable"
}

find_bindgen() {
  local found='' oldest=${DATA[bindgen.oldest]}
  BINDGEN=bindgen
  if ! have bindgen && [[ -x $CACHE/cargo/bin/bindgen ]]; then
    BINDGEN=$CACHE/cargo/bin/bindgen
  fi
  if ! have "$BINDGEN"; then
    # A distribution without the package is no error: cargo has it as well.
    (need_packages bindgen) || true
  fi
  have "$BINDGEN" && found=$("$BINDGEN" --version | cut -d' ' -f2)
  if [[ -z $found ]] || ! version_ge "$found" "$oldest"; then
    say "bindgen ${found:-is not installed}${found:+ is older than $oldest}: building bindgen-cli with cargo"
    run_logged "cargo install bindgen-cli" \
      cargo install --locked --root "$CACHE/cargo" --version "${DATA[bindgen.cargo]}" bindgen-cli
    BINDGEN=$CACHE/cargo/bin/bindgen
  fi
}

# ---- where QEMU's source comes from ----------------------------------------------
#
# All of these set SOURCE_PATH (tree or tarball), SOURCE_ID and SOURCE_TEXT.

sha256_of() {
  local sum
  sum=$(sha256sum <"$1")
  printf '%s\n' "${sum%% *}"
}

# Stands for the content of a source tree, without what is not copied from it.
tree_id() {
  local tree=$1
  find "$tree" \( -path "$tree/.git" -o -path "$tree/build" -o -path "$tree/roms" \) -prune \
    -o -type f -printf '%P\0' | LC_ALL=C sort -z | (cd "$tree" && xargs -0 sha256sum) |
    sha256sum | cut -c1-64
}

from_local() {
  [[ -e $SOURCE ]] || die "--source $SOURCE does not exist"
  SOURCE_PATH=$(cd "$(dirname "$SOURCE")" && pwd)/$(basename "$SOURCE")
  if [[ -d $SOURCE ]]; then
    [[ -f $SOURCE/VERSION && -f $SOURCE/configure ]] ||
      die "$SOURCE is no QEMU source tree: it has no VERSION or no configure"
    [[ -z $SHA256 ]] || die "--sha256 is for tarballs, and $SOURCE is a folder"
    SOURCE_PATH=$(cd "$SOURCE" && pwd)
    SOURCE_ID=$(tree_id "$SOURCE_PATH")
  else
    SOURCE_ID=$(sha256_of "$SOURCE_PATH")
    [[ -z $SHA256 || $SHA256 == "$SOURCE_ID" ]] ||
      die "$SOURCE has sha256 $SOURCE_ID, but --sha256 says $SHA256"
  fi
  SOURCE_TEXT=$SOURCE
}

# The version that upstream's tarball is fetched of; nothing if its checksum is not known here.
upstream_version() {
  printf '%s\n' "${DATA[release.${ASKED:-${RELEASES[0]}}.upstream]-}"
}

# Whether upstream can be reached is asked at most once a day, so that a machine
# behind a firewall that drops packets does not wait each time.
from_upstream() {
  local version tarball url known unreachable=$CACHE/download/upstream-unreachable sum
  version=$(upstream_version)
  if [[ -z $version ]]; then
    REASON="patches/releases.toml has no checksum of a tarball of upstream's for release $ASKED"
    return 1
  fi
  tarball=$CACHE/download/qemu-$version.tar.xz
  url=${DATA[upstream.url]//VERSION/$version}
  known=${DATA[release.${ASKED:-${RELEASES[0]}}.sha256]}
  mkdir -p "$CACHE/download"
  if [[ ! -f $tarball ]]; then
    if [[ $FROM == auto && -n $(find "$unreachable" -mtime -1 2>/dev/null) ]]; then
      REASON="upstream could not be reached within the last day ($(<"$unreachable")); --upstream tries again"
      return 1
    fi
    if ! REASON=$(curl -fsSIL -o /dev/null --connect-timeout 5 --max-time 15 "$url" 2>&1); then
      REASON=${REASON:-curl gave no reason}
      printf '%s\n' "$REASON" >"$unreachable"
      REASON="upstream cannot be reached ($REASON)"
      return 1
    fi
    rm -f "$unreachable"
    say "fetching QEMU $version from upstream"
    if ! REASON=$(curl -fsSL --retry 2 --connect-timeout 10 --speed-limit 10000 --speed-time 60 \
      -o "$tarball.part" "$url" 2>&1); then
      REASON="the download from upstream broke off ($REASON)"
      return 1
    fi
    sum=$(sha256_of "$tarball.part")
    if [[ $sum != "$known" ]]; then
      rm -f "$tarball.part"
      die "qemu-$version.tar.xz from upstream has sha256 $sum, expected $known"
    fi
    mv "$tarball.part" "$tarball"
  fi
  SOURCE_PATH=$tarball SOURCE_ID=$known SOURCE_TEXT="upstream's tarball"
}

# Prints the .orig.tar.xz that the .dsc in the folder names, checked against it.
debian_tarball() {
  local dir=$1 dsc name sum
  for dsc in "$dir"/qemu_*.dsc; do
    [[ -f $dsc ]] || continue
    read -r sum name < <(awk '/^[^ ]/ {on = /^Checksums-Sha256:/}
      on && $3 ~ /\.orig\.tar\.[a-z]+$/ {print $1, $3}' "$dsc") || true
    [[ -n ${name:-} && -f $dir/$name ]] || continue
    [[ $(sha256_of "$dir/$name") == "$sum" ]] ||
      die "$dir/$name has sha256 $(sha256_of "$dir/$name"), but $(basename "$dsc") says $sum"
    printf '%s\n' "$dir/$name"
    return 0
  done
  return 1
}

# Fetches Debian's source package with apt, signatures checked, with package lists
# and a source list of our own: the machine's are left alone.
fetch_debian_package() {
  local dir=$1 asked=$2 mirror=$DEBIAN_MIRROR keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  local suite versions best apt
  have apt-get || die "apt-get is missing, so Debian's source package cannot be fetched; use --source"
  need_packages debian-archive-keyring
  if [[ -z $mirror ]]; then
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "apt here knows no mirror of Debian; name one with --debian-mirror, or use --source"
  fi
  mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
  for suite in "${DEBIAN_SUITES[@]}"; do
    printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
  done >"$dir/apt/sources.list"
  apt=(-o "Dir::Etc::sourcelist=$dir/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache"
    -o APT::Sandbox::User=root -o Acquire::http::Timeout=30 -o Acquire::Retries=2)
  say "asking ${DEBIAN_SUITES[*]} at $mirror for QEMU"
  # One suite that is gone is no reason to stop; no fitting version is.
  apt-get -qq "${apt[@]}" update >"$dir/apt/update.log" 2>&1 || true
  cat "$dir/apt/update.log" >>"$LOG_FILE"
  if grep -q 'is expired' "$dir/apt/update.log"; then
    say "the mirror is a frozen or stale one: its signatures are checked, its dates are not"
    apt+=(-o Acquire::Check-Valid-Until=false)
    apt-get -qq "${apt[@]}" update >"$dir/apt/update.log" 2>&1 || true
    cat "$dir/apt/update.log" >>"$LOG_FILE"
  fi
  versions=$(apt-cache "${apt[@]}" showsrc --only-source qemu 2>/dev/null |
    sed -n 's/^Version: //p' | sort -Vru)
  # shellcheck disable=SC2086 # words
  best=$(nearest_version "$asked" $versions) || true
  if [[ -z $best ]]; then
    cat "$dir/apt/update.log" >&2
    die "none of ${DEBIAN_SUITES[*]} at $mirror has a QEMU that patches/$asked has a series for; use --source or --debian-package"
  fi
  say "fetching Debian's source package qemu $best"
  (cd "$dir" && run_logged "apt-get source qemu=$best" \
    apt-get -qq "${apt[@]}" source --download-only --only-source "qemu=$best")
  rm -rf "$dir/apt"
}

# from_debian RELEASE: of that release, or of the nearest if none is given.
from_debian() {
  local dir=${DEBIAN_PACKAGE:-$CACHE/debian${1:+-$1}}
  [[ -n $DEBIAN_PACKAGE ]] || mkdir -p "$dir"
  if ! SOURCE_PATH=$(debian_tarball "$dir"); then
    [[ -z $DEBIAN_PACKAGE ]] || die "$dir holds no whole source package: a qemu_*.dsc and the .orig.tar.xz that it names"
    fetch_debian_package "$dir" "$1"
    SOURCE_PATH=$(debian_tarball "$dir") ||
      die "Debian's source package in $dir is not whole"
  fi
  SOURCE_ID=$(sha256_of "$SOURCE_PATH")
  SOURCE_TEXT="Debian's source package ($(basename "$SOURCE_PATH"))"
}

find_source() {
  REASON=''
  case $FROM in
    local) from_local ;;
    debian) from_debian "$ASKED" ;;
    upstream) from_upstream || die "$REASON" ;;
    auto)
      if ! from_upstream; then
        say "$REASON"
        if [[ -n $ASKED ]]; then
          say "so Debian's source package of release $ASKED"
        else
          say "so not QEMU $(upstream_version), but Debian's source package of the nearest release with a series"
        fi
        from_debian "$ASKED"
      fi
      ;;
  esac
}

# ---- the pristine tree: QEMU's source with all that its build would download ------

# Copies .crate files, checked against the sha256 given, into the cache.
# Arguments: name version sha256 ...
fetch_crates() {
  local wanted=("$@") missing=() i file home=${CARGO_HOME:-$HOME/.cargo}
  mkdir -p "$CACHE/crates"
  for ((i = 0; i < ${#wanted[@]}; i += 3)); do
    file=$CACHE/crates/${wanted[i]}-${wanted[i + 1]}.crate
    if [[ ! -f $file || $(sha256_of "$file") != "${wanted[i + 2]}" ]]; then
      missing+=("${wanted[@]:i:3}")
    fi
  done
  ((${#missing[@]})) || return 0

  # cargo knows how to reach a registry here, whatever mirror is set up.
  say "fetching $((${#missing[@]} / 3)) crates with cargo"
  local project
  project=$(mktemp -d "$CACHE/tmp.XXXXXX")
  {
    printf '[package]\nname = "crates"\nversion = "0.0.0"\nedition = "2021"\n'
    printf '[lib]\npath = "lib.rs"\n[workspace]\n[dependencies]\n'
    for ((i = 0; i < ${#missing[@]}; i += 3)); do
      printf '%s = { version = "=%s", default-features = false }\n' "${missing[@]:i:2}"
    done
  } >"$project/Cargo.toml"
  : >"$project/lib.rs"
  run_logged "cargo fetch" cargo fetch --manifest-path "$project/Cargo.toml"
  rm -rf "$project"
  for ((i = 0; i < ${#missing[@]}; i += 3)); do
    local sum='' found
    for found in "$home"/registry/cache/*/"${missing[i]}-${missing[i + 1]}.crate"; do
      [[ -f $found ]] || continue
      sum=$(sha256_of "$found")
      [[ $sum == "${missing[i + 2]}" ]] || continue
      cp "$found" "$CACHE/crates/${missing[i]}-${missing[i + 1]}.crate"
      continue 2
    done
    die "crate ${missing[i]} ${missing[i + 1]}: cargo fetched sha256 ${sum:-(no file)}, expected ${missing[i + 2]}"
  done
}

wrap_value() {
  sed -n "s/^$2 *= *//p" "$1"
}

# Puts the crates of the .wrap files given where Meson looks for them: those with a
# URL in packagecache, those without in packagefiles.
place_crates() {
  local subprojects=$1 wrap crates=() directory where
  shift
  for wrap in "$@"; do
    directory=$(wrap_value "$wrap" directory)
    [[ ! -d $subprojects/$directory ]] || continue
    crates+=("${directory%-*}" "${directory##*-}" "$(wrap_value "$wrap" source_hash)")
  done
  # The name of the folder is the one that cargo gives: name-version.
  fetch_crates "${crates[@]}"
  for wrap in "$@"; do
    directory=$(wrap_value "$wrap" directory)
    [[ ! -d $subprojects/$directory ]] || continue
    where=packagefiles
    [[ -z $(wrap_value "$wrap" source_url) ]] || where=packagecache
    mkdir -p "$subprojects/$where"
    cp "$CACHE/crates/$directory.crate" "$subprojects/$where/$(wrap_value "$wrap" source_filename)"
  done
}

# Writes the meson.build of one of QEMU's crates from its line in qemu-crates.txt.
write_packagefile() {
  local subprojects=$1 name=$2 kind=$3 edition=$4 cfg=$5 needs=$6
  local version crate native=false needs_native function item cfgs=() deps=() args='' list=''
  version=$(wrap_value "$subprojects/$name.wrap" directory)
  crate=$(sed -E 's/-[0-9.]+-rs$//; y/-/_/' <<<"$name")
  case $kind in
    host) needs_native=false ;;
    host-macro) needs_native=true ;;
    native | macro) native=true needs_native=true ;;
    *) die "qemu-crates.txt: $name is of kind '$kind', which is none of host, native, macro, host-macro" ;;
  esac
  case $kind in
    *macro) function="import('rust').proc_macro('$crate', 'src/lib.rs'," ;;
    *) function="static_library('$crate', 'src/lib.rs', rust_abi: 'rust', native: $native," ;;
  esac
  [[ $cfg == - ]] || IFS=, read -ra cfgs <<<"$cfg"
  [[ $needs == - ]] || IFS=, read -ra deps <<<"$needs"
  for item in "${cfgs[@]}"; do args+=", '--cfg', '$item'"; done
  for item in "${deps[@]}"; do list+="${list:+, }'$item'"; done

  mkdir -p "$subprojects/packagefiles/$name"
  cat >"$subprojects/packagefiles/$name/meson.build" <<EOF
project('$name', 'rust', version: '${version##*-}', meson_version: '>=1.5.0')
deps = []
foreach name : [$list]
  subproject(name)
  deps += dependency(name, native: $needs_native)
endforeach
lib = $function
  override_options: ['rust_std=$edition', 'build.rust_std=$edition'],
  rust_args: ['--cap-lints', 'allow'$args], dependencies: deps)
meson.override_dependency('$name', declare_dependency(link_with: lib), native: $native)
EOF
}

place_packagefiles() {
  local subprojects=$1 wrap name line
  for wrap in "$subprojects"/*-rs.wrap; do
    name=$(basename "$wrap" .wrap)
    [[ ! -d $subprojects/packagefiles/$name ]] || continue
    [[ ! -d $subprojects/$(wrap_value "$wrap" directory) ]] || continue
    line=$(awk -v name="$name" '$1 == name' "$DEVICE_DIR/subprojects/qemu-crates.txt")
    [[ -n $line ]] ||
      die "this tree has no subprojects/packagefiles/$name, and qemu-crates.txt does not know that crate"
    # shellcheck disable=SC2086 # five words
    write_packagefile "$subprojects" $line
  done
}

place_wheels() {
  local tree=$1 name version line names=(meson pycotap) wanted=()
  # From QEMU 11 on.
  ! grep -qx '\[tooling\]' "$tree/pythondeps.toml" || names+=(qemu.qmp)
  for name in "${names[@]}"; do
    compgen -G "$tree/python/wheels/${name//./_}-*.whl" >/dev/null && continue
    version=$(sed -n "s/^\"\{0,1\}${name//./\\.}\"\{0,1\} = .*installed = \"\([^\"]*\)\".*/\1/p" \
      "$tree/pythondeps.toml" | head -n 1)
    line=$(grep "^$name==$version " "$DEVICE_DIR/subprojects/wheels.txt") ||
      die "QEMU $VERSION asks for $name $version, and wheels.txt has no checksum for it"
    wanted+=("$line")
  done
  ((${#wanted[@]})) || return 0

  local key store
  key=$(content_key "${wanted[@]}")
  store=$CACHE/wheels-$key
  if [[ ! -d $store ]]; then
    say "fetching $(printf '%s\n' "${wanted[@]}" | sed 's/ .*//' | paste -sd' ') with pip"
    rm -rf "$store.part"
    mkdir -p "$store.part"
    printf '%s\n' "${wanted[@]}" >"$store.part/requirements.txt"
    run_logged "python3 -m venv" python3 -m venv --clear "$CACHE/venv-pip"
    run_logged "pip download" "$CACHE/venv-pip/bin/pip" download --no-deps --only-binary=:all: \
      --require-hashes -r "$store.part/requirements.txt" -d "$store.part"
    mv "$store.part" "$store"
  fi
  mkdir -p "$tree/python/wheels"
  cp "$store"/*.whl "$tree/python/wheels/"
}

# Subprojects that QEMU's build clones, which a plain git tree has not and released
# tarballs and Debian's have.
place_git_subprojects() {
  local subprojects=$1 name url revision store cloned missing=()
  data_list crates.cloned cloned
  for name in "${cloned[@]}"; do
    [[ -f $subprojects/$name.wrap && -z $(compgen -G "$subprojects/$name/*") ]] || continue
    url=$(wrap_value "$subprojects/$name.wrap" url)
    revision=$(wrap_value "$subprojects/$name.wrap" revision)
    store=$CACHE/subprojects/$name-$revision
    if [[ ! -d $store ]]; then
      rm -rf "$CACHE/subprojects/part"
      mkdir -p "$CACHE/subprojects/part"
      if ((${#missing[@]} == 0)) && have git &&
        timeout 60 git clone -q "$url" "$CACHE/subprojects/part" >>"$LOG_FILE" 2>&1 &&
        git -C "$CACHE/subprojects/part" checkout -q "$revision" >>"$LOG_FILE" 2>&1; then
        mv "$CACHE/subprojects/part" "$store"
      else
        # Where one cannot be cloned the next cannot, either.
        missing+=("$name")
        continue
      fi
    fi
    rm -rf "${subprojects:?}/$name"
    cp -r "$store" "$subprojects/$name"
    cp -r "$subprojects/packagefiles/$name/." "$subprojects/$name/" 2>/dev/null || true
  done
  ((${#missing[@]})) || return 0

  say "the tree lacks ${missing[*]}, and $url cannot be reached: taking Debian's copies"
  local tarball
  tarball=$(
    DEBIAN_PACKAGE=''
    # Of any release: they are older than all.
    from_debian '' >&2
    printf '%s\n' "$SOURCE_PATH"
  )
  for name in "${missing[@]}"; do
    tar -xf "$tarball" -C "$subprojects/.." --no-same-owner --strip-components=1 --wildcards "*/subprojects/$name/*"
  done
}

# Firmware of machines that are not built here: Meson insists that the files are
# there, and nothing reads them.
place_blobs() {
  local blobs=$1 name
  {
    sed -n "s/^ *'\(edk2-.*\.fd\)',$/\1.bz2/p" "$blobs/meson.build"
    (cd "$blobs" && compgen -G 'dtb/*.dts' | sed 's/s$/b/')
  } | while read -r name; do
    [[ -e $blobs/$name ]] || : >"$blobs/$name"
  done
}

# Sets TREE and VERSION.
prepare_tree() {
  local part
  TREE=$CACHE/qemu/tree-$(content_key "$SOURCE_ID" "$DEVICE_DIR/subprojects/qemu-crates.txt" \
    "$DEVICE_DIR/subprojects/wheels.txt")
  if [[ ! -d $TREE ]]; then
    say "unpacking $SOURCE_TEXT"
    part=$TREE.part
    rm -rf "$part"
    mkdir -p "$part"
    # Sources of firmware, which are most of a tree, take no part in this build.
    if [[ -d $SOURCE_PATH ]]; then
      rsync -a --no-owner --no-group --exclude=/.git --exclude=/build --exclude='/roms/*' "$SOURCE_PATH/" "$part/"
    else
      tar -xf "$SOURCE_PATH" -C "$part" --no-same-owner --strip-components=1 --exclude='*/roms/*'
    fi
    [[ -f $part/VERSION && -f $part/configure ]] || die "$SOURCE_TEXT is no QEMU source: it has no VERSION or no configure"
    VERSION=$(<"$part/VERSION")
    if ! series_for "$VERSION"; then
      rm -rf "$part"
      die "$(no_series)"
    fi
    check_rust
    place_git_subprojects "$part/subprojects"
    place_packagefiles "$part/subprojects"
    place_wheels "$part"
    place_blobs "$part/pc-bios"
    place_crates "$part/subprojects" "$part"/subprojects/*-rs.wrap
    mv "$part" "$TREE"
  fi
  VERSION=$(<"$TREE/VERSION")
  series_for "$VERSION" || die "$(no_series)"
  [[ -z $ASKED || $RELEASE == "$ASKED" ]] ||
    die "--release says $ASKED, but $SOURCE_TEXT is QEMU $VERSION, for which the series is $RELEASE"
}

no_series() {
  local release
  printf 'there is no patch series for QEMU %s; patches/ has:' "$VERSION"
  for release in "${RELEASES[@]}"; do
    printf ' %s' "${DATA[release.$release.versions]//$'\n'/ }"
  done
  printf '. docs/building-qemu.md says how to add a release.'
}

# ---- the two builds --------------------------------------------------------------

# Copies what differs, by content, so that ninja sees only true changes.
mirror_files() {
  rsync -rlp --checksum --delete --no-times "$@" >>"$LOG_FILE" 2>&1
}

# Our files, in their places of QEMU's tree.
place_device() {
  local tree=$1 crate=$1/$CRATE_DIR wrap directory files stage ours
  local wraps=("$DEVICE_DIR"/subprojects/*.wrap)
  stage=$(mktemp -d "$CACHE/tmp.XXXXXX")
  mkdir -p "$stage/crate/release"
  cp "$DEVICE_DIR/meson/meson.build" "$DEVICE_DIR/meson/Kconfig" "$DEVICE_DIR/wrapper.h" \
    "$DEVICE_DIR/bindgen.args" "$DEVICE_DIR/meson/trace-events" "$stage/crate/"
  cp "$DEVICE_DIR/meson/$RELEASE/meson.build" "$stage/crate/release/"
  cp -r "$DEVICE_DIR/src" "$stage/crate/"
  (cd "$stage/crate" && find src -name '*.rs' | LC_ALL=C sort >sources.list)
  for ours in "${OUR_CRATES[@]}"; do
    mkdir -p "$stage/$ours"
    cp -r "$REPO_DIR/$ours/src" "$stage/$ours/"
    cp "$DEVICE_DIR/subprojects/packagefiles/accelerator-$ours-0-rs/meson.build" "$stage/$ours/"
  done

  mkdir -p "$crate" "$tree/subprojects/packagefiles"
  mirror_files "$stage/crate/" "$crate/"
  for ours in "${OUR_CRATES[@]}"; do
    mirror_files "$stage/$ours/" "$tree/subprojects/accelerator-$ours-0-rs/"
  done
  rm -rf "$stage"
  rsync -r --checksum --no-times "$DEVICE_DIR"/subprojects/packagefiles/ "$tree/subprojects/packagefiles/"
  rsync --checksum --no-times "${wraps[@]}" "$tree/subprojects/"
  # Meson lays packagefiles over a crate only when it unpacks it.
  for wrap in "$tree"/subprojects/*-rs.wrap; do
    directory=$tree/subprojects/$(wrap_value "$wrap" directory)
    files=$tree/subprojects/packagefiles/$(wrap_value "$wrap" patch_directory)
    if [[ -d $directory && -d $files ]]; then
      rsync -r --checksum --no-times "$files/" "$directory/"
    fi
  done
  place_crates "$tree/subprojects" "${wraps[@]}"
}

# A tree with the series: kept between runs, and changed in place where it differs.
prepare_flavour_tree() {
  local flavour=$1 tree=$2 which=() key part
  [[ $flavour != baseline ]] || which=(--baseline)
  key=$(content_key "tree: $TREE" "$REPO_DIR/patches/$RELEASE" "$DEVICE_DIR/subprojects")
  if [[ ! -f $tree/.accelerator-pcie || $(<"$tree/.accelerator-pcie") != "$key" ]]; then
    say "applying patches/$RELEASE to QEMU $VERSION ($flavour)"
    part=$tree.part
    rm -rf "$part"
    mkdir -p "$part"
    cp -a --reflink=auto "$TREE/." "$part/"
    "$REPO_DIR/scripts/patches.sh" apply --quiet "${which[@]}" "$RELEASE" "$part" >>"$LOG_FILE" 2>&1 ||
      die "patches/$RELEASE does not apply to QEMU $VERSION; the whole log is $LOG_FILE"
    if [[ -d $tree ]]; then
      # Meson has unpacked the crates into the tree: they stay unless a wrap changed.
      mirror_files --exclude="/$CRATE_DIR" --exclude='/subprojects/*-*.*/' \
        --exclude='/subprojects/accelerator-*-0-rs' "$part/" "$tree/"
      rm -rf "$part"
    else
      mv "$part" "$tree"
    fi
    [[ $flavour == baseline ]] || place_device "$tree"
    printf '%s\n' "$key" >"$tree/.accelerator-pcie"
  elif [[ $flavour != baseline ]]; then
    place_device "$tree"
  fi
}

configure_flags() {
  local kvm=--enable-kvm
  # Guests of another processor are not virtualised; configure refuses to.
  [[ $TARGET != aarch64 || $(uname -m) == aarch64 ]] || kvm=--disable-kvm
  FLAGS=("--target-list=$TARGET-softmmu" --disable-docs --disable-werror --disable-install-blobs
    --enable-tcg "$kvm" --disable-user --disable-tools --disable-guest-agent)
  if [[ $FULL == yes ]]; then
    FLAGS+=(--enable-vnc --enable-sdl --enable-gtk --enable-curses --enable-spice --enable-slirp
      --enable-pixman --enable-opengl --enable-usb-redir --enable-libusb --enable-pa
      --enable-alsa --enable-virtfs --enable-linux-aio --enable-linux-io-uring)
  else
    FLAGS+=(--without-default-features)
  fi
  # Without it there is no -sandbox, which managers of VMs use.
  if [[ $TARGET == aarch64 ]]; then
    FLAGS+=(--enable-fdt=system --enable-seccomp "--with-devices-aarch64=$DEVICES")
  else
    FLAGS+=(--disable-fdt --enable-seccomp)
  fi
  if [[ $DEBUG == yes ]]; then
    FLAGS+=(--enable-debug)
  else
    FLAGS+=(--disable-debug-info)
  fi
  [[ $ASAN == no ]] || FLAGS+=(--enable-asan -Doptimization=1)
}

# Of the machines that a release can leave out only virt is of use here; the devices of all the
# others take minutes.
DEVICES=accelerator-pcie
place_devices() {
  local devices=$1/configs/devices text
  text=$(sed -nE 's/^#? *(CONFIG_[A-Z0-9_]+=n)$/\1/p' "$devices"/{arm,aarch64}-softmmu/default.mak |
    grep -vE '_(VIRT|DEVICES)=n$')
  [[ $text == *CONFIG_RASPI=n* ]] || die "configs/devices of QEMU $VERSION does not list machines as it is known here"
  printf '%s\n' "$text" >"$devices/aarch64-softmmu/$DEVICES.mak"
}

# Runs ninja and shows how far it is: on a terminal in one line, else every tenth.
run_ninja() {
  local build=$1 line shown=-1 percent status=0
  shift
  printf '\n== ninja %s\n' "$*" >>"$LOG_FILE"
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$LOG_FILE"
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] && ((BASH_REMATCH[2] > 20)); then
      percent=$((BASH_REMATCH[1] * 100 / BASH_REMATCH[2]))
      if [[ -t 1 ]]; then
        printf '\r[%s] compiling: %3d %% (%s of %s)' "$SCRIPT_NAME" "$percent" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
      elif ((percent / 10 > shown / 10 || shown < 0)); then
        say "compiling: $percent % (${BASH_REMATCH[1]} of ${BASH_REMATCH[2]})"
      fi
      shown=$percent
    fi
  done < <(NINJA_STATUS='[%f/%t] ' ninja -C "$build" -j "$JOBS" "$@" 2>&1 </dev/null || printf '== ninja failed\n')
  [[ -t 1 ]] && ((shown >= 0)) && printf '\n'
  tail -n 1 "$LOG_FILE" | grep -q '^== ninja failed$' && status=1
  # What compilers said of files of ours, or when they failed, without the commands.
  sed -e '1,/^== ninja /d' -e '/^== ninja failed$/d' "$LOG_FILE" |
    awk -v failed="$status" '/^\[[0-9]+\/[0-9]+\]/ {on = !failed && /accelerator_pcie/; next}
      failed && /^FAILED: / {on = 1; print; getline; next} on' |
    sed "s,[^ ]*libaccelerator_pcie.rlib.p/structured/,qemu-rust-device/src/," | head -n 200 >&2
  ((status == 0)) || die "QEMU $VERSION does not compile; the whole log is $LOG_FILE"
}

compile() {
  local flavour=$1 source=$2 build=$3 flags=("${FLAGS[@]}") stamp
  [[ $flavour == baseline ]] && flags+=(--disable-rust) || flags+=(--enable-rust)
  stamp=$(content_key "source: $source" "${flags[@]}" "$TOOLCHAIN")
  if [[ ! -f $build/build.ninja || ! -f $build/.accelerator-pcie || $(<"$build/.accelerator-pcie") != "$stamp" ]]; then
    say "configuring QEMU $VERSION ($flavour)"
    rm -rf "$build"
    mkdir -p "$build"
    [[ $TARGET != aarch64 ]] || place_devices "$source"
    (cd "$build" && BINDGEN=$BINDGEN run_logged "configure" "$source/configure" "${flags[@]}")
    printf '%s\n' "$stamp" >"$build/.accelerator-pcie"
  fi
  if [[ $flavour == patched ]]; then
    link_trees "$source" "$build"
  fi
  [[ $CONFIGURE_ONLY == no ]] || return 0
  say "compiling QEMU $VERSION ($flavour)"
  run_ninja "$build" "$EMULATOR"
  [[ $TARGET != x86_64 || -f $source/pc-bios/kvmvapic.bin ]] || compile_option_roms "$source" "$build/option-roms"
}

# QEMU's configure would have these compiled only where there is a 32-bit libgcc,
# which they do not use.
compile_option_roms() {
  local source=$1 build=$2
  mkdir -p "$build"
  cp "$source/pc-bios/optionrom/Makefile" "$build/"
  printf '%s=%s\n' TOPSRC_DIR "$source" CC cc OBJCOPY objcopy PYTHON python3 EXTRA_CFLAGS -m32 \
    >"$build/config.mak"
  run_logged "option ROMs" make -C "$build" all
}

# Firmware that QEMU's source may lack: Debian's packages, unpacked into the cache.
debian_firmware() {
  local store=$CACHE/firmware package packages
  data_list debian.firmware packages
  if [[ ! -d $store ]]; then
    have apt-get || die "this QEMU source has no firmware, and there is no apt-get to fetch Debian's"
    say "fetching firmware: ${DATA[debian.firmware]//$'\n'/, }"
    rm -rf "$store.part"
    mkdir -p "$store.part"
    (
      cd "$store.part"
      # An image may have come without package lists.
      apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >>"$LOG_FILE" 2>&1 ||
        apt_as_root update >>"$LOG_FILE" 2>&1 || true
      run_logged "apt-get download ${packages[*]}" \
        apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}"
    )
    for package in "$store.part"/*.deb; do
      run_logged "dpkg-deb -x" dpkg-deb -x "$package" "$store.part"
    done
    mv "$store.part" "$store"
  fi
  # Releases of Debian and Ubuntu put the ROMs into different folders.
  mapfile -t FIRMWARE < <(find "$store" -path '*/seabios/*.bin' -o -name 'efi-*.rom' -o -name 'pxe-*.rom')
  ((${#FIRMWARE[@]})) || die "Debian's packages ${DATA[debian.firmware]//$'\n'/ and } hold no firmware that is known here"
}

# The patched QEMU has the device, the baseline has not.
check_result() {
  local flavour=$1 qemu=$2 devices
  devices=$(timeout 60 "$qemu" -device help 2>>"$LOG_FILE") ||
    die "the QEMU that was built does not run: $qemu -device help"
  case $flavour:$devices in
    baseline:*'name "accelerator-pcie"'*) die "$qemu has the device accelerator-pcie, but is the baseline" ;;
    baseline:* | *:*'name "accelerator-pcie"'*) ;;
    *) die "$qemu has no device accelerator-pcie" ;;
  esac
}

install_result() {
  local flavour=$1 source=$2 build=$3 result=$4 part=$4.part data file
  local firmware='that of QEMU' from_source=(vgabios*.bin efi-*.rom)
  local needed=(efi-e1000e.rom efi-virtio.rom)
  if [[ $TARGET == x86_64 ]]; then
    from_source+=(bios-256k.bin bios.bin bios-microvm.bin qboot.rom kvmvapic.bin linuxboot.bin
      linuxboot_dma.bin multiboot.bin multiboot_dma.bin pvh.bin)
    needed+=(bios-256k.bin kvmvapic.bin linuxboot_dma.bin vgabios-stdvga.bin)
  fi
  rm -rf "$part"
  data=$part/share/qemu
  mkdir -p "$part/bin" "$data/keymaps"
  cp "$build/$EMULATOR" "$part/bin/"
  if [[ ! -f $source/pc-bios/efi-virtio.rom ]]; then
    debian_firmware
    cp "${FIRMWARE[@]}" "$data/"
    firmware=$(for file in "$CACHE"/firmware/*.deb; do
      # shellcheck disable=SC2016 # dpkg-deb expands the fields
      dpkg-deb --show --showformat '${source:Package} ${source:Version} ' "$file"
    done)
  fi
  for file in "${from_source[@]}"; do
    # shellcheck disable=SC2086 # patterns on purpose
    cp "$source"/pc-bios/$file "$data/" 2>/dev/null || true
  done
  if [[ -d $build/option-roms ]]; then
    cp "$build"/option-roms/*.bin "$data/"
  fi
  find "$source/pc-bios/keymaps" -type f -not -name meson.build -exec cp -t "$data/keymaps" {} +
  for file in "${needed[@]}"; do
    [[ -f $data/$file ]] || die "firmware $file is neither in QEMU's source nor in Debian's packages"
  done
  # For those who pass it on: whose source it is made of.
  printf '%s\n' "version=$VERSION" "from=$SOURCE_TEXT" "sha256=$SOURCE_ID" \
    "series=patches/$RELEASE" "firmware=$firmware" >"$part/source"
  check_result "$flavour" "$part/bin/$EMULATOR"
  rm -rf "$result"
  mv "$part" "$result"
}

# Keeps the last eight results of a flavour, any that this working tree uses, and
# what was used to build within the last month.
prune_cache() {
  local flavour=$1 used old
  used=$(find "$REPO_DIR/build/qemu" -maxdepth 2 -type l -exec readlink {} + 2>/dev/null || true)
  find "$CACHE/qemu" -maxdepth 1 -type d -name "$flavour-*-????????????????" -printf '%T@ %p\n' |
    sort -rn | tail -n +9 | while read -r _ old; do
    grep -qxF "$old" <<<"$used" || rm -rf "$old"
  done
  find "$CACHE/qemu" -maxdepth 1 -type d \( -name 'tree-*' -o -name 'work-*' \) -mtime +30 \
    -exec rm -rf {} +
}

link() {
  mkdir -p "$(dirname "$2")"
  ln -sfn "$1" "$2"
}

# Cargo's build of the device looks here for a QEMU.
link_trees() {
  local dir
  for dir in "build/qemu" "build/qemu/$VERSION"; do
    link "$1" "$REPO_DIR/$dir/source-tree"
    link "$2" "$REPO_DIR/$dir/build-tree"
  done
}

# Sets RESULT, where the QEMU made of what is there now belongs.
find_result() {
  local flavour=$1 ours inputs=("$RESULT_FORMAT" "$SOURCE_ID" "${FLAGS[*]}" "$TOOLCHAIN" "$REPO_DIR/patches/$RELEASE")
  if [[ $flavour != baseline ]]; then
    inputs+=("$DEVICE_DIR")
    for ours in "${OUR_CRATES[@]}"; do
      inputs+=("$REPO_DIR/$ours/src")
    done
  fi
  RESULT=$CACHE/qemu/$flavour-$VERSION-$(content_key "${inputs[@]}")
  [[ -x $RESULT/bin/$EMULATOR && $CONFIGURE_ONLY == no ]]
}

build_flavour() {
  local flavour=$1 work source dir
  work=$CACHE/qemu/work-$flavour-$VERSION-$(content_key "$SOURCE_ID" "${FLAGS[*]}" "$TOOLCHAIN" | cut -c1-8)
  source=$work/source

  if ! find_result "$flavour"; then
    lock_cache qemu
    # Another process may have built it meanwhile, and our files may have changed.
    if ! find_result "$flavour"; then
      mkdir -p "$work"
      prepare_flavour_tree "$flavour" "$source"
      compile "$flavour" "$source" "$work/build"
      [[ $CONFIGURE_ONLY == no ]] || return 0
      install_result "$flavour" "$source" "$work/build" "$RESULT"
      touch "$TREE" "$work"
      prune_cache "$flavour"
    fi
    unlock_cache
  else
    say "QEMU $VERSION ($flavour) is built already"
    # What is in use is not pruned.
    touch -c "$RESULT" "$TREE" "$work"
  fi
  for dir in "build/qemu" "build/qemu/$VERSION"; do
    link "$RESULT" "$REPO_DIR/$dir/$flavour"
  done
  if [[ $flavour == patched && -d $work/build ]]; then
    link_trees "$source" "$work/build"
  fi
}

print_paths() {
  local flavour program found=no
  for flavour in patched baseline asan aarch64; do
    program=bin/qemu-system-x86_64
    [[ $flavour != aarch64 ]] || program=bin/qemu-system-aarch64
    if [[ -x $REPO_DIR/build/qemu/$flavour/$program ]]; then
      found=yes
      say "$flavour: build/qemu/$flavour/$program ($("$REPO_DIR/build/qemu/$flavour/$program" --version | head -n 1))"
    fi
  done
  [[ $found == yes ]] || die "nothing is built yet; run scripts/build-qemus.sh"
}

main() {
  parse_arguments "$@"
  if [[ $PRINT_PATHS == yes ]]; then
    print_paths
    return 0
  fi
  find_packages
  if [[ $LIST_PACKAGES == yes ]]; then
    # Without it cargo builds one.
    have bindgen || ! apt-cache show bindgen >/dev/null 2>&1 || PACKAGES+=(bindgen)
    printf '%s\n' "${PACKAGES[@]}"
    return 0
  fi
  make_folder "$REPO_DIR/build/qemu"
  CACHE=$(cache_dir)
  mkdir -p "$CACHE/qemu" "$CACHE/log"
  LOG_FILE=$CACHE/log/build-qemus-$(date +%Y%m%d-%H%M%S)-$$.log
  : >"$LOG_FILE"
  find "$CACHE/log" -name 'build-qemus-*.log' -mtime +14 -delete
  find "$CACHE" -maxdepth 1 -name 'tmp.*' -mtime +1 -exec rm -rf {} +

  need_packages "${PACKAGES[@]}"
  lock_cache qemu-source
  find_source
  prepare_tree
  unlock_cache
  check_rust
  find_bindgen
  configure_flags
  TOOLCHAIN="$(cc --version | head -n 1); $(rustc --version); $("$BINDGEN" --version); $(
    pkg-config --modversion glib-2.0 libzmq | paste -sd' ')"
  say "QEMU $VERSION from $SOURCE_TEXT, series patches/$RELEASE, log $LOG_FILE"

  local flavour
  for flavour in "${FLAVOURS[@]}"; do
    build_flavour "$flavour"
  done
  if [[ $CONFIGURE_ONLY == yes ]]; then
    say "configured, as asked; build trees are in $CACHE/qemu"
    return 0
  fi
  print_paths
  [[ ${FLAVOURS[*]} == *patched* ]] || return 0
  say "start it with: build/qemu/patched/bin/qemu-system-x86_64 -machine q35 -device accelerator-pcie ..."
  say "its properties: build/qemu/patched/bin/qemu-system-x86_64 -device accelerator-pcie,help"
}

main "$@"
