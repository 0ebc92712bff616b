#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The main job: a Linux driver in a VM drives RTL in a simulator.
set -euo pipefail
SCRIPT_NAME='demo.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"
# A package has it; in a checkout it is built when it is needed.
TRACE_PACKAGED=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/bin/accelerator-trace
[[ -x $TRACE_PACKAGED ]] || TRACE_PACKAGED=''
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/demo.sh [option...]

Builds what is missing, starts a simulator with an example's RTL and a VM with
its driver, lets the guest do the example's work, prints a summary and ends with
PASS (status 0) or FAIL (status 1). Nothing that it starts outlives it.

  --example NAME    sort (default): the guest sorts blocks of 1,024 keys in RTL
                    regs: every size and alignment of access to registers
                    probe: ordering, byte enables and DMA errors, two vCPUs
                    vfio: the probe's RTL through vfio-pci, behind a virtual IOMMU
                    xdma: a card behind the ports of XDMA, likewise
                    pcie4: the sorter behind the ports of the UltraScale+ PCIe block,
                    with the driver of sort
                    litepcie: LitePCIe from PyPI with its own generator, driver and
                    programs, on the same block (docs/front-ends.md#litepcie)
                    clocks: the sorter with a clock that is not the bridge's, likewise
                    virtio_net: a network card in RTL; a second VM is pinged through
                    it, and 1 MiB goes each way by TCP (scripts/run-cosim.sh has more)
  --blocks N        blocks to sort (default 64)
  --seed N          seed of the random data (default: a new one, which is printed)
  --rounds N        rounds of the ordering test in probe (default 100000)
  --width BITS      of LitePCIe's core: 128 or 256 (default 256)
  --loopback KIND   of LitePCIe's test of DMA: internal, external or both (default both)
  --waves           write the waveform of the simulation (FST)
  --waves-from WHEN start (default), or driver: from when the guest has booted, just
                    before its driver is loaded. In a shell: kill -USR1 SIMULATOR
  --record FILE     write every transaction to FILE (docs/debugging.md)
  --contents        with --record: the bytes of DMA as well, which accelerator-replay needs
  --report [FILE]   a page of them, for any browser: FILE ends in .html, or it is in the
                    folder of the run, as the record is then without --record. Also after
                    a run that failed
  --registers FILE  names of your card's registers for the report, in TOML
                    (docs/debugging.md#names-of-registers, which also has SystemRDL)
  --shell           boot to a prompt with the drivers loaded; the simulator runs. After
                    an edit of the RTL scripts/swap-rtl.sh, in another terminal,
                    replaces it under the running guest
  --run             run what scripts/build-guest.sh --run put into the guest
  --accel ACCEL     auto (default), kvm or tcg; auto takes KVM if a guest really
                    starts with it
  --sim PROGRAM     your own simulation, as scripts/build-sim.sh makes it, instead
                    of an example's; with --shell or --run
  --sim-folder DIR  the folder that the simulation runs in, which is where \$readmemh and
                    the like find files (default: the checkout)
  --arch ARCH       of the guest: x86_64 (default), or aarch64, with QEMU's machine virt,
                    a cross-built driver and Debian's kernel for arm64. For all examples
                    but virtio_net and litepcie, and with --sim
  --iommu           put the card behind a virtual IOMMU: intel-iommu, with
                    intel_iommu=on for the kernel, or SMMUv3; vfio and xdma have it
                    anyway
  --memory MB       of the VM (default 512, with --disk 2048)
  --cpus N          of the VM (default 2)
  --append TEXT     added to the kernel's command line
  --disk FILE       with --shell: the VM boots this disk image (qcow2 or raw) and not
                    the small guest; its console is the first serial port
  --snapshot        do not change the disk image
  --qemu DIR        the QEMU in DIR/bin (default: build/qemu/patched, or for aarch64
                    build/qemu/aarch64, built if missing)
  --qemu stock      a QEMU that nobody patched, with the card through its vfio-user-pci
                    (docs/vfio-user.md): the distribution's where it is 10.1 or newer, or
                    else that which scripts/build-qemus.sh builds to compare with. For
                    sort, regs and probe, and with --sim
  --vfio-user       the same card through the vfio-user-pci of the QEMU that is named
  --guest DIR       vmlinuz and initramfs.cpio.gz (default: an example runs in a plain
                    guest, built if missing or old; --shell and --run take build/guest,
                    or build/guest-aarch64, with your modules and programs)
  --device OPTIONS  added to -device accelerator-pcie,... as ,OPTIONS; or to that of
                    vfio-user-pci, such as x-msg-timeout=60000
  --qemu-args TEXT  more arguments for QEMU, separated by spaces
  --timeout S       give up after so many seconds without a line from the guest
                    (default 300)
  --keep            keep the logs of a run that passed
  --help            this text

Logs are in a folder of their own under build/run, which is named when they are
worth reading.
EOF
}

EXAMPLE=sort BLOCKS=64 SEED=$((RANDOM * 32768 + RANDOM)) ROUNDS=100000 WAVES=no MODE=example
ACCEL=auto SIM='' QEMU_DIR='' GUEST='' DEVICE='' TIMEOUT=300 KEEP=no WAVES_FROM=start
WIDTH=256 LOOPBACK=internal,external SIM_FOLDER=''
IOMMU=no MEMORY='' CPUS=2 MORE_APPEND='' DISK='' SNAPSHOT=() MORE_ARGS=() RECORD='' CONTENTS=no
REPORT=no REPORT_FILE='' REPORTED='' REGISTERS=() TRACE='' VFIO_USER=no

# shellcheck disable=SC2329 # called by name
took() {
  case $1 in
    --loopback)
      case $2 in
        internal | external) LOOPBACK=$2 ;;
        both) LOOPBACK=internal,external ;;
        *) die "--loopback is $2, expected internal, external or both" ;;
      esac
      ;;
    --waves-from) WAVES=yes WAVES_FROM=$2 ;;
    --registers) REGISTERS=(--registers "$2") ;;
    --qemu-args) read -r -a MORE_ARGS <<<"$2" ;;
    --report)
      REPORT=yes
      [[ ${2:-} != *.html ]] || ALSO=yes REPORT_FILE=$2
      ;;
    --shell) MODE=shell ;;
    --run) MODE=user ;;
  esac
}
take_options --example=EXAMPLE '--blocks=BLOCKS>=1' '--seed=SEED>=0' '--rounds=ROUNDS>=1' \
  --accel=ACCEL --arch=ARCH --sim=SIM --sim-folder=SIM_FOLDER --width=WIDTH --loopback=@took \
  --qemu=QEMU_DIR --guest=GUEST --device=DEVICE '--timeout=TIMEOUT>=1' --waves-from=@took \
  '--memory=MEMORY>=128' '--cpus=CPUS>=1' --append=MORE_APPEND --disk=DISK --record=RECORD \
  --registers=@took --qemu-args=@took --waves:WAVES --report:@took --shell:@took --run:@took \
  --keep:KEEP --contents:CONTENTS --iommu:IOMMU --vfio-user:VFIO_USER \
  --snapshot:SNAPSHOT+=-snapshot -- "$@"
