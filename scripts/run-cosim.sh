#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Two VMs on one network: one with the card in RTL, on the patched QEMU, and a plain one,
# on the QEMU without it.
set -euo pipefail
SCRIPT_NAME='run-cosim.sh'
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/run-cosim.sh [option...]

Starts a simulator, the accelerator VM (patched QEMU, with the card) and the plain VM
(baseline QEMU) on one network. When one of the VMs ends, or on Ctrl-C, all is ended.

The card:
  --example NAME      RTL of hdl/examples/NAME (default: sort). With virtio_net the card
                      is the accelerator VM's network card; with the others it has an
                      ordinary one beside the card
  --sim PROGRAM       your own simulation, as scripts/build-sim.sh makes it
  --clocks-per-second N  slow the simulation down to so many clocks a second
  --record FILE       write every transaction to FILE (docs/debugging.md)
  --waves             write the waveform of the simulation (FST) to the logs
  --no-sim            start none: one listens, or will, at \$NPU_COSIM_PORT
  --rtl-nic           the RTL of --sim or --no-sim is the network card
  --device OPTIONS    added to -device accelerator-pcie,... as ,OPTIONS

The network:
  --network pair      a socket between the two QEMUs: needs no rights (default)
  --network bridge    the bridge and taps of scripts/make-bridge.sh
  --bridge NAME       which (default: \$BRIDGE, or br-cosim)
  --nic MODEL         ordinary cards: e1000 (default) or virtio-net-pci
  --mac MAC           of the accelerator VM (default: \$COSIM_MAC, or 52:54:00:77:00:01)
  --plain-mac MAC     of the plain VM (default: \$COSIM_PLAIN_MAC, or 52:54:00:77:00:02)

What the VMs run (default: the small guest of scripts/build-guest.sh, with the
addresses 10.77.0.1, the accelerator VM, and 10.77.0.2):
  --disk FILE         the accelerator VM boots this disk image (qcow2 or raw)
  --plain-disk FILE   the plain VM boots this one
  --snapshot          do not change the disk images
  --memory MB         of each VM (default 512; with a disk 2048)
  --cpus N            of each VM (default 2)
  --accel ACCEL       auto (default), kvm or tcg
  --icount SHIFT      guest time by instructions of 2^SHIFT ns, for the accelerator VM
                      (docs/guest-clock.md); one thread for all its CPUs
  --sim-clock NS      with --test tcp: guest time of the accelerator VM follows the
                      simulator's in steps of NS, from the end of its boot on

Consoles; all are written to the folder of logs as well:
  --console accel     the accelerator VM's in this terminal (default in a terminal)
  --console plain     the plain VM's in this terminal
  --console vnc       displays on VNC, on loopback; needs scripts/build-qemus.sh --full
  --console none      none (default without a terminal)
  --vnc N             first VNC display (default 20: port 5920); the plain VM has N + 1
  The consoles that are not in this terminal are Unix sockets, whose paths are told.

Tests, with the small guest; they end by themselves with PASS or FAIL:
  --test ping         each VM pings the other
  --test net          the accelerator VM pings, then a TCP transfer each way, compared
  --test tcp          what the accelerator VM's TCP sees of the card: round trips and a
                      transfer each way, in its own time (docs/guest-clock.md)
  --bytes N           bytes of each transfer (default 1048576)
  --pings N           pings (default 20)
  --timeout S         give up after so many seconds (default 600)

  --qemu DIR          patched QEMU (default: build/qemu/patched, built if missing)
  --plain-qemu DIR    the other one (default: build/qemu/baseline, built if missing)
  --guest DIR         vmlinuz and initramfs.cpio.gz (default: build/guest)
  --logs DIR          folder for the logs (default: a new one in build/run)
  --help              this text
EOF
}

