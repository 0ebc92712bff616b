#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The harness for driver tests: the package, the plugin for pytest, the examples, the guide.
set -euo pipefail
SCRIPT_NAME='test-python.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/python-env.sh
. "$(dirname "${BASH_SOURCE[0]}")/python-env.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-python.sh [option...]

Builds the package python/ and installs it into a folder of its own, runs its own
tests, and then with it examples/driver-tests and every example of
docs/driver-tests.md, two at a time. scripts/test-lint.sh has ruff and mypy.

  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --kills N    how often a harness with a VM is killed (default 2; 20 is the long form)
  --help       this text
EOF
}

QEMU_DIR=build/qemu/patched KILLS=2
while (($#)); do
  case $1 in
    --qemu | --kills)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --qemu) QEMU_DIR=$2 ;;
        --kills)
          [[ $2 =~ ^[0-9]+$ && $2 -ge 2 ]] || die "--kills is $2, expected a number from 2"
          KILLS=$2
          ;;
      esac
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  shift
done
[[ -x $QEMU_DIR/bin/qemu-system-x86_64 ]] ||
  die "$QEMU_DIR/bin/qemu-system-x86_64 is not there; scripts/build-qemus.sh builds it"
QEMU_DIR=$(realpath "$QEMU_DIR")
# The tests build the agent for this machine.
need_packages gcc libc6-dev make
python_env harness

OUT=$REPO_DIR/target/test/python
make_folder "$OUT"
LOG_FILE=$OUT/build.log
: >"$LOG_FILE"
PYTHON=$PYTHON_ENV/bin/python

BEGIN=$(clock_us)
# Says how long it took to do something.
did() {
  local now
  now=$(clock_us)
  say "$1: $(seconds_between "$BEGIN" "$now") s"
  BEGIN=$now
}

# The package as a user gets it, and not the sources: what is not packed is missed.
rm -rf "$OUT/package" "$OUT/docs"
run_logged 'building the package' "$PYTHON_ENV/bin/pip" --disable-pip-version-check install \
  --no-deps --no-build-isolation --target "$OUT/package" "$REPO_DIR/python"
export PYTHONPATH=$OUT/package PYTHONDONTWRITEBYTECODE=1
did 'package'

# ---- the tests -------------------------------------------------------------------

# The examples of the guide, each a file: tests, and scripts as one test. What they name is the
# card and the driver of the README.
mkdir -p "$OUT/docs/tests" "$OUT/docs/mydriver"
cp -r hdl/examples/regs "$OUT/docs/mycard"
printf '%s\n' "-F $REPO_DIR/hdl/bridge.f" regs.sv regs_top.sv >"$OUT/docs/mycard/mycard.f"
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$OUT/docs/mydriver/mydriver.c"
echo 'obj-m += mydriver.o' >"$OUT/docs/mydriver/Kbuild"
awk -v out="$OUT/docs/tests" '
  /^```python$/ { text = script = ""; on = 1; next }
  /^```$/ && on {
    on = 0
    is_script = text !~ /\ndef test_/
    file = sprintf("%s/test_%s_%d.py", out, is_script ? "script" : "guide", ++n)
    printf "%s", is_script ? "def test_script():\n" script : text >file
    close(file)
  }
  on { text = text $0 "\n"; script = script "    " $0 "\n" }' docs/driver-tests.md
examples=("$OUT"/docs/tests/test_guide_*.py)
if ((${#examples[@]} < 4)) || [[ ! -f $(echo "$OUT"/docs/tests/test_script_*.py) ]]; then
  die "docs/driver-tests.md has ${#examples[@]} examples with tests, expected four or more, and a script"
fi

# What takes longest begins first.
KILLS=$KILLS ACCELERATOR_ROOT=$REPO_DIR "$PYTHON" -m pytest -c python/pyproject.toml --rootdir . \
  -p no:cacheprovider -q -n 2 --dist worksteal --durations=10 \
  --cosim-qemu "$QEMU_DIR" --junit-xml="$OUT/report.xml" \
  python/tests/test_killed.py python/tests examples/driver-tests "$OUT/docs/tests"
did 'tests'
