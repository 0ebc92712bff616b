#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes the guest that the demo and the tests boot: the distribution's own kernel
# and a small initramfs with our drivers and programs.
set -euo pipefail
SCRIPT_NAME='build-guest.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

# What a guest may have besides our card: other network cards, vfio-pci, and the port of
# accel-agent.
KERNEL_MODULES=(vfio-pci vfio_iommu_type1 virtio_pci virtio_net virtio_console e1000)

usage() {
  cat <<EOF
usage: scripts/build-guest.sh [option...]

Downloads the distribution's kernel, its headers, busybox, lspci and ethtool
(nothing is installed), builds guest/driver and guest/tools, and makes

  build/guest/vmlinuz
  build/guest/initramfs.cpio.gz
  build/guest/modules/        the drivers in it, with symbols, for a debugger

Your own driver and programs, for scripts/demo.sh --shell and --run:
  --module DIR      an out-of-tree module: a folder with a Kbuild file or Makefile
                    and all its sources. It is built in a copy; its .ko files go
                    to /modules/user in the guest and are loaded from there
  --program FILE    a static program, or a script for sh; goes to /bin
  --run FILE        a shell script that the guest runs at the end of booting when
                    it is started with accel.run=user
  Each may be given more than once, but for --run.

The kernel's own modules ${KERNEL_MODULES[*]}
are in it as well, for modprobe.

  --arch ARCH       x86_64 (default) or aarch64: a guest for scripts/demo.sh --arch
                    aarch64, of Debian's packages for arm64, with modules and programs
                    that are cross-compiled here; into build/guest-aarch64
  --kernel PACKAGE  kernel image package, for example linux-image-6.1.0-56-amd64
                    (default: what linux-image-amd64 or linux-image-generic needs; for
                    aarch64 what linux-image-arm64 needs)
  --out DIR         where the two files go (default: build/guest)
  --list-packages   only name the Debian packages that this needs
  --help            this text

The cache is \$ACCELERATOR_CACHE, or accelerator-pcie in \$XDG_CACHE_HOME or ~/.cache.
EOF
}

KERNEL='' OUT='' RUN='' LIST_PACKAGES=no ARCH=x86_64
MODULES=() PROGRAMS=() LIBRARY_FILES=()
# shellcheck disable=SC2016 # dpkg expands the fields
SOURCE_FORMAT='${source:Package} ${source:Version}\n'
# shellcheck disable=SC2329 # called by name
took() {
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
    --out) OUT=$(realpath -m "$2") ;;
  esac
}
take_options --module=@took --program=@took --run=@took --out=@took --kernel=KERNEL --arch=ARCH \
  --list-packages:LIST_PACKAGES -- "$@"

CACHE=$(cache_dir)/guest
mkdir -p "$(cache_dir)/log"
LOG_FILE=$(cache_dir)/log/build-guest-$(date +%Y%m%d-%H%M%S)-$$.log

have apt-get || die "the guest is made of Debian or Ubuntu packages: apt-get is missing"

# What the architectures differ in: where packages are kept, meta packages of the kernel, what the
# compiler's name begins with, what the kernel's makefiles want to know of it, which packages have
# it, and the machine in the head of an ELF file.
case $ARCH in
  x86_64)
    OUT=${OUT:-$REPO_DIR/build/guest}
    STORE=$CACHE/packages
    KERNELS=(linux-image-amd64 linux-image-generic)
    CROSS='' CROSS_MAKE=() COMPILER_PACKAGES=(gcc libc6-dev) MACHINE=3e00
    ;;
  aarch64)
    OUT=${OUT:-$REPO_DIR/build/guest-aarch64}
    STORE=$CACHE/packages-$ARCH
    KERNELS=(linux-image-arm64)
    CROSS=aarch64-linux-gnu- CROSS_MAKE=(ARCH=arm64 "CROSS_COMPILE=$CROSS")
    COMPILER_PACKAGES=(gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross) MACHINE=b700
    ;;
  *) die "--arch is $ARCH, expected x86_64 or aarch64" ;;
