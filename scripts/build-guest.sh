#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes the guest that the demo and the tests boot: the distribution's own kernel
# and a small initramfs with our drivers and programs.
set -euo pipefail
SCRIPT_NAME='build-guest.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/build-guest.sh [option...]

Downloads the distribution's kernel, its headers, busybox and lspci (nothing is
installed), builds guest/driver and guest/tools, and makes

  build/guest/vmlinuz
  build/guest/initramfs.cpio.gz

Your own driver and programs, for scripts/demo.sh --shell and --run:
  --module DIR      an out-of-tree module (a folder with a Kbuild file or Makefile);
                    its .ko files go to /modules in the guest and are loaded there
  --program FILE    a static program; goes to /bin
  --run FILE        a shell script that the guest runs at the end of booting when
                    it is started with accel.run=user
  Each may be given more than once, but for --run.

  --kernel PACKAGE  kernel image package, for example linux-image-6.1.0-56-amd64
                    (default: what linux-image-amd64 or linux-image-generic needs)
  --out DIR         where the two files go (default: build/guest)
  --help            this text

The cache is \$ACCELERATOR_CACHE, or accelerator-pcie in \$XDG_CACHE_HOME or ~/.cache.
EOF
}

KERNEL='' OUT=$REPO_DIR/build/guest RUN=''
MODULES=() PROGRAMS=()
while (($#)); do
  case $1 in
    --module | --program | --run | --kernel | --out)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --module)
          [[ -f $2/Kbuild || -f $2/Makefile ]] || die "$2 has neither a Kbuild file nor a Makefile"
          MODULES+=("$(realpath "$2")")
          ;;
        --program)
          [[ -f $2 ]] || die "the program $2 is not there"
          PROGRAMS+=("$(realpath "$2")")
          ;;
        --run)
          [[ -f $2 ]] || die "the script $2 is not there"
          RUN=$(realpath "$2")
          ;;
        --kernel) KERNEL=$2 ;;
        --out) OUT=$(realpath -m "$2") ;;
      esac
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done

CACHE=$(cache_dir)/guest
mkdir -p "$CACHE/packages" "$(cache_dir)/log"
LOG_FILE=$(cache_dir)/log/build-guest-$(date +%Y%m%d-%H%M%S)-$$.log

have apt-get || die "the guest is made of Debian or Ubuntu packages: apt-get is missing"

# ---- what to take ----------------------------------------------------------------

# Packages that a package depends on, by name.
depends() {
  apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances "$1" 2>/dev/null | sed -n 's/^ *|\{0,1\}Depends: //p'
}

candidate() {
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p'
}

known() {
  local version
  version=$(candidate "$1")
  [[ -n $version && $version != '(none)' ]]
}

need_lists() {
  known busybox-static && return 0
  say "reading the package lists"
  local as_root=()
  if ((EUID != 0)); then
    if ! { have sudo && sudo -n true 2>/dev/null; }; then
      die "the package lists are empty; type: sudo apt-get update"
    fi
    as_root=(sudo -n)
  fi
  run_logged "apt-get update" "${as_root[@]}" apt-get -q update
  known busybox-static || die "the package busybox-static is not to be had from the sources of apt"
}

find_kernel() {
  local meta name
  if [[ -n $KERNEL ]]; then
    known "$KERNEL" || die "the package $KERNEL is not to be had from the sources of apt"
    return
  fi
  for meta in linux-image-amd64 linux-image-generic; do
    name=$(depends "$meta" | grep -E '^linux-image-[0-9]' | head -n 1 || true)
    if [[ -n $name ]] && known "$name"; then
      KERNEL=$name
      return
    fi
  done
  die "no kernel package found (looked for linux-image-amd64 and linux-image-generic)"
}