choose_machine
case $ACCEL in
  auto | kvm | tcg) ;;
  *) die "--accel is $ACCEL, expected auto, kvm or tcg" ;;
esac
[[ $ACCEL != kvm || $ARCH == "$(uname -m)" ]] || die "KVM has no guests of $ARCH here: --accel tcg"
case $WAVES_FROM in
  start) ;;
  driver) [[ $MODE != shell ]] || die "--waves-from driver is not for --shell: kill -USR1 starts the waves there" ;;
  *) die "--waves-from is $WAVES_FROM, expected start or driver" ;;
esac
if [[ -n $DISK ]]; then
  [[ -r $DISK && -f $DISK ]] || die "the disk image $DISK cannot be read"
  [[ $MODE == shell ]] || die "--disk needs --shell: only the small guest has the examples' programs"
  [[ -z $MORE_APPEND ]] || die "--append is for the small guest: a disk image has its own command line"
  [[ $ARCH == x86_64 ]] ||
    die "--disk is for x86_64: a disk image for $ARCH needs firmware, which is not here (docs/arm.md)"
fi

[[ -z $SIM_FOLDER || -d $SIM_FOLDER ]] || die "--sim-folder is $SIM_FOLDER, which is no folder"
if ((${#REGISTERS[@]})); then
  [[ $REPORT == yes ]] || die "--registers is for --report"
  [[ -r ${REGISTERS[1]} ]] || die "--registers ${REGISTERS[1]}: no such file"
fi
[[ $CONTENTS == no || -n $RECORD || $REPORT == yes ]] || die "--contents is for --record or --report"

STOCK=no
if [[ $QEMU_DIR == stock ]]; then
  STOCK=yes VFIO_USER=yes
fi
if [[ $VFIO_USER == yes ]]; then
  # What QEMU's vfio-user-pci has not: docs/vfio-user.md.
  case $MODE-$EXAMPLE in
    *-vfio | *-xdma) die "--example $EXAMPLE is behind a virtual IOMMU, which QEMU's vfio-user-pci does not support; it needs the patched QEMU" ;;
    *-virtio_net) die "--example virtio_net has a network side, which QEMU's vfio-user-pci does not carry; it needs the patched QEMU" ;;
  esac
  [[ $IOMMU == no ]] || die "--iommu needs the patched QEMU: QEMU's vfio-user-pci does not support a virtual IOMMU"
fi

[[ $ARCH == x86_64 || $EXAMPLE != virtio_net && $EXAMPLE != litepcie ]] ||
  die "--example $EXAMPLE has guests of x86_64 alone"
if [[ $EXAMPLE == virtio_net && $MODE != user ]]; then
  [[ $CONTENTS == no ]] || die "--contents is not for --example virtio_net"
  [[ $REPORT == no ]] || die "--report is not for --example virtio_net: --record is, and accelerator-trace html"
  COSIM=(scripts/run-cosim.sh --example virtio_net --accel "$ACCEL" --timeout "$((TIMEOUT * 2))")
  [[ $MODE == shell ]] || COSIM+=(--test net)
  [[ $WAVES == no ]] || COSIM+=(--waves)
  [[ -z $RECORD ]] || COSIM+=(--record "$RECORD")
  [[ -z $SIM ]] || COSIM+=(--sim "$SIM")
  [[ -z $QEMU_DIR ]] || COSIM+=(--qemu "$QEMU_DIR")
  [[ -z $GUEST ]] || COSIM+=(--guest "$GUEST")
  [[ -z $DEVICE ]] || COSIM+=(--device "$DEVICE")
  [[ -z $MEMORY ]] || COSIM+=(--memory "$MEMORY")
  [[ -z $DISK ]] || COSIM+=(--disk "$DISK" "${SNAPSHOT[@]}")
  COSIM+=(--cpus "$CPUS")
  [[ $IOMMU == no && -z $MORE_APPEND && $WAVES_FROM == start && ${#MORE_ARGS[@]} == 0 ]] ||
    die "--iommu, --append, --waves-from and --qemu-args are not for --example virtio_net"
  exec "${COSIM[@]}"
fi

ARGS=''
case $EXAMPLE in
  sort | pcie4 | clocks) ARGS="--blocks,$BLOCKS,--seed,$SEED" ;;
  # It holds reads back for milliseconds on purpose; one that stays out is a failure.
  probe)
    ARGS="--rounds,$ROUNDS,--seed,$SEED"
    if [[ $VFIO_USER == no ]]; then
      DEVICE="completion-timeout=20000${DEVICE:+,$DEVICE}"
    else
      ARGS+=,--vfio-user
    fi
    ;;
  vfio | xdma) ARGS="--seed,$SEED" ;;
  litepcie) ARGS=$LOOPBACK ;;
  # ID and SCRATCH, then every size and alignment in the RAM, and then the version of a
  # SATA controller while the other vCPU maps the card out and in.
  regs)
    ARGS="--seed,$SEED,expect,4,0,0x53474552,write,4,4,0x01234567,write,1,6,0x89"
    ARGS+=",expect,4,4,0x01894567,test,0x10,0x80,remap,3000,$SATA,5,4,0x10,0x00010000"
    MORE_ARGS+=("${SATA_OPTIONS[@]}")
    ;;
  *) [[ -n $SIM || $MODE != example ]] ||
    die "no example $EXAMPLE: sort, pcie4, clocks, regs, probe, vfio, xdma, virtio_net and litepcie have a program in the guest; use --shell or --run" ;;
