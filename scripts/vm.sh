# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for those that source this
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What the scripts share that run virtual machines and a simulator. Source it after lib.sh.
#
#   phase TEXT                  ends a phase: its seconds are a line in PHASES
#   start_child OUT ERR CMD...  starts a program; CHILD is its process and its group
#   run_child CMD...            runs a program to its end, and dies if it fails
#   wait_child PID SECONDS TEXT waits for a child, then ends it; STATUS is its status
#   end_process PID             ends a process, or with a minus a group
#   end_children                ends whatever was started, the last one first
#   note_process PID NAME       keeps a file about it, for scripts/kill-vnc-ports.sh
#   forget_processes            removes these files
#   pid_dir                     the folder of these files
#   process_start PID           when it started, in ticks of the kernel; fails if it is gone
#   end_on_signals              has signals end the script, by way of its trap for EXIT
#   read_line SECONDS FD        reads a line into LINE; the status is that of read
#   make_socket_dir             SOCKET_DIR, a short path for sockets, which goes when the script ends
#   find_simulation DESIGN      builds it unless SIM names one; WAVES=yes for waveforms
#   find_guest [plain]          GUEST has a kernel and an initramfs; "plain" is the one without
#                               modules and programs of the user's, built anew if it is old
#   need_all_packages           what the builds need of Debian, where we may not install it
#   last_words STATUS FILE...   the end of these files, with how their program ended
#   complaints FILE...          each kind of warning and error in these logs, once
#   kernel_complaints FILE      panics, oopses and warnings in a kernel's log
#   choose_machine              what a guest of ARCH (x86_64, aarch64) runs on: EMULATOR, the program
#                               of QEMU; QEMU_BUILD, where scripts/build-qemus.sh with QEMU_OPTIONS
#                               puts it; GUEST_BUILD and GUEST_OPTIONS, likewise of build-guest.sh;
#                               MACHINE; TTYS, its two serial ports; KERNEL_WORDS for its kernel;
#                               SATA, a function of it, which may need SATA_OPTIONS; CPU
#   virtual_iommu               adds one to MACHINE and KERNEL_WORDS, and to BEFORE what has to come
#                               before what is behind it; after choose_accel
#   choose_accel                ACCEL becomes kvm or tcg, CPU the processor for it; wants
#                               GUEST, QEMU and RUN_DIR

ACCEL=auto ARCH=x86_64 GUEST='' SIM='' WAVES=no

# ---- phases ----------------------------------------------------------------------

PHASES=() PHASE_BEGIN=$(clock_us)

# Ends a phase and begins the next.
phase() {
  local now
  now=$(clock_us)
  PHASES+=("$(printf '%-34s %12s s' "$1" "$(seconds_between "$PHASE_BEGIN" "$now")")")
  PHASE_BEGIN=$now
}

# ---- children --------------------------------------------------------------------

# Every program runs in a session of its own. The script's trap calls end_children, so
# that they end with it, whichever way. If the script is killed, the kernel ends them.
GROUPS_STARTED=()
DIE_WITH_US=()
if have setpriv && setpriv --pdeathsig TERM true 2>/dev/null; then
  DIE_WITH_US=(setpriv --pdeathsig TERM)
fi

# start_child OUT ERR PROGRAM...: starts a program with no input and these outputs, "-"
# is ours; CHILD is its process and its group. The files are opened by the child: for a
# FIFO that takes until somebody reads.
start_child() {
  local out=$1 err=$2
  shift 2
  {
    [[ $out == - ]] || exec >"$out"
    [[ $err == - ]] || exec 2>"$err"
    exec setsid "${DIE_WITH_US[@]}" "$@"
  } </dev/null &
  CHILD=$!
  GROUPS_STARTED+=("$CHILD")
}

run_child() {
  local status=0
  start_child - - "$@"
  wait "$CHILD" || status=$?
  ((status == 0)) || die "$1 failed with status $status"
}

# Waits for a child for so many seconds, then ends it. STATUS is its status.
STATUS=0
wait_child() {
  local child=$1 seconds=$2 what=$3 i
  for ((i = 0; i < seconds * 20; i++)); do
    kill -0 "$child" 2>/dev/null || break
    sleep 0.05
  done
  if kill -0 "$child" 2>/dev/null; then
    warn "$what did not end within $seconds s; ending it"
    end_process "-$child"
  fi
  STATUS=0
  wait "$child" || STATUS=$?
}