esac
mkdir -p "$STORE"
# Programs of the guest; whoever has set CC means this machine's.
COMPILER=${CROSS}gcc
[[ $ARCH != x86_64 ]] || COMPILER=${CC:-gcc}

# ---- what to take ----------------------------------------------------------------

# Packages for another architecture than this machine's: apt with package lists and a source list
# of our own, which asks the mirrors of Debian that apt has here. The machine's are left alone.
foreign_apt() {
  local dir=$CACHE/apt-$ARCH keyring=/usr/share/keyrings/debian-archive-keyring.gpg sources
  # shellcheck disable=SC2016 # apt expands the fields
  sources=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' \
    'Created-By: Packages' 2>/dev/null |
    awk -v keyring="$keyring" '$1 == "Debian" && $4 == "main" && !seen[$2 $3]++ {
      printf "deb [arch=arm64,amd64 signed-by=%s] %s %s main\n", keyring, $2, $3 }')
  [[ -n $sources ]] || die "a guest for $ARCH is made of Debian's packages, and apt here knows no mirror of Debian"
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  printf '%s\n' "$sources" >"$dir/sources.list"
  : >"$dir/status"
  cat >"$dir/apt.conf" <<EOF
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
EOF
  FOREIGN=$dir/apt.conf
}

# apt's programs as they are to be asked here.
FOREIGN=''
guest_apt() {
  if [[ -n $FOREIGN ]]; then
    local tool=$1
    shift
    # Images of containers have apt keep no index, with which each question reads all the lists.
    APT_CONFIG=$FOREIGN "$tool" -o Dir::Cache::pkgcache=pkgcache.bin \
      -o Dir::Cache::srcpkgcache=srcpkgcache.bin "$@"
  else
    "$@"
  fi
}

# Packages that a package depends on, by name.
depends() {
  guest_apt apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances "$@" 2>/dev/null | sed -n 's/^ *|\{0,1\}Depends: //p'
}

candidate() {
  guest_apt apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p'
}

# Fills VERSION, the candidate of each of the packages.
declare -A VERSION=()
find_versions() {
  local line name=''
  while IFS= read -r line; do
    case $line in
      [!\ ]*:) name=${line%:} ;;
      *Candidate:*) VERSION[$name]=${line#*Candidate: } ;;
    esac
  done < <(guest_apt apt-cache policy "$@" 2>/dev/null)
  for name in "$@"; do
    [[ ${VERSION[$name]:-(none)} != '(none)' ]] ||
      die "the package $name is not to be had from the sources of apt"
  done
}

# The file of a package in the cache, as apt-get download names it.
package_file() {
  # A name may have the architecture with it, where that is not the guest's.
  compgen -G "$STORE/${1%:*}_${VERSION[$1]//:/%3a}_*.deb" | head -n 1
}

known() {
  local version
  version=$(candidate "$1")
  [[ -n $version && $version != '(none)' ]]
}

need_lists() {
  if [[ -n $FOREIGN ]]; then
    say "reading Debian's package lists for $ARCH"
    run_logged "apt-get update" guest_apt apt-get -q update
    known busybox-static || die "the package busybox-static is not to be had for $ARCH"
    return 0
  fi
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
  for meta in "${KERNELS[@]}"; do
    name=$(depends "$meta" | grep -E '^linux-image-[0-9]' | head -n 1 || true)
    if [[ -n $name ]] && known "$name"; then
      KERNEL=$name
      return
    fi
  done
  die "no kernel package found (looked for ${KERNELS[*]})"
}

# These packages, and the libraries that they need and those that these need.
with_libraries() {
  printf '%s\n' "$@"
  depends --recurse "$@" | sort -u | grep -E '^(lib[^:]*|zlib1g)$' | grep -vxF "$(printf '%s\n' "$@")"
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
      # The kernel's build programs run here.
      [[ $ARCH == x86_64 || $next != linux-kbuild-* ]] || next=${next%:*}:amd64
      [[ $next =~ ^linux-(headers|kbuild)- ]] && todo+=("$next")
    done < <(depends "$name")
  done
  printf '%s\n' "${done[@]}"
}