esac

# ---- whatever happens, nothing is left behind -------------------------------------

# Writes the page of the record, whatever has become of the run, and says where.
write_report() {
  [[ $REPORT == yes && -n $TRACE ]] || return 0
  if [[ ! -s $REPORTED ]]; then
    warn "no report: the simulator has not begun its record"
  elif "$TRACE" html "$REPORTED" "${REGISTERS[@]}" --out "$REPORT_FILE"; then
    printf '\nReport: %s\n' "$REPORT_FILE"
  else
    warn "no report of $REPORTED was made"
  fi
}

RESULT=FAIL RUN_DIR='' SOCKET_DIR='' SIM_PID='' TERMINAL='' TERMINAL_PID='' COMPLAINTS=''

# The simulator that runs now, or "swap" while scripts/swap-rtl.sh puts another in its place.
simulator_pid() {
  sed -n 's/^simulator_pid=//p' "$RUN_DIR/vm" 2>/dev/null
}

# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$? group
  trap '' INT TERM HUP
  # The VM before its simulator, so that QEMU does not complain of a lost link.
  [[ -z $TERMINAL_PID ]] || end_process "$TERMINAL_PID"
  end_children
  # scripts/swap-rtl.sh may have put another simulator in its place.
  if [[ -n $RUN_DIR && -f $RUN_DIR/vm ]]; then
    group=$(simulator_pid)
    [[ -z $group || $group == swap || $group == "$SIM_PID" ]] || end_process "-$group"
    rm -f "$RUN_DIR/vm"
  fi
  [[ -z $TERMINAL ]] || stty "$TERMINAL" 2>/dev/null || true
  # Not written yet where the run ended before its summary.
  write_report || true
  [[ -z $SOCKET_DIR ]] || rm -rf "$SOCKET_DIR"
  if [[ -n $RUN_DIR ]]; then
    if [[ $RESULT == PASS && $KEEP == no && $WAVES == no && $REPORT == no && -z $COMPLAINTS ]]; then
      rm -rf "$RUN_DIR"
    else
      say "logs: $RUN_DIR"
    fi
  fi
  exit "$status"
}
trap cleanup EXIT
end_on_signals