# Ends a process, or with a minus a process group: politely, then not.
end_process() {
  local process=$1 i
  if [[ $process == -* ]] && ! kill -0 -- "$process" 2>/dev/null &&
    [[ " $(jobs -rp | tr '\n' ' ') " == *" ${process#-} "* ]]; then
    # It has no group yet: it waits until somebody reads from its output.
    process=${process#-}
  fi
  kill -TERM -- "$process" 2>/dev/null || return 0
  for ((i = 0; i < 100; i++)); do
    kill -0 -- "$process" 2>/dev/null || return 0
    sleep 0.05
  done
  warn "process ${process#-} did not end within 5 s of SIGTERM; killing it"
  kill -KILL -- "$process" 2>/dev/null || true
}

end_children() {
  local group
  for ((group = ${#GROUPS_STARTED[@]} - 1; group >= 0; group--)); do
    end_process "-${GROUPS_STARTED[group]}"
  done
}

# ---- signals ---------------------------------------------------------------------

end_on_signals() {
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# What has come when the time is over is in LINE as well. A signal ends the script after it: a trap
# that exits in the middle of `read -t` leaves its alarm behind. When that goes off in the trap for
# EXIT, bash (5.2) goes on where read was, which is gone, and crashes.
read_line() {
  local status=0 ended=''
  trap 'ended=129' HUP
  trap 'ended=130' INT
  trap 'ended=143' TERM
  IFS= read -r -t "$1" LINE <&"$2" || status=$?
  end_on_signals
  [[ -z $ended ]] || exit "$ended"
  return "$status"
}

# A process is known by its number and the time that it started: numbers come again.
pid_dir() {
  printf '%s\n' "${XDG_RUNTIME_DIR:-/tmp}/accelerator-cosim-$(id -u)"
}

process_start() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  # The name, in parentheses, may hold anything.
  stat=${stat##*) }
  # shellcheck disable=SC2086 # a word is a field, and the first one here is the third
  set -- $stat
  [[ $1 != [ZX] ]] || return 1
  printf '%s\n' "${20}"
}

PID_FILES=()
note_process() {
  local dir start
  dir=$(pid_dir)
  [[ -d $dir ]] || mkdir -m 700 "$dir" || die "the folder $dir cannot be made"
  [[ -O $dir && ! -L $dir ]] || die "$dir is not a folder of yours"
  start=$(process_start "$1") || return 0
  printf '%s %s %s\n' "$1" "$start" "$2" >"$dir/$1"
  PID_FILES+=("$dir/$1")
}

forget_processes() {
  ((${#PID_FILES[@]} == 0)) || rm -f "${PID_FILES[@]}"
}

# A short path: that of a Unix socket is bounded. A process of its own removes the folder
# once the script is gone, also one that is killed.
make_socket_dir() {
  SOCKET_DIR=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
  # Our end of it is open for as long as we live, or a child of ours.
  exec {SOCKET_DIR_FD}> >(
    trap '' INT TERM HUP
    exec >/dev/null 2>&1
    cat
    rm -rf "$SOCKET_DIR"
  )
}

# ---- what programs say -----------------------------------------------------------

last_words() {
  local status=$1 text
  shift
  text=$(tail -q -n 8 "$@" 2>/dev/null || true)
  if [[ $status =~ ^[0-9]+$ ]] && ((status > 128)); then
    status="$status (SIG$(kill -l "$status" 2>/dev/null || true))"
  fi
  printf 'with status %s; the last that it said:\n' "$status"
  printf '%s\n' "${text:-(nothing)}" | sed 's/^/  | /'
}

# Lines of our logs have a time, a level and more; %Error and %Warning are Verilator's, with a
# time too, and the words are those of other programs.
complaints() {
  cat "$@" 2>/dev/null | tr -d '\r' |
    grep -E ' (WARN|ERROR) |%(Error|Warning)|(warning|error): |Assertion' |
    sed -E 's/^[0-9TZ:. -]{10,} *//; s/^\[[0-9]+\] *//' | awk '
      { kind = $0; gsub(/0x[0-9a-f]+|[0-9]+/, "#", kind)
        if (count[kind]++ == 0) { order[++kinds] = kind; first[kind] = $0 } }
      END { for (i = 1; i <= kinds && i <= 12; i++) {
          kind = order[i]
          printf "  %s%s\n", first[kind], (count[kind] > 1) ? " (" count[kind] " times, or alike)" : "" }
        if (kinds > 12) printf "  and %d more\n", kinds - 12 }'
}

kernel_complaints() {
  tr -d '\r' <"$1" 2>/dev/null | sed -E 's/^\[ *[0-9.]+\] *//' |
    grep -E '^(Kernel panic|Oops|BUG:|WARNING: |general protection|watchdog: BUG|INFO: (task|rcu)|rcu: INFO|Out of memory|kernel BUG)' |
    LC_ALL=C sort -u | sed 's/^/  /' | head -n 6
}

# ---- machines --------------------------------------------------------------------

choose_machine() {
  EMULATOR=qemu-system-$ARCH SATA_OPTIONS=()
  case $ARCH in
    x86_64)
      QEMU_BUILD=build/qemu/patched QEMU_OPTIONS=()
      GUEST_BUILD=build/guest GUEST_OPTIONS=()
      MACHINE=q35 CPU=max TTYS=(ttyS0 ttyS1)
      # On a busy host the timer may look broken to a kernel that checks it.
      KERNEL_WORDS=no_timer_check
      SATA=0000:00:1f.2
      ;;
    aarch64)
      QEMU_BUILD=build/qemu/aarch64 QEMU_OPTIONS=(--target aarch64)
      GUEST_BUILD=build/guest-aarch64 GUEST_OPTIONS=(--arch aarch64)
      # Message signalled interrupts go through the interrupt translation service. The
      # processor is not "max": TCG computes its signatures of pointers, which takes a while.
      MACHINE=virt,gic-version=3,its=on CPU=neoverse-n1 TTYS=(ttyAMA0 ttyAMA1)
      KERNEL_WORDS=''
      SATA=0000:00:1f.0 SATA_OPTIONS=(-device 'ich9-ahci,addr=1f.0')
      ;;
    *) die "--arch is $ARCH, expected x86_64 or aarch64" ;;
  esac
}
choose_machine

BEFORE=()
virtual_iommu() {
  case $ARCH in
    x86_64)
      # Interrupts are remapped as well, which KVM's own interrupt controller cannot do.
      [[ $ACCEL != kvm ]] || MACHINE+=,kernel-irqchip=split
      BEFORE=(-device 'intel-iommu,intremap=on')
      KERNEL_WORDS+=' intel_iommu=on'
      ;;
    aarch64) MACHINE+=,iommu=smmuv3 ;;
  esac
}

# ---- what is needed --------------------------------------------------------------

find_simulation() {
  local name=$1
  if [[ -z $SIM ]]; then
    have cargo || die "cargo is missing: install Rust from https://rustup.rs or your distribution"
    if [[ $WAVES == yes ]]; then
      run_child scripts/build-sim.sh "$name" --waves
      name+=-waves
    else
      run_child scripts/build-sim.sh "$name"
    fi
    SIM=build/sim/$name/$name
  fi
  [[ ! -d $SIM ]] || die "the simulation $SIM is a folder, expected a program as scripts/build-sim.sh makes it"
  [[ -x $SIM ]] || die "the simulation $SIM is not there; scripts/build-sim.sh builds it"
}

find_guest() {
  local file
  if [[ -z $GUEST ]]; then
    if [[ ${1:-} == plain ]]; then
      # The user's own guest stays as it is.
      GUEST=$GUEST_BUILD-plain
      run_child scripts/build-guest.sh "${GUEST_OPTIONS[@]}" --out "$GUEST"
    else
      GUEST=$GUEST_BUILD
      [[ -e $GUEST/vmlinuz ]] || run_child scripts/build-guest.sh "${GUEST_OPTIONS[@]}"
    fi
  fi
  for file in vmlinuz initramfs.cpio.gz; do
    [[ -e $GUEST/$file ]] || die "$GUEST/$file is not there; scripts/build-guest.sh makes it"
  done
}

# One who may not install packages learns of all of them before minutes of building.
need_all_packages() {
  local script packages options all=()
  have dpkg-query && ! can_be_root || return 0
  for script in build-qemus build-sim build-guest; do
    case $script in
      build-qemus) options=("${QEMU_OPTIONS[@]}") ;;
      build-guest) options=("${GUEST_OPTIONS[@]}") ;;
      *) options=() ;;
    esac
    packages=$("scripts/$script.sh" "${options[@]}" --list-packages) || exit 1
    mapfile -t -O "${#all[@]}" all <<<"$packages"
  done
  mapfile -t all < <(printf '%s\n' "${all[@]}" | LC_ALL=C sort -u)
  need_packages "${all[@]}"
}

