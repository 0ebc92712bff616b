#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The packages of scripts/package.sh in a fresh, minimal Debian that has none of the build tools.
set -euo pipefail
SCRIPT_NAME=test-package.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

# Releases of Debian, from the oldest on.
RELEASES=(bookworm trixie)
# Seconds that the demo may take.
LIMIT=60
BUILD_TOOLS='^((gcc|g\+\+|cpp|clang)(-[0-9]+)?|make|cmake|ninja-build|binutils|build-essential|rustc|cargo|verilator|git|python3-pip|lib.*-dev)$'

usage() {
  cat <<EOF
usage: scripts/test-package.sh [option...] [PART...]

Makes the packages, and tests them. Needs root, and a mirror of Debian.

  same      they are the same, byte by byte, when they are made again
  wheel     tests of a driver with the wheel and the QEMU of the .deb, without a checkout
  ${RELEASES[0]}, ${RELEASES[1]}
            a minimal Debian of that release: apt installs the .deb in it, accelerator-demo
            passes as an ordinary user in less than $LIMIT s, a record of it has a page and
            is replayed, a script of the Python package runs, nothing is left when the
            package is removed
  image     skopeo reads the OCI image, umoci unpacks it, its demo passes

Without a PART all of them, but for releases of Debian older than this one. With others than
same, the packages of the last run are taken if they are there.

  --qemu DIR  the QEMU in DIR (default: build/qemu/patched, built if missing)
  --help      this text
EOF
}

PACKAGE=(scripts/package.sh) PARTS=()
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "$1 needs a folder"
      PACKAGE+=(--qemu "$2")
      shift
      ;;
    same | wheel | bookworm | trixie | image) PARTS+=("$1") ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