# ---- what is needed --------------------------------------------------------------

have cargo || [[ -n $SIM ]] ||
  die "cargo is missing: install Rust from https://rustup.rs or your distribution"
make_folder build/run
[[ -n $QEMU_DIR && -n $SIM && -n $GUEST ]] || need_all_packages

# A QEMU of 10.1 or newer that was built with it.
has_vfio_user() {
  local devices
  # Not through a pipe to grep -q, which may end QEMU in the middle of its list.
  devices=$("$1" -device help 2>/dev/null) && [[ $devices == *'"vfio-user-pci"'* ]]
}

QEMU=''
if [[ $STOCK == yes ]]; then
  QEMU=$(command -v "$EMULATOR" || true)
  if [[ -z $QEMU ]] || ! has_vfio_user "$QEMU"; then
    [[ $ARCH == x86_64 ]] ||
      die "${QEMU:-no $EMULATOR in the PATH}${QEMU:+ has no vfio-user-pci, which came with QEMU 10.1}; scripts/build-qemus.sh builds none for $ARCH that nobody patched"
    say "${QEMU:-no $EMULATOR in the PATH}${QEMU:+ has no vfio-user-pci, which came with QEMU 10.1}: taking the baseline of scripts/build-qemus.sh"
    QEMU='' QEMU_DIR=build/qemu/baseline
    run_child scripts/build-qemus.sh --baseline-only
  fi
elif [[ -z $QEMU_DIR ]]; then
  QEMU_DIR=$QEMU_BUILD
  run_child scripts/build-qemus.sh --patched-only "${QEMU_OPTIONS[@]}"
fi
QEMU=${QEMU:-$QEMU_DIR/bin/$EMULATOR}
[[ -x $QEMU ]] || die "$QEMU is not there; scripts/build-qemus.sh builds it"
[[ $VFIO_USER == no ]] || has_vfio_user "$QEMU" ||
  die "$QEMU has no vfio-user-pci; QEMU has it from 10.1 on"

# What the guest runs, and the registers that it finds.
PROGRAM=$EXAMPLE
case $EXAMPLE in
  vfio) DESIGN=probe ;;
  pcie4 | clocks) DESIGN=$EXAMPLE PROGRAM=sort ;;
  *) DESIGN=$EXAMPLE ;;
esac
REGISTER_FILE=hdl/examples/$DESIGN/registers.toml
[[ $PROGRAM != sort ]] || REGISTER_FILE=hdl/examples/sort/registers.toml
BUILD=''
if [[ -z $SIM ]]; then
  BUILD=$DESIGN
  [[ $WAVES == no ]] || BUILD+=' --waves'
