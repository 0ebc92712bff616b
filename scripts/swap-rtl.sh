#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Puts changed RTL under a running guest.
set -euo pipefail
SCRIPT_NAME='swap-rtl.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SWAP_BEGIN=$(clock_us)

usage() {
  cat <<EOF
usage: scripts/swap-rtl.sh [option...] [what to build]

Rebuilds the RTL, replaces the running simulator by the new one and brings the
guest's driver back: the guest releases the card, it is plugged in again with the
identity that the new RTL has, and the driver probes it. Nothing in the guest takes
part but its hot plug and its driver. Prints the seconds of each part from the start of
the build until the driver has the card again.

What to build, as scripts/build-sim.sh takes it (default: what the VM was started
with):
  EXAMPLE                    an example
  --top MODULE --files LIST  a design of your own
  -D NAME[=V], -G NAME=V     macros and parameters for it
  --waves                    with waves
  --optimise                 as fast a simulation as scripts/build-sim.sh makes. Otherwise
                             the build is one for editing (its --edit): it is there
                             sooner, and runs a little slower
  --sim PROGRAM              nothing: run this program, which you have built

Which VM:
  --run DIR         a folder of scripts/demo.sh (default: that of the demo that was
                    started last and still runs)
  For a VM that you have started yourself, with the card below a port that can be
  hot plugged and with -qmp unix:PATH,server=on,wait=off:
  --qmp PATH        that socket
  --pid PID         the simulator that runs now. The new one gets its arguments, its
                    working directory and, where that is a file, its output

  --device ID       which card, where there are several
  --driver FLAG     what says that the driver is back: bus-master (default),
                    memory-enabled (for a driver without DMA and MSI-X), or link-up
                    (there is no driver)
  --timeout S       give up after so many seconds without the driver (default 60)
  --help            this text
EOF
}

BUILD=() EDIT=(--edit) SIM='' RUN='' QMP='' PID='' DEVICE='' DRIVER='' TIMEOUT=60
while (($#)); do
  case $1 in
    --top | --files | -D | -G | --sim | --run | --qmp | --pid | --device | --driver | --timeout)
      (($# >= 2)) || die "$1 needs a value; see --help"
      case $1 in
        --top | -D | -G) BUILD+=("$1" "$2") ;;
        --files) BUILD+=("$1" "$(realpath "$2")") ;;
        --sim) SIM=$(realpath "$2") ;;
        --run) RUN=$(realpath "$2") ;;
        --qmp) QMP=$2 ;;
        --pid) PID=$2 ;;
        --device) DEVICE=$2 ;;
        --driver) DRIVER=$2 ;;
        --timeout) TIMEOUT=$2 ;;
      esac
      shift
      ;;
    --waves) BUILD+=("$1") ;;
    --optimise) EDIT=() ;;
    --help | -h)
      usage
      exit 0
      ;;
    -*) die "unknown option $1; see --help" ;;
    *) BUILD+=("$1") ;;
  esac
  shift
done
[[ $TIMEOUT =~ ^[0-9]+$ ]] || die "--timeout is $TIMEOUT, expected seconds"
case $DRIVER in
  '' | bus-master | memory-enabled | link-up) ;;
  *) die "--driver is $DRIVER, expected bus-master, memory-enabled or link-up" ;;
esac

# ---- which VM --------------------------------------------------------------------

# Sets QMP, PID, ENDPOINT, DEVICE and WHAT from the file that demo.sh leaves.
read_run() {
  local name value
  while IFS='=' read -r name value; do
    case $name in
      qmp) QMP=$value ;;
      simulator_pid) PID=$value ;;
      device) DEVICE=${DEVICE:-$value} ;;
      endpoint)
        [[ $value != vfio-user:* ]] ||
          die "the card is behind QEMU's vfio-user-pci, which does not take a simulator that comes back; start the demo without --qemu stock and --vfio-user"
        ;;
      build) read -r -a WHAT <<<"$value" ;;
    esac
  done <"$1/vm"
}

WHAT=()
if [[ -n $QMP ]]; then
  [[ -n $PID ]] || die "--qmp needs --pid, the simulator that runs now"
elif [[ -n $RUN ]]; then
  [[ -f $RUN/vm ]] || die "$RUN is no folder of a demo that runs: it has no file vm"
  read_run "$RUN"