EXAMPLE=sort NO_SIM=no RTL_NIC=no DEVICE='' NETWORK=pair BRIDGE=${BRIDGE:-br-cosim} NIC=e1000
MAC=${COSIM_MAC:-52:54:00:77:00:01} PLAIN_MAC=${COSIM_PLAIN_MAC:-52:54:00:77:00:02}
DISK='' PLAIN_DISK='' SNAPSHOT=() MEMORY='' CPUS=2 ICOUNT='' CONSOLE='' VNC=20
TEST='' RATE='' RECORD='' SIM_CLOCK='' BYTES=1048576 PINGS=20 TIMEOUT=600 QEMU_DIR='' PLAIN_DIR='' LOGS=''
take_options --no-sim:NO_SIM --rtl-nic:RTL_NIC --waves:WAVES --snapshot:SNAPSHOT+=-snapshot \
  --example=EXAMPLE --sim=SIM --record=RECORD --device=DEVICE --network=NETWORK --bridge=BRIDGE \
  --nic=NIC --mac=MAC --plain-mac=PLAIN_MAC --disk=DISK --plain-disk=PLAIN_DISK \
  '--memory=MEMORY>=128' '--cpus=CPUS>=1' --accel=ACCEL '--clocks-per-second=RATE>=1' \
  '--sim-clock=SIM_CLOCK>=100' '--icount=ICOUNT>=0' --console=CONSOLE '--vnc=VNC>=0' --test=TEST \
  '--bytes=BYTES>=1' '--pings=PINGS>=1' '--timeout=TIMEOUT>=1' --qemu=QEMU_DIR \
  --plain-qemu=PLAIN_DIR --guest=GUEST --logs=LOGS -- "$@"
one_of() {
  local what=$1 value=$2
  shift 2
  [[ " $* " == *" $value "* ]] || die "$what is $value, expected one of: $*"
}
one_of --network "$NETWORK" pair bridge
one_of --nic "$NIC" e1000 virtio-net-pci
one_of --accel "$ACCEL" auto kvm tcg
[[ -z $TEST ]] || one_of --test "$TEST" ping net tcp
if [[ -z $CONSOLE ]]; then
  CONSOLE=none
  [[ ! -t 0 || -n $TEST ]] || CONSOLE=accel
fi
one_of --console "$CONSOLE" accel plain vnc none
for mac in "$MAC" "$PLAIN_MAC"; do
  [[ $mac =~ ^[0-9a-f]{2}(:[0-9a-f]{2}){5}$ ]] ||
    die "a MAC address is $mac, expected six hexadecimal bytes in small letters with colons"
  ((0x${mac:0:2} % 2 == 0)) || die "the MAC address $mac is that of a group"
done
[[ $MAC != "$PLAIN_MAC" ]] || die "both VMs have the MAC address $MAC"
for file in $DISK $PLAIN_DISK; do
  [[ -r $file ]] || die "the disk image $file cannot be read"
done
[[ -z $TEST || -z $DISK$PLAIN_DISK ]] || die "--test is for the small guest, without disk images"
[[ -z $TEST || $CONSOLE == none ]] || die "--test shows no console"
[[ -z $SIM_CLOCK || $TEST == tcp ]] || die "--sim-clock is for --test tcp; set the property sim-clock otherwise"
[[ -z $SIM_CLOCK || ($ACCEL != kvm && -z $ICOUNT) ]] || die "--sim-clock is for --accel tcg without --icount"
[[ -z $ICOUNT || $ACCEL != kvm ]] || die "--icount is for --accel tcg"
[[ $EXAMPLE != virtio_net ]] || RTL_NIC=yes

# ---- whatever happens, nothing is left behind -------------------------------------

RESULT=FAIL RUN_DIR='' SOCKET_DIR='' TERMINAL='' TERMINAL_PID=''

# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$?
  trap '' INT TERM HUP
  [[ -z $TERMINAL_PID ]] || end_process "$TERMINAL_PID"
  end_children
  forget_processes
  [[ -z $TERMINAL ]] || stty "$TERMINAL" 2>/dev/null || true
  [[ -z $SOCKET_DIR ]] || rm -rf "$SOCKET_DIR"
  [[ -z $RUN_DIR ]] || say "logs: $RUN_DIR"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- what is needed --------------------------------------------------------------

if [[ -z $QEMU_DIR ]]; then
  QEMU_DIR=build/qemu/patched
  run_child scripts/build-qemus.sh --patched-only
fi
if [[ -z $PLAIN_DIR ]]; then
  PLAIN_DIR=build/qemu/baseline
  [[ -x $PLAIN_DIR/bin/qemu-system-x86_64 ]] || run_child scripts/build-qemus.sh --baseline-only
fi
QEMU=$QEMU_DIR/bin/qemu-system-x86_64 PLAIN_QEMU=$PLAIN_DIR/bin/qemu-system-x86_64
for file in "$QEMU" "$PLAIN_QEMU"; do
  [[ -x $file ]] || die "$file is not there; scripts/build-qemus.sh builds it"