fi
if [[ $EXAMPLE == litepcie && (-z $SIM || -z $GUEST && -z $DISK) ]]; then
  have cargo || die "cargo is missing: install Rust from https://rustup.rs or your distribution"
  LITEPCIE=build/litepcie/$WIDTH
  if [[ $WAVES == yes ]]; then
    run_child scripts/build-litepcie.sh --width "$WIDTH" --waves
  else
    run_child scripts/build-litepcie.sh --width "$WIDTH"
  fi
  if [[ -z $SIM ]]; then
    SIM=$LITEPCIE/litepcie_top BUILD='' SIM_FOLDER=${SIM_FOLDER:-$LITEPCIE/core}
    [[ $WAVES == no ]] || SIM+=-waves
  fi
  GUEST=${GUEST:-$LITEPCIE/guest}
fi
find_simulation "$DESIGN"
if [[ $MODE == example ]]; then
  find_guest plain
elif [[ -z $DISK ]]; then
  find_guest
elif [[ $ACCEL == auto ]]; then
  # There is no kernel at hand to try KVM with.
  ACCEL=tcg
fi
TRACE_BUILT=$TRACE_PACKAGED
if [[ $REPORT == yes && -z $TRACE_PACKAGED ]]; then
  have cargo || die "cargo is missing, and --report builds accelerator-trace: install Rust from https://rustup.rs or your distribution"
  run_child cargo build --release --locked --package accelerator-trace
  TRACE_BUILT=$(cargo metadata --format-version 1 --no-deps |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release/accelerator-trace
fi
# Of a simulation of the user's they would be wrong.
[[ $REPORT == no || ${#REGISTERS[@]} != 0 || -z $BUILD || ! -r $REGISTER_FILE ]] ||
  REGISTERS=(--registers "$REGISTER_FILE")
phase "build or find QEMU, RTL and guest"

# ---- run -------------------------------------------------------------------------

RUN_DIR=$(mktemp -d "build/run/$EXAMPLE-XXXXXX")
make_socket_dir
ENDPOINT=ipc://$SOCKET_DIR/pcie
[[ $VFIO_USER == no ]] || ENDPOINT=vfio-user:$SOCKET_DIR/pcie
if [[ $REPORT == yes ]]; then
  # The library also takes the file's name from the environment.
  REPORTED=${RECORD:-${ACCELERATOR_RECORD:-}}
  [[ -n $REPORTED ]] || RECORD=$RUN_DIR/record REPORTED=$RUN_DIR/record
  REPORT_FILE=${REPORT_FILE:-$RUN_DIR/report.html}
  # From here on cleanup writes it.
  TRACE=$TRACE_BUILT
fi

choose_accel
case $MODE-$EXAMPLE in
  # Its guest has it as a user's own.
  example-litepcie) WHAT=user ;;
  example-*) WHAT=$PROGRAM ;;
  *) WHAT=$MODE ARGS='' ;;
esac
[[ $EXAMPLE != vfio && $EXAMPLE != xdma && $IOMMU == no ]] || virtual_iommu
APPEND="console=${TTYS[0]} loglevel=5 panic=-1 $KERNEL_WORDS accel.run=$WHAT accel.args=$ARGS"
APPEND+=${MORE_APPEND:+ $MORE_APPEND}
if [[ -n $DISK ]]; then
  FORMAT=raw
  [[ $(head -c 3 "$DISK") != QFI ]] || FORMAT=qcow2
  shared_memory "${MEMORY:-2048}"
  BOOT=("${SNAPSHOT[@]}" -drive "file=$DISK,format=$FORMAT,if=none,id=disk0"
    -device 'virtio-blk-pci,drive=disk0')
else
  shared_memory "${MEMORY:-512}"
  BOOT=(-kernel "$GUEST/vmlinuz" -initrd "$GUEST/initramfs.cpio.gz")
fi
# OPTIONS as properties of an object in JSON: numbers and switches as they are there.
as_json() { # OPTIONS
  local pair value options
  IFS=, read -r -a options <<<"$1"
  for pair in "${options[@]}"; do
    value=${pair#*=}
    case $value in
      on | true) value=true ;;
      off | false) value=false ;;
      *[!0-9]* | '') value=\"$value\" ;;
    esac
    printf ',"%s":%s' "${pair%%=*}" "$value"
  done
}