# apt verifies what it downloads against the signed lists.
fetch() {
  local name
  for name in "$@"; do
    [[ -z $(package_file "$name") ]] || continue
    say "downloading $name ${VERSION[$name]}"
    (
      cd "$STORE"
      run_logged "download of $name" guest_apt apt-get -q -o APT::Sandbox::User=root \
        download "$name=${VERSION[$name]}"
    )
    [[ -n $(package_file "$name") ]] ||
      die "the package $name ${VERSION[$name]} did not arrive in $STORE"
  done
}

# ---- the parts -------------------------------------------------------------------

# Takes the modules of KERNEL_MODULES, and what they need, from a tree of all modules.
# They are stored uncompressed: not every busybox can read the others.
pick_modules() {
  local all=$1 to=$ROOT/lib/modules/$RELEASE todo=("${KERNEL_MODULES[@]}") seen=' ' name file plain
  local -A path=()
  while IFS= read -r file; do
    name=${file##*/}
    name=${name%%.ko*}
    path[${name//-/_}]=$file
  done < <(find "$all" -name '*.ko' -o -name '*.ko.[gxz]*')
  mkdir -p "$to"
  for file in modules.builtin modules.builtin.modinfo modules.order; do
    find "$all" -name "$file" -exec cp {} "$to/" \;
  done
  while ((${#todo[@]})); do
    name=${todo[0]//-/_}
    todo=("${todo[@]:1}")
    [[ $seen != *" $name "* ]] || continue
    seen+="$name "
    file=${path[$name]:-}
    if [[ -z $file ]]; then
      sed 's|.*/||; s|-|_|g' "$to/modules.builtin" 2>/dev/null | grep -qx "$name.ko" ||
        warn "kernel $RELEASE has no module $name: the guest goes without it"
      continue
    fi
    plain=$to/kernel/${file##*/kernel/}
    plain=${plain%.ko*}.ko
    mkdir -p "${plain%/*}"
    case $file in
      *.ko) cp "$file" "$plain" ;;
      *.xz) xz -dc "$file" >"$plain" ;;
      *.gz) gzip -dc "$file" >"$plain" ;;
      *.zst) zstd -dcq "$file" >"$plain" ;;
      *) die "the module $file is compressed in a way that is not known here" ;;
    esac
    mapfile -t -O "${#todo[@]}" todo < <(modinfo -F depends "$plain" | tr , '\n' | grep . || true)
  done
  run_logged "depmod" depmod -b "$ROOT" "$RELEASE"
}

# Kernel, headers and programs of the distribution, unpacked once for each set of
# versions. Of the kernel's packages the kernel itself is wanted, and a few modules.
distribution() {
  local name file
  ROOT=$CACHE/distribution-$(content_key "$1" "${KERNEL_MODULES[*]}" 5 "${CROSS_MAKE[@]}")
  [[ -f $ROOT/complete ]] && return
  fetch "${PACKAGES[@]}"
  say "unpacking kernel $RELEASE"
  rm -rf "$ROOT"
  mkdir -p "$ROOT"
  for name in "${PACKAGES[@]}"; do
    file=$(package_file "$name")
    dpkg-deb --show --showformat "$SOURCE_FORMAT" "$file" >>"$ROOT/sources"
    if [[ $name == "$KERNEL" ]]; then
      dpkg-deb --fsys-tarfile "$file" | tar -x -C "$ROOT" --wildcards './boot/vmlinuz-*' ||
        die "the package $name ${VERSION[$name]} holds no boot/vmlinuz-*"
    fi
    if [[ $name == "$KERNEL" || $name == linux-modules-* ]]; then
      # The distribution may keep modules in a package apart from the kernel.
      mkdir -p "$ROOT/all"
      dpkg-deb --fsys-tarfile "$file" | tar -x -C "$ROOT/all" --wildcards '*lib/modules/*' || true
    else
      run_logged "unpacking $name" dpkg-deb -x "$file" "$ROOT"
    fi
  done
  [[ -f $ROOT/usr/src/linux-headers-$RELEASE/Makefile ]] ||
    die "the packages of kernel $RELEASE hold no usr/src/linux-headers-$RELEASE/Makefile"
  pick_modules "$ROOT/all"
  rm -rf "$ROOT/all"
  # The headers refer to each other by the place that they would be installed at.
  while read -r file; do
    sed -i "s|/usr/src/linux-headers|$ROOT/usr/src/linux-headers|g" "$file"
  done < <(grep -lsF /usr/src/linux-headers "$ROOT/usr/src/linux-headers-$RELEASE"/{,.}[!.]* || true)
  touch "$ROOT/complete"
}

# A module is built by the major version of GCC that built the kernel: another one
# may not know the kernel's options. Sets KERNEL_CC.
find_compiler() {
  local want package
  want=$(sed -n 's/^CONFIG_GCC_VERSION=\([0-9]*\)[0-9]\{4\}$/\1/p' \
    "$ROOT/usr/src/linux-headers-$RELEASE/.config")
  KERNEL_CC=$COMPILER
  [[ $COMPILER == "${CROSS}gcc" && -n $want ]] || return 0
  [[ $("$COMPILER" -dumpversion | cut -d. -f1) != "$want" ]] || return 0
  package=gcc-$want
  [[ -z $CROSS ]] || package+=-${CROSS%-}
  if ! have "${CROSS}gcc-$want"; then
    # A package of this machine's, whatever the guest is.
    if ! FOREIGN='' known "$package"; then
      warn "kernel $RELEASE was built by gcc $want, which is not to be had; taking $("$COMPILER" -dumpversion)"
      return 0
    fi
    need_packages "$package"
  fi
  KERNEL_CC=${CROSS}gcc-$want
}

# Builds the module in a folder, which is a copy already, and takes its .ko files.
build_module() {
  local source=$1 work=$2 to=$3
  run_logged "kernel module in $source" make -C "$ROOT/usr/src/linux-headers-$RELEASE" \
    M="$work" "${CROSS_MAKE[@]}" CC="$KERNEL_CC" HOSTCC="${KERNEL_CC#"$CROSS"}" -j "$(nproc)" modules
  local found=("$work"/*.ko)
  [[ -f ${found[0]} ]] || die "$source made no .ko file; see $LOG_FILE"
  install -m 644 "${found[@]}" "$to/"
}

# The source packages of the libraries that are this machine's.
library_sources() {
  local packages=()
  ((${#LIBRARY_FILES[@]})) || return 0
  mapfile -t packages < <(owners_of "${LIBRARY_FILES[@]##*/}")
  dpkg-query --show --showformat "$SOURCE_FORMAT" "${packages[@]}"
}

# What the program or library needs of another architecture's libraries, from its packages.
add_foreign_libraries() {
  local program=$1 root=$2 name library
  while IFS= read -r name; do
    [[ ! -e $root/lib/${name##*/} ]] || continue
    library=$(find -L "$ROOT/lib" "$ROOT/usr/lib" -name "${name##*/}" -print -quit 2>/dev/null)
    [[ -n $library ]] || die "${program##*/} needs ${name##*/}, which none of the packages for $ARCH holds"
    install -D -m 755 "$(realpath "$library")" "$root/lib/${name##*/}"
    add_foreign_libraries "$library" "$root"
  done < <(LC_ALL=C readelf --wide --program-headers --dynamic "$program" |
    sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p; s/.*program interpreter: (.*)\]/\1/p')
}

# Copies a program of the distribution with the libraries that it needs.
add_dynamic() {
  local program=$1 to=$2 root=$3 path line library
  install -D -m 755 "$program" "$root$to"
  if [[ $ARCH != x86_64 ]]; then
    add_foreign_libraries "$program" "$root"
    return 0
  fi
  path=$(find "$ROOT/usr/lib" "$ROOT/lib" -maxdepth 1 -type d -name '*-linux-gnu' 2>/dev/null |
    paste -sd:)
  while IFS= read -r line; do
    case $line in
      *' => not found'*) die "${program##*/} needs a library that is not installed: ${line%% =>*}" ;;
      *' => /'*)
        library=${line#* => }
        library=${library% (*}
        install -D -m 755 "$(realpath "$library")" "$root/lib/${library##*/}"
        LIBRARY_FILES+=("$library")
        ;;
      *'/ld-'*)
        # The program names its loader by the full path.
        library=${line%% (*}
        library=${library//[[:space:]]/}
        install -D -m 755 "$(realpath "$library")" "$root$library"
        LIBRARY_FILES+=("$library")
        ;;
    esac
  done < <(LD_LIBRARY_PATH=$path ldd "$program")
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
  if [[ $ARCH == x86_64 ]]; then
    for program in $("$root/bin/busybox" --list); do
      [[ -e $root/bin/$program ]] || ln -s busybox "$root/bin/$program"
    done
  else
    # It does not run here; init has it make its names.
    ln -s busybox "$root/bin/sh"
  fi
  add_dynamic "$(first_file "$ROOT"/usr/bin/lspci "$ROOT"/bin/lspci)" /bin/lspci "$root"
  add_dynamic "$(first_file "$ROOT"/usr/bin/setpci "$ROOT"/bin/setpci)" /bin/setpci "$root"
  add_dynamic "$(first_file "$ROOT"/usr/sbin/ethtool "$ROOT"/sbin/ethtool)" /bin/ethtool "$root"
  cp -L "$(first_file "$ROOT"/usr/share/misc/pci.ids)" "$root/usr/share/misc/pci.ids"
  mkdir -p "$root/lib/modules"
  cp -r "$ROOT/lib/modules/$RELEASE" "$root/lib/modules/"

  say "building guest/driver against kernel $RELEASE"
  # The sources share guest/uapi.
  cp -r guest "$WORK/guest"
  build_module guest/driver "$WORK/guest/driver" "$root/modules"
  say "building guest/tools"
  run_logged "guest/tools" make -C "$WORK/guest/tools" OUT="$WORK/tools" CC="$COMPILER"
  for program in "$WORK"/tools/accel-*; do
    [[ -x $program && -f $program ]] && install -m 755 "$program" "$root/bin/"
  done
  for module in "${MODULES[@]}"; do
    mkdir -p "$root/modules/user"
    say "building your module in $module"
    rm -rf "$WORK/user-module"
    cp -r "$module" "$WORK/user-module"
    build_module "$module" "$WORK/user-module" "$root/modules/user"
  done
  install -m 755 guest/symbols.sh "$root/bin/accel-symbols"
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

# Asking apt takes seconds; what it said holds until its lists or sources change.
APT_STATE=$(stat -c '%n %Y' /etc/apt /etc/apt/sources.list* /etc/apt/preferences* \
  /var/lib/apt/lists 2>/dev/null || true)
RESOLVED=$CACHE/resolved-$ARCH-$(content_key "$APT_STATE" "$KERNEL" "$REPO_DIR/scripts/build-guest.sh")
if [[ $LIST_PACKAGES == yes ]]; then
  # What is said on the way is not of the list.
  exec 3>&1 1>&2
fi
if [[ $ARCH != x86_64 ]]; then
  need_packages debian-archive-keyring
  # Of package lists that are our own one process at a time makes use.
  lock_cache guest
  foreign_apt
fi
if [[ ! -f $RESOLVED ]]; then
  need_lists
  find_kernel
  RELEASE=${KERNEL#linux-image-}
  RELEASE=${RELEASE#unsigned-}
  mapfile -t HEADERS < <(header_packages)
  PROGRAM_PACKAGES=(pciutils libpci3 ethtool libmnl0)
  if [[ $ARCH != x86_64 ]]; then
    mapfile -t PROGRAM_PACKAGES < <(with_libraries "${PROGRAM_PACKAGES[@]}")
  fi
  PACKAGES=("$KERNEL" "${HEADERS[@]}" busybox-static pci.ids "${PROGRAM_PACKAGES[@]}")
  ! known "linux-modules-$RELEASE" || PACKAGES+=("linux-modules-$RELEASE")
  find_versions "${PACKAGES[@]}"
  # Libraries of the kernel's build programs.
  LIBRARIES=()
  for package in "${HEADERS[@]}"; do
    mapfile -t -O "${#LIBRARIES[@]}" LIBRARIES < <(depends "$package" | sed 's/:amd64$//' | grep -E '^(lib|zlib|pahole$)' || true)
  done
  rm -f "$CACHE/resolved-$ARCH"-*
  declare -p KERNEL RELEASE PACKAGES VERSION LIBRARIES >"$RESOLVED.$$"
  mv "$RESOLVED.$$" "$RESOLVED"
fi
# shellcheck source=/dev/null
. "$RESOLVED"

# A program of the user's runs where there are no shared libraries.
check_program() {
  local program=$1 head
  head=$(head -c 20 "$program" | od -An -v -tx1 | tr -d ' \n')
  [[ $head != 2321* ]] || return 0
  [[ $head == 7f454c46* ]] || die "the program $program is neither an ELF file nor a script"
  [[ ${head:8:2} == 02 && ${head:36:4} == "$MACHINE" ]] ||
    die "the program $program is not for $ARCH, which the guest is"
  ! readelf --wide --program-headers "$program" | grep -q ' INTERP ' ||
    die "the program $program is linked dynamically, and the guest has no shared libraries: link it with -static"
}

# kmod brings depmod, and the library that lspci needs.
NEEDED=("${COMPILER_PACKAGES[@]}" binutils make cpio kmod xz-utils zstd "${LIBRARIES[@]}")
if [[ $LIST_PACKAGES == yes ]]; then
  printf '%s\n' "${NEEDED[@]}" >&3
  exit 0
fi
need_packages "${NEEDED[@]}"

for program in "${PROGRAMS[@]}"; do
  check_program "$program"
done

lock_cache guest
SOURCES=$(for package in "${PACKAGES[@]}"; do printf '%s=%s ' "$package" "${VERSION[$package]}"; done)
distribution "$SOURCES"
find_compiler
KEY=$(content_key "$ARCH" "$SOURCES" "$REPO_DIR/guest/init" "$REPO_DIR/guest/symbols.sh" "$REPO_DIR/guest/driver" \
  "$REPO_DIR/guest/tools" "$REPO_DIR/guest/uapi" "$REPO_DIR/scripts/build-guest.sh" \
  "$("$KERNEL_CC" --version | head -n 1)" "$("$COMPILER" --version | head -n 1)" \
  "${MODULES[@]}" "${PROGRAMS[@]}" ${RUN:+"$RUN"})
RESULT=$CACHE/result-$KEY
if [[ ! -f $RESULT/complete ]]; then
  WORK=$CACHE/work-$$
  trap 'rm -rf "$WORK"' EXIT
  mkdir -p "$WORK/tools"
  initramfs
  rm -rf "$RESULT"
  mkdir -p "$RESULT"
  cp "$(first_file "$ROOT/boot/vmlinuz-$RELEASE")" "$RESULT/vmlinuz"
  mv "$WORK/initramfs.cpio.gz" "$RESULT/"
  mkdir "$RESULT/modules"
  find "$WORK/root/modules" -name '*.ko' -exec cp {} "$RESULT/modules/" \;
  printf '%s\n' "$RELEASE" >"$RESULT/release"
  # For those who pass the guest on: which source packages it is made of.
  { cat "$ROOT/sources" && library_sources; } | LC_ALL=C sort -u >"$RESULT/sources"
  touch "$RESULT/complete"
fi
make_folder "$OUT"
for file in vmlinuz initramfs.cpio.gz modules release sources; do
  ln -sfn "$RESULT/$file" "$OUT/$file"
done
say "kernel $RELEASE: $OUT/vmlinuz, $OUT/initramfs.cpio.gz ($(($(stat -L -c %s "$OUT/initramfs.cpio.gz") / 1024)) KiB)"