((EUID == 0)) || die "root is needed to make a Debian and to change into it: sudo scripts/test-package.sh"
OUT=$REPO_DIR/build/test-package
if ((${#PARTS[@]} == 0)); then
  # shellcheck source=/dev/null
  CODENAME=$(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
  # What was built here need not run on an older one.
  while [[ ${RELEASES[0]:-$CODENAME} != "$CODENAME" ]]; do RELEASES=("${RELEASES[@]:1}"); done
  ((${#RELEASES[@]})) || die "this is Debian '$CODENAME', which is none of those that the test knows"
  PARTS=(same wheel "${RELEASES[@]}" image)
fi
[[ " ${PARTS[*]} " != *' same '* ]] || rm -rf --one-file-system "$OUT"
need_packages mmdebstrap debian-archive-keyring skopeo umoci
MIRROR=$(debian_mirror)
[[ -n $MIRROR ]] || die "apt here knows no mirror of Debian"

make_folder "$OUT"
LOG_FILE=$OUT/test.log
: >"$LOG_FILE"
ROOTS=$(mktemp -d "$OUT/roots.XXXXXX")
chmod 755 "$ROOTS"
trap 'rm -rf --one-file-system "$ROOTS"' EXIT

# ---- the packages ----------------------------------------------------------------

VERSION=$(scripts/package.sh --print-version)
DEB=$OUT/packages/accelerator-cosim_${VERSION}_$(dpkg --print-architecture).deb
WHEEL=$OUT/packages/accelerator_cosim-$VERSION-py3-none-any.whl
[[ -f $DEB && -f $WHEEL ]] || "${PACKAGE[@]}" --out "$OUT/packages" deb wheel

! dpkg-deb --field "$DEB" Depends Recommends | grep -oE '[a-z0-9][a-z0-9.+-]+' | grep -E "$BUILD_TOOLS" ||
  die "the .deb depends on that, which is a build tool"

part_same() {
  local file
  run_logged 'making the packages again' "${PACKAGE[@]}" --out "$OUT/again" deb wheel
  for file in "$DEB" "$WHEEL"; do
    cmp "$file" "$OUT/again/${file##*/}" || die "${file##*/} is another when it is made again"
  done
  rm -rf "$OUT/again"
  say "${DEB##*/} and ${WHEEL##*/} are the same when they are made again"
}

# With pytest, where there is no checkout: all tests but those that build RTL.
part_wheel() {
  python_env harness
  LOG_FILE=$OUT/test.log
  rm -rf "$OUT/unpacked" "$OUT/wheel" "$OUT/tests"
  dpkg-deb --extract "$DEB" "$OUT/unpacked"
  mkdir "$OUT/tests"
  cp examples/driver-tests/test_sort.py "$OUT/tests/"
  run_logged 'installing the wheel' "$PYTHON_ENV/bin/pip" --disable-pip-version-check install --no-deps \
    --target "$OUT/wheel" "$WHEEL"
  (cd "$OUT/tests" && PYTHONPATH=$OUT/wheel ACCELERATOR_ROOT=$OUT/unpacked/opt/accelerator-cosim \
    run_logged 'tests with the wheel' "$PYTHON_ENV/bin/python" -m pytest -q -p no:cacheprovider \
    --rootdir . --cosim-runs "$OUT/runs" -k 'not whatever_the_width' test_sort.py)
  say "the wheel, with the QEMU of the .deb: $(grep -E '^[0-9]+ passed' "$LOG_FILE" | tail -n 1)"
  rm -rf "$OUT/unpacked" "$OUT/wheel" "$OUT/tests"
}

# ---- in a fresh Debian -----------------------------------------------------------

# inside ROOT COMMAND...: in the Debian, with processes of its own that end with it.
inside() {
  # shellcheck disable=SC2016 # for the shell that is started
  unshare --mount --pid --fork --kill-child sh -euc '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount -t tmpfs tmpfs "$1/dev/shm"
    mount -t devpts -o ptmxmode=666 devpts "$1/dev/pts"
    exec chroot "$@"' sh "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive "${@:2}" </dev/null
}

as_user() { # ROOT COMMAND...
  inside "$1" runuser -u user -- env HOME=/home/user "${@:2}"
}

fresh_debian() { # RELEASE ROOT
  local option options=()
  # What apt was told here, for instance of mirrors that are frozen.
  while IFS= read -r option; do options+=(--aptopt="$option"); done < <(
    apt-config dump | grep -E '^Acquire::(Check-Valid-Until|http::Proxy|https::Proxy) ')
  run_logged "making a minimal Debian $1" mmdebstrap --mode=root --variant=minbase --format=directory \
    "${options[@]}" "$1" "$2" "$MIRROR"
  run_logged 'a user' chroot "$2" useradd --create-home user
}

# For the Python package.
HARNESS="
from accelerator_cosim import Run
with Run(seed=1) as run:
    simulator = run.simulate('sort')
    guest = run.boot(cards=[simulator])
    guest.load_module('accel_sort')
    print(guest.run('accel-sort --blocks 4 --seed 1').stdout)
    guest.shut_down()
    simulator.end()
"

test_release() {
  local release=$1 root=$ROOTS/$1 begin installed passed found
  say "making a minimal Debian $release"
  fresh_debian "$release" "$root"
  # shellcheck disable=SC2016 # dpkg expands the field
  ! inside "$root" dpkg-query --show --showformat '${Package}\n' | grep -E "$BUILD_TOOLS" ||
    die "the minimal Debian $release has build tools"
  cp "$DEB" "$root/tmp/"
  run_logged 'apt-get update' inside "$root" apt-get -q update

  begin=$(clock_us)
  run_logged 'apt install' inside "$root" apt-get -q -y install "/tmp/${DEB##*/}"
  installed=$(clock_us)
  as_user "$root" accelerator-demo --seed 1 >"$OUT/demo-$release.log" 2>&1 ||
    { tail -n 40 "$OUT/demo-$release.log" >&2; die "accelerator-demo failed in Debian $release"; }
  passed=$(clock_us)
  [[ $(tail -n 1 "$OUT/demo-$release.log") == PASS ]] || die "accelerator-demo did not say PASS"
  grep -qE '^ *blocks counted by device +64$' "$OUT/demo-$release.log" || die "accelerator-demo sorted no 64 blocks"
  say "Debian $release: apt install $(seconds_between "$begin" "$installed") s, accelerator-demo $(seconds_between "$installed" "$passed") s, from apt install to PASS $(seconds_between "$begin" "$passed") s"
  ((passed - installed < LIMIT * 1000000)) || die "accelerator-demo took $LIMIT s or more"
  # shellcheck disable=SC2016 # dpkg expands the field
  ! inside "$root" dpkg-query --show --showformat '${Package}\n' | grep -E "$BUILD_TOOLS" ||
    die "the .deb has brought build tools"

  as_user "$root" python3 -c "$HARNESS" >"$OUT/harness-$release.log" 2>&1 ||
    { tail -n 40 "$OUT/harness-$release.log" >&2; die "the Python package failed in Debian $release"; }
  grep -q 'ACCEL result=PASS' "$OUT/harness-$release.log" || die "the Python package sorted nothing"
  # A record of a run, what is made of it, and the run again without QEMU.
  { as_user "$root" accelerator-demo --seed 1 --blocks 4 --record /home/user/record --contents \
      --report /home/user/page.html &&
    as_user "$root" accelerator-trace summary /home/user/record &&
    as_user "$root" accelerator-replay /home/user/record \
      --registers /opt/accelerator-cosim/hdl/examples/sort/registers.toml \
      -- /opt/accelerator-cosim/simulations/sort
  } >"$OUT/record-$release.log" 2>&1 ||
    { tail -n 40 "$OUT/record-$release.log" >&2; die "a record and its tools failed in Debian $release"; }
  grep -q 'plotly.js v' "$root/home/user/page.html" || die "accelerator-demo --report wrote no page"
  as_user "$root" accelerator-qemu-system-x86_64 -device accelerator-pcie,help >"$OUT/device.log" ||
    die "the QEMU of the package has no accelerator-pcie"
  say "Debian $release: a run of the Python package"

  run_logged 'apt purge' inside "$root" apt-get -q -y purge accelerator-cosim
  found=$(find "$root" \( -path "$root/home" -o -path "$root/tmp" -o -path "$root/var" \) -prune \
    -o -iname '*accelerator*' -print)
  [[ -z $found ]] || die "the package leaves behind: $found"
  rm -rf --one-file-system "$root"
}

part_bookworm() {
  test_release bookworm
}

part_trixie() {
  test_release trixie
}

# ---- the image -------------------------------------------------------------------

# Read and unpacked by tools of others, and run as its configuration says.
part_image() {
  local image root=$ROOTS/image command
  "${PACKAGE[@]}" --out "$OUT/packages" oci
  image=${DEB%.deb}.oci.tar
  [[ $(skopeo inspect "oci-archive:$image" --format '{{.Os}} {{.Architecture}} {{len .Layers}}') == \
    "linux $(dpkg --print-architecture) 1" ]] || die "skopeo sees another image in $image"
  run_logged 'skopeo copy' skopeo --insecure-policy copy "oci-archive:$image" "oci:$ROOTS/layout:$VERSION"
  run_logged 'umoci unpack' umoci unpack --image "$ROOTS/layout:$VERSION" "$root"
  command=$(python3 -c 'import json, sys
process = json.load(open(sys.argv[1]))["process"]
print(process["user"]["uid"], *process["args"])' "$root/config.json")
  [[ $command == '1000 accelerator-demo' ]] || die "the image would run '$command'"
  inside "$root/rootfs" runuser -u cosim -- env HOME=/home/cosim accelerator-demo --seed 1 \
    >"$OUT/demo-image.log" 2>&1 || { tail -n 40 "$OUT/demo-image.log" >&2; die "the image's demo failed"; }
  [[ $(tail -n 1 "$OUT/demo-image.log") == PASS ]] || die "the image's demo did not say PASS"
  say "${image##*/}: read by skopeo, unpacked by umoci, its demo passed"
}

for part in "${PARTS[@]}"; do
  "part_$part"
done