CARD="accelerator-pcie,id=acc0,bus=rp0,endpoint=$ENDPOINT${DEVICE:+,$DEVICE}"
[[ $VFIO_USER == no ]] || CARD='{"driver":"vfio-user-pci","id":"acc0","bus":"rp0","socket":{"type":"unix","path":"'$SOCKET_DIR/pcie'"}'$(as_json "$DEVICE")'}'
# shellcheck disable=SC2054 # the commas are QEMU's
QEMU_ARGS=(-M "$MACHINE" "${BEFORE[@]}" -accel "$ACCEL" -cpu "$CPU" -smp "$CPUS" -nodefaults -display none
  -no-reboot "${RAM[@]}" "${BOOT[@]}"
  -device pcie-root-port,id=rp0
  -device "$CARD"
  -qmp "unix:$SOCKET_DIR/qmp,server=on,wait=off" "${MORE_ARGS[@]}")

SIM_COMMAND=("$SIM")
SIM_ARGS=("+accelerator_endpoint=$ENDPOINT")
if [[ -n $SIM_FOLDER ]]; then
  # It writes where it would if it ran here.
  SIM_COMMAND=(env -C "$SIM_FOLDER" "$(realpath "$SIM")")
  [[ -z $RECORD ]] || RECORD=$(realpath -m "$RECORD")
  [[ -z ${ACCELERATOR_RECORD:-} ]] || ACCELERATOR_RECORD=$(realpath -m "$ACCELERATOR_RECORD")
fi
[[ $WAVES == no ]] || SIM_ARGS+=("+waves=$PWD/$RUN_DIR/waves.fst")
[[ $WAVES_FROM == start ]] || SIM_ARGS+=(+waves_trigger)
[[ -z $RECORD ]] || SIM_ARGS+=("+accelerator_record=$RECORD")
[[ $CONTENTS == no ]] || SIM_ARGS+=(+accelerator_record_data=1)
start_child "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err" "${SIM_COMMAND[@]}" "${SIM_ARGS[@]}"
SIM_PID=$CHILD
# For scripts/swap-rtl.sh.
printf '%s\n' "qmp=$SOCKET_DIR/qmp" "endpoint=$ENDPOINT" device=acc0 "simulator_pid=$SIM_PID" \
  "build=$BUILD" >"$RUN_DIR/vm"

# Whether the simulator has ended, and nobody puts another in its place.
simulator_died() {
  local pid
  pid=$(simulator_pid)
  [[ $pid != swap ]] && ! kill -0 "${pid:-$SIM_PID}" 2>/dev/null
}

# Sets WORDS: how it ended, and what it said last.
simulator_words() {
  local status=0
  if [[ $(simulator_pid) == "$SIM_PID" ]]; then
    wait "$SIM_PID" || status=$?
  else
    # scripts/swap-rtl.sh started it.
    status=unknown
  fi
  WORDS="the simulator has ended $(last_words "$status" "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err")"
}

# QEMU's vfio-user-pci does not wait for a simulator.
if [[ $VFIO_USER == yes ]]; then
  for ((i = 0; ; i++)); do
    [[ ! -S $SOCKET_DIR/pcie ]] || break
    if simulator_died; then
      simulator_words
      die "$WORDS"
    fi
    ((i < 1200)) || die "the simulator does not listen within 60 s"
    ((i % 100 != 99)) || say "the simulator does not listen yet"
    sleep 0.05
  done
fi

