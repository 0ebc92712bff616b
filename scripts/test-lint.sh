#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Python: ruff and mypy, with the settings of python/pyproject.toml.
set -euo pipefail
SCRIPT_NAME='test-lint.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-lint.sh

Runs ruff over every Python file, and mypy over all but cocotb's tests: strictly over the
package, its tests, the examples, the pytest of hdl/ and what has types, else over what goes
without them.
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

need_packages git
# What the test of the page and those with gdb and terminals import is only there.
python_env report
REPORT_PYTHON=$PYTHON_ENV/bin/python
python_env vm
VM_PYTHON=$PYTHON_ENV/bin/python
# So is what runs cocotb.
python_env
HDL_PYTHON=$PYTHON_ENV/bin/python
python_env harness
CACHE=$REPO_DIR/target/test/mypy
make_folder "$CACHE"
mapfile -t FILES < <(git ls-files -- '*.py')
"$PYTHON_ENV/bin/ruff" check --no-cache --config python/pyproject.toml "${FILES[@]}"
mapfile -t FILES < <(git ls-files -- '*.py' ':!hdl')

# check FOLDER ARG...: mypy there, where it looks for what is imported.
check() {
  (cd "$1" && "$PYTHON_ENV/bin/mypy" --config-file "$REPO_DIR/python/pyproject.toml" \
    --cache-dir "$CACHE" "${@:2}")
}
check python src tests ../examples/driver-tests
MYPYPATH=python/src:tests/farm check . tests/farm
# What pytest runs, and not what cocotb does, which is test_*.py and what those import.
MYPYPATH=hdl/tests check . --python-executable "$HDL_PYTHON" hdl/tests/{suite_*,benches,cocotb_run,conftest,run,support}.py \
  hdl/tests/broken/broken_benches.py
# A function without types is looked into all the same, for names, arguments and attributes that are
# not there; not for what None has, since it is not said what can be None.
untyped=(--allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls --allow-any-generics
  --disable-error-code union-attr --disable-error-code var-annotated)
strict=() others=() driven=()
for file in "${FILES[@]}"; do
  case $file in
    python/* | examples/* | tests/report/* | tests/farm/*) ;;
    tests/vm/gdb.py | tests/vm/disk.py) driven+=("$file") ;;
    tests/docs/* | tests/licences/* | scripts/junit.py) strict+=("$file") ;;
    *) others+=("$file") ;;
  esac
done
check . "${strict[@]}"
check . --python-executable "$REPORT_PYTHON" tests/report/page.py
MYPYPATH=scripts:tests/vm check . "${untyped[@]}" "${others[@]}"
# pexpect has no types.
MYPYPATH=scripts:tests/vm check . --python-executable "$VM_PYTHON" "${untyped[@]}" \
  --disable-error-code import-untyped "${driven[@]}"