# The headers of a kernel are several packages that need each other.
header_packages() {
  local todo=("linux-headers-$RELEASE") done=() name next
  while ((${#todo[@]})); do
    name=${todo[0]}
    todo=("${todo[@]:1}")
    [[ " ${done[*]} " == *" $name "* ]] && continue
    done+=("$name")
    while read -r next; do
      [[ $next =~ ^linux-(headers|kbuild)- ]] && todo+=("$next")
    done < <(depends "$name")
  done
  printf '%s\n' "${done[@]}"
}

fetch() {
  local name version file
  for name in "$@"; do
    version=$(candidate "$name")
    file=${name}_${version//:/%3a}_
    compgen -G "$CACHE/packages/$file*.deb" >/dev/null && continue
    say "downloading $name $version"
    (
      cd "$CACHE/packages"
      run_logged "download of $name" apt-get -q -o APT::Sandbox::User=root download "$name=$version"
    )
  done
}

unpack() {
  local to=$1 name version file
  shift
  for name in "$@"; do
    version=$(candidate "$name")
    file=$(compgen -G "$CACHE/packages/${name}_${version//:/%3a}_*.deb" | head -n 1)
    [[ -n $file ]] || die "the package $name $version did not arrive in $CACHE/packages"
    run_logged "unpacking $name" dpkg-deb -x "$file" "$to"
  done
}

# ---- the parts -------------------------------------------------------------------

# Kernel, headers and programs of the distribution, unpacked once for each set of
# versions.
distribution() {
  local key
  key=$(content_key "$(for p in "${PACKAGES[@]}"; do printf '%s=%s ' "$p" "$(candidate "$p")"; done)" 2)
  ROOT=$CACHE/distribution-$key
  [[ -f $ROOT/complete ]] && return
  fetch "${PACKAGES[@]}"
  say "unpacking kernel $RELEASE"
  rm -rf "$ROOT"
  mkdir -p "$ROOT"
  unpack "$ROOT" "${PACKAGES[@]}"
  # The headers refer to each other by the place that they would be installed at.
  local file
  while read -r file; do
    sed -i "s|/usr/src/linux-headers|$ROOT/usr/src/linux-headers|g" "$file"
  done < <(grep -lrsF /usr/src/linux-headers "$ROOT/usr/src/linux-headers-$RELEASE" \
    --include=Makefile --include='*.mk' || true)
  [[ -f $ROOT/usr/src/linux-headers-$RELEASE/Makefile ]] ||
    die "the packages of kernel $RELEASE hold no usr/src/linux-headers-$RELEASE/Makefile"
  touch "$ROOT/complete"
}

build_module() {
  local source=$1 to=$2 work
  work=$WORK/module-$(basename "$source")
  rm -rf "$work"
  cp -r "$source" "$work"
  run_logged "kernel module in $source" make -C "$ROOT/usr/src/linux-headers-$RELEASE" \
    M="$work" CC="${CC:-gcc}" HOSTCC="${CC:-gcc}" -j "$(nproc)" modules
  local found=("$work"/*.ko)
  [[ -f ${found[0]} ]] || die "$source made no .ko file; see $LOG_FILE"
  cp "${found[@]}" "$to/"
}

# Copies a program of the distribution with the libraries that it needs.
add_dynamic() {
  local program=$1 to=$2 root=$3 library
  install -D -m 755 "$program" "$root$to"
  while read -r library; do
    install -D -m 755 "$(realpath "$library")" "$root/lib/$(basename "$library")"
  done < <(LD_LIBRARY_PATH=$(find "$ROOT/usr/lib" "$ROOT/lib" -maxdepth 2 -type d \
    -name '*-linux-gnu' 2>/dev/null | paste -sd:) ldd "$program" |
    sed -n 's/.* => \(\/[^ ]*\) .*/\1/p')
  # The loader is named by its full path.
  library=$(ldd "$program" | sed -n 's/^[[:space:]]*\(\/lib[^ ]*\/ld-[^ ]*\) .*/\1/p')
  [[ -n $library ]] || die "$program names no program interpreter"
  install -D -m 755 "$(realpath "$library")" "$root$library"
}

first_file() {
  local file
  for file in "$@"; do
    if [[ -e $file ]]; then
      printf '%s\n' "$file"
      return
    fi
  done
  die "none of these is in the packages: $*"
}

initramfs() {
  local root=$WORK/root module program
  rm -rf "$root"
  mkdir -p "$root"/{bin,dev,etc,lib,modules,proc,root,run,sys,tmp,usr/share/misc}
  install -m 755 guest/init "$root/init"
  install -m 755 "$(first_file "$ROOT"/bin/busybox "$ROOT"/usr/bin/busybox)" "$root/bin/busybox"
  for program in $("$root/bin/busybox" --list); do
    [[ -e $root/bin/$program ]] || ln -s busybox "$root/bin/$program"
  done
  add_dynamic "$(first_file "$ROOT"/usr/bin/lspci "$ROOT"/bin/lspci)" /bin/lspci "$root"
  add_dynamic "$(first_file "$ROOT"/usr/bin/setpci "$ROOT"/bin/setpci)" /bin/setpci "$root"
  cp -L "$(first_file "$ROOT"/usr/share/misc/pci.ids)" "$root/usr/share/misc/pci.ids"

  say "building guest/driver against kernel $RELEASE"
  build_module "$REPO_DIR/guest/driver" "$root/modules"
  say "building guest/tools"
  run_logged "guest/tools" make -C guest/tools OUT="$WORK/tools" CC="${CC:-gcc}"
  for program in "$WORK"/tools/accel-*; do
    [[ -x $program && -f $program ]] && install -m 755 "$program" "$root/bin/"
  done
  for module in "${MODULES[@]}"; do
    mkdir -p "$root/modules/user"
    say "building your module in $module"
    build_module "$module" "$root/modules/user"
  done
  for program in "${PROGRAMS[@]}"; do
    install -m 755 "$program" "$root/bin/"
  done
  if [[ -n $RUN ]]; then
    install -m 755 "$RUN" "$root/root/run"
  fi
  (cd "$root" && find . -print0 | LC_ALL=C sort -z |
    cpio --null --create --format=newc --owner=0:0 --reproducible --quiet) |
    gzip -1 -n >"$WORK/initramfs.cpio.gz"
}

# ---- the whole -------------------------------------------------------------------

need_lists
find_kernel
RELEASE=${KERNEL#linux-image-}
RELEASE=${RELEASE#unsigned-}
mapfile -t HEADERS < <(header_packages)
PACKAGES=("$KERNEL" "${HEADERS[@]}" busybox-static pciutils libpci3 pci.ids)
known "linux-modules-$RELEASE" && PACKAGES+=("linux-modules-$RELEASE")

ELF=libelf1
known libelf1t64 && ELF=libelf1t64
need_packages gcc libc6-dev make cpio kmod "$ELF"

lock_cache guest
KEY=$(content_key "$(for p in "${PACKAGES[@]}"; do printf '%s=%s ' "$p" "$(candidate "$p")"; done)" \
  guest scripts/build-guest.sh "$("${CC:-gcc}" --version | head -n 1)" \
  "${MODULES[@]}" "${PROGRAMS[@]}" ${RUN:+"$RUN"})
RESULT=$CACHE/result-$KEY
if [[ ! -f $RESULT/complete ]]; then
  distribution
  WORK=$CACHE/work-$$
  trap 'rm -rf "$WORK"' EXIT
  mkdir -p "$WORK/tools"
  initramfs
  rm -rf "$RESULT"
  mkdir -p "$RESULT"
  cp "$(first_file "$ROOT/boot/vmlinuz-$RELEASE")" "$RESULT/vmlinuz"
  mv "$WORK/initramfs.cpio.gz" "$RESULT/"
  printf '%s\n' "$RELEASE" >"$RESULT/release"
  touch "$RESULT/complete"
fi
mkdir -p "$OUT"
for file in vmlinuz initramfs.cpio.gz release; do
  ln -sfn "$RESULT/$file" "$OUT/$file"
done
say "kernel $RELEASE: $OUT/vmlinuz, $OUT/initramfs.cpio.gz ($(($(stat -L -c %s "$OUT/initramfs.cpio.gz") / 1024)) KiB)"