if [[ $MODE == shell ]]; then
  [[ $WAVES == no ]] || say "kill -USR1 $SIM_PID starts waves that wait for it (+waves_trigger)"
  say "the simulator is process $SIM_PID"
  say "the guest's console follows; Ctrl-A X ends it"
  TERMINAL=$(stty -g 2>/dev/null || true)
  KERNEL_LINE=()
  [[ -n $DISK ]] || KERNEL_LINE=(-append "$APPEND")
  # Not in a session of its own: it reads the terminal.
  "${DIE_WITH_US[@]}" "$QEMU" "${QEMU_ARGS[@]}" "${KERNEL_LINE[@]}" \
    -chardev "stdio,id=console,signal=off,mux=on,logfile=$RUN_DIR/console.log" \
    -mon chardev=console -serial chardev:console <&0 &
  TERMINAL_PID=$! TOLD=''
  while kill -0 "$TERMINAL_PID" 2>/dev/null; do
    NOW_PID=$(simulator_pid)
    if [[ $TOLD != "$NOW_PID" ]] && simulator_died; then
      TOLD=$NOW_PID
      simulator_words
      # The terminal is a raw one. Before a guest runs, QEMU waits for the card.
      if [[ ! -s $RUN_DIR/console.log ]]; then
        disown "$TERMINAL_PID"
        kill -KILL "$TERMINAL_PID" 2>/dev/null || true
        TERMINAL_PID=''
        [[ -z $TERMINAL ]] || stty "$TERMINAL" 2>/dev/null || true
        die "$WORDS"
      fi
      printf '\n[%s] %s\n[%s] the VM goes on without it; Ctrl-A X ends it\n' "$SCRIPT_NAME" "$WORDS" \
        "$SCRIPT_NAME" | sed 's/$/\r/' >&2
    fi
    sleep 0.3
  done
  STATUS=0
  wait "$TERMINAL_PID" || STATUS=$?
  ((STATUS == 0)) || die "QEMU ended with status $STATUS"
  RESULT=PASS
  COMPLAINTS=$(complaints "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err" || true)
  [[ -z $COMPLAINTS ]] || printf '\nWhat the simulator complained of\n%s\n' "$COMPLAINTS"
  exit 0
fi

say "starting $WHAT with $ACCEL: $("$QEMU" --version | head -n 1)"
# The kernel's messages go to one serial port, what the programs say to another.
mkfifo "$SOCKET_DIR/serial"
: >"$RUN_DIR/serial.log"
start_child "$SOCKET_DIR/serial" "$RUN_DIR/qemu.log" "$QEMU" "${QEMU_ARGS[@]}" \
  -append "$APPEND accel.tty=${TTYS[1]}" -serial "file:$RUN_DIR/kernel.log" -serial stdio
QEMU_PID=$CHILD

# ---- listen ----------------------------------------------------------------------

declare -A VALUE=()
LSPCI=()
FAILURES=()

take_line() {
  local line=$1 name
  printf '%s\n' "$line" >>"$RUN_DIR/serial.log"
  case $line in
    'ACCEL lspci='*) LSPCI+=("${line#ACCEL lspci=}") ;;
    'ACCEL phase=booted')
      phase "start and boot"
      [[ $WAVES_FROM == start ]] || kill -USR1 "$(simulator_pid)" || true
      ;;
    'ACCEL phase=loaded') phase "load the driver" ;;
    'ACCEL phase=end') phase "work of the guest" ;;
    'ACCEL '*=*)
      line=${line#ACCEL }
      name=${line%%=*}
      VALUE[$name]=${line#*=}
      case $name in
        error) FAILURES+=("the guest says: ${line#*=}") ;;
        progress) say "${line#*=}" ;;
      esac
      ;;
    *) [[ $MODE != user ]] || printf '%s\n' "$line" ;;
  esac
}

# Each second a look at the simulator, also while the guest talks; ten without a line are worth
# one of ours.
exec 8<"$SOCKET_DIR/serial"
part='' silent=0 DIED=no LOOKED=$SECONDS
while true; do
  status=0
  read_line 1 8 || status=$?
  part+=$LINE
  if ((status == 0)); then
    take_line "${part%$'\r'}"
    part='' silent=0
  elif ((status > 128)); then
    silent=$((silent + 1))
  else
    break
  fi
  if ((SECONDS != LOOKED)) && simulator_died; then
    # QEMU and the guest would wait for it, each as long as it can.
    DIED=yes
    simulator_words
    FAILURES+=("$WORDS")
    say "$WORDS"
    # One that still waits for the card heeds no SIGTERM. The shell need not tell of it.
    disown "$QEMU_PID"
    kill -KILL -- "-$QEMU_PID" 2>/dev/null || true
    break
  fi
  LOOKED=$SECONDS
  if ((status > 128)); then
    if ((silent >= TIMEOUT)); then
      FAILURES+=("no line from the guest within $silent s")
      end_process "-$QEMU_PID"
      break
    elif ((silent % 10 == 0)); then
      say "no line from the guest for $silent s; it is given up after $TIMEOUT s"
    fi
  fi
done
exec 8<&-

wait_child "$QEMU_PID" 20 QEMU
QEMU_STATUS=$STATUS
((QEMU_STATUS == 0)) || [[ $DIED == yes ]] || FAILURES+=("QEMU ended with status $QEMU_STATUS")
phase "end the VM"
NOW_PID=$(simulator_pid)
if [[ $DIED == yes ]]; then
  :