done
if [[ $CONSOLE == vnc ]]; then
  for file in "$QEMU" "$PLAIN_QEMU"; do
    # Not through a pipe to grep -q, which may end QEMU in the middle of its text.
    HELP=$("$file" -help)
    [[ $HELP == *$'\n-vnc '* ]] ||
      die "$file is built without VNC: scripts/build-qemus.sh --full builds one with it"
  done
fi
[[ $NO_SIM == yes ]] || find_simulation "$EXAMPLE"
if [[ -n $TEST ]]; then
  find_guest plain
elif [[ -z $DISK || -z $PLAIN_DISK ]]; then
  find_guest
fi
if [[ $NETWORK == bridge ]]; then
  for name in "$BRIDGE" "$BRIDGE-a" "$BRIDGE-p"; do
    # Of our network namespace, which /sys need not be.
    grep -q "^ *$name:" /proc/net/dev ||
      die "there is no network interface $name: sudo scripts/make-bridge.sh --bridge $BRIDGE makes it"
  done
fi

if [[ -n $LOGS ]]; then
  make_folder "$LOGS"
  RUN_DIR=$LOGS
else
  make_folder build/run
  RUN_DIR=$(mktemp -d "build/run/cosim-XXXXXX")
fi
make_socket_dir
if [[ -n ${NPU_COSIM_PORT:-} || $NO_SIM == yes ]]; then
  ENDPOINT=${NPU_COSIM_PORT:-7557}
else
  ENDPOINT=ipc://$SOCKET_DIR/pcie
fi
if [[ -n $ICOUNT || -n $SIM_CLOCK ]]; then
  ACCEL=tcg
elif [[ -z $GUEST && $ACCEL == auto ]]; then
  # There is no kernel at hand to try KVM with.
  ACCEL=tcg
fi
choose_accel
phase "build or find what is needed"

# ---- the VMs ---------------------------------------------------------------------

# machine NAME DISK ADDRESS PEER MAC: sets ARGS, what is the same in both VMs.
machine() {
  local name=$1 disk=$2 address=$3 peer=$4 mac=$5 memory=$MEMORY run=shell words='' format=raw
  # shellcheck disable=SC2054 # the commas are QEMU's
  ARGS=(-name "$name" -M q35 -cpu "$CPU" -smp "$CPUS" -nodefaults -no-reboot
    "${SNAPSHOT[@]}" -pidfile "$SOCKET_DIR/$name.pid")
  if [[ -n $disk ]]; then
    [[ $(head -c 3 "$disk") != QFI ]] || format=qcow2
    shared_memory "${memory:-2048}"
    ARGS+=("${RAM[@]}" -drive "file=$disk,format=$format,if=none,id=disk0"
      -device 'virtio-blk-pci,drive=disk0')
  else
    case $TEST in
      ping) run=ping words=$PINGS ;;
      net)
        run=net words=$PINGS,$BYTES,first
        [[ $name == accel ]] || words=$PINGS,$BYTES,second
        ;;
      tcp)
        run=tcp words=$PINGS,$BYTES,first${SIM_CLOCK:+,follow}
        [[ $name == accel ]] || words=$PINGS,$BYTES,second
        ;;
    esac
    shared_memory "${memory:-512}"
    ARGS+=("${RAM[@]}" -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initramfs.cpio.gz"
      -append "console=ttyS0 loglevel=5 panic=-1 no_timer_check accel.run=$run accel.args=$words \
accel.ip=$address accel.peer=$peer accel.mac=$mac${TEST:+ accel.tty=ttyS1}")
  fi
  case $CONSOLE in
    "$name") ARGS+=(-display none -chardev "stdio,id=console,signal=off,mux=on,logfile=$RUN_DIR/$name-console.log"
      -mon chardev=console) ;;
    vnc) ARGS+=(-device VGA -device qemu-xhci -device usb-tablet -device usb-kbd
      -vnc "127.0.0.1:$([[ $name == accel ]] && echo "$VNC" || echo $((VNC + 1)))") ;;&
    *) ARGS+=(-chardev "socket,id=console,path=$SOCKET_DIR/$name,server=on,wait=off,logfile=$RUN_DIR/$name-console.log") ;;
  esac
  [[ $CONSOLE == "$name" || $CONSOLE == vnc ]] || ARGS+=(-display none)
  ARGS+=(-serial chardev:console)
  [[ -z $TEST ]] || ARGS+=(-serial "file:$RUN_DIR/$name.log")
}