# /dev/kvm may be there and a guest hang with it all the same: boot ours and see
# whether it comes to its end. What was found holds until the machine is booted again.
choose_accel() {
  [[ $ACCEL != auto || $ARCH == "$(uname -m)" ]] || ACCEL=tcg
  [[ $ACCEL != kvm ]] || CPU=host
  [[ $ACCEL == auto ]] || return 0
  ACCEL=tcg
  [[ -r /dev/kvm && -w /dev/kvm ]] || return 0
  local known boot i
  boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || true)
  known=$(cache_dir)/kvm-$(content_key "$boot" "$(realpath "$GUEST/vmlinuz")" "$(realpath "$QEMU")")
  if [[ ! -f $known ]]; then
    say "trying whether KVM runs a guest (at most 10 s)"
    start_child /dev/null "$RUN_DIR/kvm.err" "$QEMU" -M "$MACHINE" -accel kvm -cpu host -m 256 -smp 2 -nodefaults -display none \
      -no-reboot -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initramfs.cpio.gz" \
      -append "console=${TTYS[0]} quiet panic=-1 accel.run=none" -serial "file:$RUN_DIR/kvm.log"
    for ((i = 0; i < 100; i++)); do
      kill -0 "$CHILD" 2>/dev/null || break
      sleep 0.1
    done
    end_process "-$CHILD"
    wait "$CHILD" || true
    if grep -q 'ACCEL phase=end' "$RUN_DIR/kvm.log" 2>/dev/null; then
      echo yes >"$known"
    else
      echo no >"$known"
    fi
  fi
  if [[ $(cat "$known") == yes ]]; then
    ACCEL=kvm CPU=host
  else
    say "KVM is there but runs no guest: taking TCG"
  fi
}