elif [[ $NOW_PID != "$SIM_PID" ]]; then
  say "the simulator was replaced while the VM ran"
  end_process "-$NOW_PID"
elif kill -0 "$SIM_PID" 2>/dev/null; then
  kill -TERM "$SIM_PID"
else
  FAILURES+=("the simulator ended before the VM")
fi
if [[ $DIED == no ]]; then
  wait_child "$SIM_PID" 20 "the simulator"
  ((STATUS == 0)) || FAILURES+=("the simulator ended with status $STATUS")
fi
phase "end the simulator"

# ---- summary ---------------------------------------------------------------------

case ${VALUE[status]:-none} in
  0) ;;
  none) FAILURES+=("the program in the guest did not come to its end") ;;
  *) FAILURES+=("the program in the guest ended with status ${VALUE[status]}") ;;
esac
KERNEL_COMPLAINTS=$(kernel_complaints "$RUN_DIR/kernel.log" || true)
while IFS= read -r line; do
  case $line in
    *'Kernel panic'*) FAILURES+=("the guest's kernel: ${line#  }") ;;
  esac
done <<<"$KERNEL_COMPLAINTS"
COMPLAINTS=$(complaints "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err" || true)
((${#FAILURES[@]})) || RESULT=PASS

show() {
  printf '  %-34s %s\n' "$1" "$2"
}

printf '\nWhat the guest saw\n'
show "kernel, vCPUs" "${VALUE[kernel]:-?}, ${VALUE[cpus]:-?}"
[[ $VFIO_USER == yes ]] && DEVICE_NAME=vfio-user-pci || DEVICE_NAME=accelerator-pcie
show "ran with" "qemu=$("$QEMU" --version | sed -n 's/^QEMU emulator version \([^ ]*\).*/\1/p') device=$DEVICE_NAME accel=$ACCEL guest=${VALUE[kernel]:-?} arch=$ARCH"
if ((${#LSPCI[@]})); then
  printf '%s\n' "${LSPCI[@]}" |
    grep -E '^[0-9a-f]{2}:|Subsystem:|Region [0-9]|LnkSta:|MSI(-X)?:|Kernel driver' |
    sed 's/^[[:space:]]*/  /'
fi
printf '\nWhat was done\n'
for name in $(printf '%s\n' "${!VALUE[@]}" | LC_ALL=C sort); do
  case $name in
    kernel | cpus | status | progress | error) ;;
    *) show "${name//_/ }" "${VALUE[$name]}" ;;
  esac
done
printf '\nWhat the simulator counted\n'
grep -ohE '\b(mmio_reads|mmio_writes|dma_read_bytes|dma_write_bytes|msix|clocks|seconds|clocks_per_second)=[0-9.]+' \
  "$RUN_DIR/simulator.log" | while IFS='=' read -r name value; do
  show "${name//_/ }" "$value"
done || true
if [[ -n $COMPLAINTS ]]; then
  printf '\nWhat the simulator complained of\n'
  printf '%s\n' "$COMPLAINTS"
fi
if [[ -n $KERNEL_COMPLAINTS ]]; then
  printf "\nWhat the guest's kernel complained of\n"
  printf '%s\n' "$KERNEL_COMPLAINTS"
fi
printf '\nSeconds of each phase\n'
printf '  %s\n' "${PHASES[@]}"
if [[ $WAVES == yes ]]; then
  printf '\nWaveform: %s\n' "$RUN_DIR/waves.fst"
fi
if [[ -n $RECORD ]]; then
  READER='cargo run --release -p accelerator-trace --'
  [[ -z $TRACE_PACKAGED ]] || READER=accelerator-trace
  printf '\nRecord: %s\n  %s summary %q\n' "$RECORD" "$READER" "$RECORD"
fi
write_report
TRACE=''
if [[ $RESULT != PASS ]]; then
  printf '\nThe last lines of\n'
  for file in qemu.log simulator.log simulator.err kernel.log serial.log; do
    sed "s/^/  $file: /" < <(tail -n 8 "$RUN_DIR/$file" 2>/dev/null)
  done
  printf '\n'
  printf '%s\n' "${FAILURES[@]}"
fi
printf '\n%s\n' "$RESULT"
[[ $RESULT == PASS ]]