else
  mapfile -t FILES < <(find "$REPO_DIR/build/run" -mindepth 2 -maxdepth 2 -name vm \
    -printf '%T@ %p\n' 2>/dev/null | sort -rn | cut -d' ' -f2-)
  for file in "${FILES[@]}"; do
    read_run "${file%/vm}"
    if [[ -S $QMP ]]; then
      RUN=${file%/vm}
      break
    fi
    QMP='' PID='' WHAT=()
  done
  [[ -n $RUN ]] || die "no demo runs here: start scripts/demo.sh --shell, or see --help for your own VM"
fi
[[ -S $QMP ]] || die "$QMP is no socket: the VM has ended, or has no QMP"
have python3 || need_packages python3

qmp() {
  python3 "$REPO_DIR/scripts/qmp.py" "$QMP" "$@"
}

CARD=$(qmp find ${DEVICE:+"$DEVICE"})

# What the simulator was started with. Known before it is ended.
[[ -r /proc/$PID/cmdline ]] || die "process $PID, the simulator, is not there"
mapfile -d '' -t COMMAND <"/proc/$PID/cmdline"
OLD=$(readlink "/proc/$PID/exe")
OLD=${OLD% (deleted)}
CWD=$(readlink "/proc/$PID/cwd")
output() {
  local file
  file=$(readlink "/proc/$PID/fd/$1" || true)
  if [[ -f $file ]]; then printf '%s\n' "$file"; else printf '%s\n' /dev/null; fi
}
OUT=$(output 1) ERR=$(output 2)

# ---- build -----------------------------------------------------------------------

((${#BUILD[@]})) || [[ -n $SIM ]] || BUILD=("${WHAT[@]}")
if [[ -z $SIM ]] && ((${#BUILD[@]})); then
  # Its last line is "[build-sim] NAME: PROGRAM".
  exec 8>&1
  LAST=$("$REPO_DIR/scripts/build-sim.sh" "${EDIT[@]}" "${BUILD[@]}" | tee >(cat >&8) | tail -n 1) ||
    die "the RTL does not build; the old simulator still runs"
  exec 8>&-
  SIM=${LAST#*: }
fi
SIM=${SIM:-$OLD}
[[ -x $SIM ]] || die "the simulation $SIM is not there"
BUILT=$(clock_us)

# ---- swap ------------------------------------------------------------------------

if [[ -z $DRIVER ]]; then
  DRIVER=link-up
  state=$(qmp state "$CARD")
  if [[ $state == *bus-master=true* ]]; then
    DRIVER=bus-master
  elif [[ $state == *memory-enabled=true* ]]; then
    DRIVER=memory-enabled
  else
    say "no driver has the card: waiting for the link alone"
  fi
fi

# The old one first: a driver that waits for it gets all ones and can let go. The demo that
# watches over it is told.
[[ -z $RUN ]] || sed -i 's/^simulator_pid=.*/simulator_pid=swap/' "$RUN/vm"
kill -TERM "$PID" 2>/dev/null || true
for ((i = 0; i < 200; i++)); do
  # Nobody may have picked up its status yet.
  grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$PID/status" || break
  sleep 0.02
done
if ((i == 200)); then
  warn "the simulator did not end within 4 s of SIGTERM; killing it"
  kill -KILL "$PID" 2>/dev/null || true
fi

REPLUG=yes
qmp replug "$CARD" || REPLUG=no

NEW=$(
  cd "$CWD"
  # Not ours to wait for, and not in our terminal's group.
  setsid "$SIM" "${COMMAND[@]:1}" </dev/null >>"$OUT" 2>>"$ERR" &
  printf '%s\n' "$!"
)
if [[ -n $RUN ]]; then
  sed -i "s/^simulator_pid=.*/simulator_pid=$NEW/" "$RUN/vm"
fi
say "simulator $NEW: $SIM"
STARTED=$(clock_us)
if [[ $REPLUG == no ]]; then
  warn "the card cannot be plugged in again in this VM (see above): the guest keeps it as it was;"
  warn "in the guest: echo 1 > /sys/bus/pci/devices/ADDRESS/remove; echo 1 > /sys/bus/pci/rescan"
  DRIVER=link-up
fi

qmp wait "$CARD" "$DRIVER" "$TIMEOUT" ||
  die "the driver is not back; look at the guest's log${RUN:+, and at $RUN}"
kill -0 "$NEW" 2>/dev/null || die "the new simulator has ended; see $ERR"
END=$(clock_us)

say "build $(seconds_between "$SWAP_BEGIN" "$BUILT") s, swap $(seconds_between "$BUILT" "$STARTED") s, driver ($DRIVER) $(seconds_between "$STARTED" "$END") s"
say "seconds from save to re-probed: $(seconds_between "$SWAP_BEGIN" "$END")"