# netdev ROLE: the option for -netdev.
netdev() {
  case $NETWORK-$1 in
    bridge-accel) printf 'tap,id=net0,ifname=%s-a,script=no,downscript=no\n' "$BRIDGE" ;;
    bridge-plain) printf 'tap,id=net0,ifname=%s-p,script=no,downscript=no\n' "$BRIDGE" ;;
    pair-accel) printf 'stream,id=net0,server=off,addr.type=unix,addr.path=%s,reconnect-ms=200\n' "$SOCKET_DIR/net" ;;
    pair-plain) printf 'stream,id=net0,server=on,addr.type=unix,addr.path=%s\n' "$SOCKET_DIR/net" ;;
  esac
}

# start_vm NAME PROGRAM: with ARGS; VM is its process.
start_vm() {
  local name=$1 program=$2
  if [[ $CONSOLE == "$name" ]]; then
    # Not in a session of its own: it reads the terminal.
    TERMINAL=$(stty -g 2>/dev/null || true)
    "${DIE_WITH_US[@]}" "$program" "${ARGS[@]}" <&0 &
    TERMINAL_PID=$! VM=$!
  else
    start_child "$RUN_DIR/$name-qemu.log" "$RUN_DIR/$name-qemu.log" "$program" "${ARGS[@]}"
    VM=$CHILD
  fi
  note_process "$VM" "the $name VM"
}

SIM_PID=''
if [[ $NO_SIM == no ]]; then
  SIM_ARGS=("+accelerator_endpoint=$ENDPOINT")
  [[ -z $RATE ]] || SIM_ARGS+=("+max_clocks_per_second=$RATE")
  [[ $WAVES == no ]] || SIM_ARGS+=("+waves=$RUN_DIR/waves.fst")
  [[ -z $RECORD ]] || SIM_ARGS+=("+accelerator_record=$RECORD")
  start_child "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err" "$SIM" "${SIM_ARGS[@]}"
  SIM_PID=$CHILD
  note_process "$SIM_PID" "the simulator"
fi
# Shown before a console takes the terminal.
for name in accel plain; do
  [[ $CONSOLE == "$name" || -n $TEST ]] || say "console of the $name VM: socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:$SOCKET_DIR/$name"
done
if [[ $CONSOLE == vnc ]]; then
  say "displays: 127.0.0.1:$VNC (port $((5900 + VNC))), the plain VM's 127.0.0.1:$((VNC + 1))"
fi
[[ $CONSOLE != accel && $CONSOLE != plain ]] || say "the console of the $CONSOLE VM follows; Ctrl-A X ends all"

# The one whose console is in the terminal comes last.
start_plain() {
  machine plain "$PLAIN_DISK" 10.77.0.2 10.77.0.1 "$PLAIN_MAC"
  ARGS+=(-accel "$ACCEL" -netdev "$(netdev plain)" -device "$NIC,netdev=net0,mac=$PLAIN_MAC")
  start_vm plain "$PLAIN_QEMU"
  PLAIN_PID=$VM
}
start_accel() {
  local card="accelerator-pcie,id=acc0,bus=rp0,endpoint=$ENDPOINT"
  machine accel "$DISK" 10.77.0.1 10.77.0.2 "$MAC"
  if [[ -n $ICOUNT ]]; then
    ARGS+=(-accel 'tcg,thread=single' -icount "shift=$ICOUNT,sleep=on")
  else
    ARGS+=(-accel "$ACCEL")
  fi
  ARGS+=(-netdev "$(netdev accel)" -device 'pcie-root-port,id=rp0')
  if [[ $RTL_NIC == yes ]]; then
    card+=",netdev=net0,mac=$MAC"
  else
    ARGS+=(-device "$NIC,netdev=net0,mac=$MAC")
  fi
  ARGS+=(-device "$card${DEVICE:+,$DEVICE}")
  [[ -z $SIM_CLOCK ]] || ARGS+=(-qmp "unix:$SOCKET_DIR/qmp,server=on,wait=off")
  start_vm accel "$QEMU"
  ACCEL_PID=$VM
}
if [[ $CONSOLE == plain ]]; then
  start_accel
  start_plain
else
  start_plain
  start_accel
fi

alive() {
  kill -0 "$1" 2>/dev/null
}

if [[ -z $TEST ]]; then
  [[ $CONSOLE != none && $CONSOLE != vnc ]] || say "both VMs run; Ctrl-C ends them"
  while alive "$ACCEL_PID" && alive "$PLAIN_PID" && { [[ -z $SIM_PID ]] || alive "$SIM_PID"; }; do
    sleep 0.2
  done
  for name in simulator accel plain; do
    case $name in
      accel) pid=$ACCEL_PID ;;
      plain) pid=$PLAIN_PID ;;
      simulator) pid=$SIM_PID ;;
    esac
    if [[ -z $pid ]] || alive "$pid"; then
      continue
    fi
    STATUS=0
    wait "$pid" || STATUS=$?
    say "$name ended first, with status $STATUS"
    if ((STATUS != 0)); then
      FILES=("$RUN_DIR/$name-qemu.log")
      [[ $name != simulator ]] || FILES=("$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err")
      say "$name ended $(last_words "$STATUS" "${FILES[@]}")"
      exit 1
    fi
  done
  RESULT=PASS
  exit 0
fi

# ---- a test ----------------------------------------------------------------------

say "test $TEST over a $NETWORK, the VMs run with $ACCEL"
FAILURES=() FOLLOWS=no
# At the end of its boot the guest asks for it, and counts for some seconds before it goes on.
follow() {
  local path=/machine/peripheral/acc0 i
  FOLLOWS=yes
  scripts/qmp.py "$SOCKET_DIR/qmp" qom-set \
    "{\"path\": \"$path\", \"property\": \"sim-clock\", \"value\": $SIM_CLOCK}" >/dev/null ||
    die "guest time cannot follow the simulator's"
  for ((i = 0; i < 100; i++)); do
    if scripts/qmp.py "$SOCKET_DIR/qmp" qom-get \
      "{\"path\": \"$path\", \"property\": \"follows-sim\"}" | grep -qi true; then
      [[ $(guest_says accel mark) != *go* ]] || die "the guest went on before its time followed"
      return 0
    fi
    sleep 0.05
  done
  die "guest time does not follow the simulator's"
}
END=$((SECONDS + TIMEOUT)) BOOTED=no TOLD=$SECONDS
guest_says() {
  sed -n "s/\r\$//; s/^ACCEL $2=//p" "$RUN_DIR/$1.log" 2>/dev/null
}
while true; do
  if [[ $BOOTED == no && -n $(guest_says accel nic) && -n $(guest_says plain nic) ]]; then
    BOOTED=yes
    phase "start and boot both VMs"
  fi
  if [[ -n $SIM_CLOCK && $FOLLOWS == no && $(guest_says accel mark) == *follow* ]]; then
    follow
  fi
  if [[ $(guest_says accel phase)$(guest_says plain phase) == *done*done* ]]; then
    break
  fi
  # One that failed keeps the other waiting.
  [[ -z $(guest_says accel error)$(guest_says plain error) ]] || break
  for name in accel plain; do
    pid=$ACCEL_PID
    [[ $name == accel ]] || pid=$PLAIN_PID
    alive "$pid" || FAILURES+=("the $name VM ended before the test")
  done
  if [[ -n $SIM_PID ]] && ! alive "$SIM_PID"; then
    STATUS=0
    wait "$SIM_PID" || STATUS=$?
    FAILURES+=("the simulator has ended $(last_words "$STATUS" "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err")")
  fi
  ((SECONDS < END)) || FAILURES+=("the test is not through after $TIMEOUT s")
  ((${#FAILURES[@]} == 0)) || break
  if ((SECONDS - TOLD >= 20)); then
    TOLD=$SECONDS
    say "still at work; it is given up in $((END - SECONDS)) s"
  fi
  sleep 0.2
done
phase "work of the guests"
end_process "-$ACCEL_PID"
end_process "-$PLAIN_PID"
if [[ -n $SIM_PID ]]; then
  end_process "-$SIM_PID"
  wait_child "$SIM_PID" 20 "the simulator"
  ((STATUS == 0)) || FAILURES+=("the simulator ended with status $STATUS")
fi
phase "end all"
for name in accel plain; do
  while IFS= read -r line; do
    FAILURES+=("the $name VM says: $line")
  done < <(guest_says "$name" error)
  status=$(guest_says "$name" status)
  [[ $status == 0 ]] || FAILURES+=("the $name VM's test ended with status ${status:-none}")
done
if [[ $TEST == net || $TEST == tcp ]]; then
  for name in accel plain; do
    other=plain
    [[ $name == accel ]] || other=accel
    sent=$(guest_says "$name" sent_sha256) received=$(guest_says "$other" received_sha256)
    if [[ ${#sent} != 64 || $sent != "$received" ]]; then
      FAILURES+=("the $name VM sent data with the sum '$sent', '$received' arrived")
    fi
    bytes=$(guest_says "$other" received_bytes)
    [[ $bytes == "$BYTES" ]] || FAILURES+=("the $name VM sent $BYTES bytes, ${bytes:-none} arrived")
  done
fi
((${#FAILURES[@]})) || RESULT=PASS

show() {
  printf '  %-34s %s\n' "$1" "$2"
}
counted() {
  grep -ohE "\b$1=[0-9.]+" "$RUN_DIR/simulator.log" | tail -n 1 | cut -d= -f2 || true
}
printf '\nWhat the guests saw\n'
for name in accel plain; do
  # It is said again when the driver comes back.
  show "$name VM" "$(guest_says "$name" nic | head -n 1)"
done
guest_says accel lspci | grep -E '^[0-9a-f]{2}:|Kernel driver' | sed 's/^[[:space:]]*/  /' || true
printf '\nWhat was done\n'
for name in accel plain; do
  while IFS='=' read -r key value; do
    case $key in
      rtt_us | sent_us | received_us | tcp | ping | ping_ms | link_down_and_up | driver_away_and_back) show "$name ${key//_/ }" "$value" ;;
    esac
  done < <(sed -n 's/\r$//; s/^ACCEL //p' "$RUN_DIR/$name.log" 2>/dev/null)
done
clocks=$(counted clocks) rate=$(counted clocks_per_second)
# In microseconds of a clock of 4 ns, the bridge's unless told otherwise; the guest's time
# is the wall's.
simulated() {
  printf '%s\n' "$(($1 * rate / 250000))"
}
if [[ $RTL_NIC == yes && -n $rate && -z $ICOUNT ]]; then
  average=$(guest_says accel ping_ms | sed 's|.*= *[0-9.]*/\([0-9]*\).*|\1|')
  [[ ! $average =~ ^[0-9]+$ ]] || show "accel ping, average simulated" "about $(simulated "$average") us"
fi
for name in accel plain; do
  ms=''
  [[ $TEST == tcp ]] || ms=$(guest_says "$name" sent_ms)
  if [[ -n $ms ]]; then
    show "$name sent" "$BYTES bytes in $ms ms, $((BYTES * 1000 / 1024 / (ms > 0 ? ms : 1))) KiB per second"
    if [[ $RTL_NIC == yes && -n $rate && -z $ICOUNT ]]; then
      us=$(simulated "$ms")
      show "$name sent, simulated" "about $us us, $((BYTES * 1000000 / 1024 / (us > 0 ? us : 1))) KiB per second"
    fi
    show "sha256" "$(guest_says "$name" sent_sha256)"
  fi
done
if [[ -n $clocks ]]; then
  printf '\nWhat the simulator counted\n'
  show "clocks" "$clocks"
  show "clocks per second" "$(counted clocks_per_second)"
fi
COMPLAINTS=$(complaints "$RUN_DIR/simulator.log" "$RUN_DIR/simulator.err" || true)
if [[ -n $COMPLAINTS ]]; then
  printf '\nWhat the simulator complained of\n%s\n' "$COMPLAINTS"
fi
printf '\nSeconds of each phase\n'
printf '  %s\n' "${PHASES[@]}"
if [[ $RESULT != PASS ]]; then
  printf '\nThe last lines of\n'
  for file in accel.log plain.log accel-qemu.log plain-qemu.log accel-console.log \
    plain-console.log simulator.err; do
    sed "s/^/  $file: /" < <(tail -n 8 "$RUN_DIR/$file" 2>/dev/null)
  done
  printf '\n'
  printf '%s\n' "${FAILURES[@]}"
fi
printf '\n%s\n' "$RESULT"
[[ $RESULT == PASS ]]
