#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What scripts/demo.sh says and does when something goes wrong, and its options for the VM.
set -euo pipefail
SCRIPT_NAME='test-demo.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

TESTS=(diverted refusals early shell middle talk complaints panic options disk waves interrupt own_guest)

usage() {
  cat <<EOF
usage: scripts/test-demo.sh [--qemu DIR] [TEST...]

  diverted    on a Debian whose packages have moved files the guest's sources are found
  refusals    a folder as a simulation, a program that needs shared libraries, what QEMU's own
              vfio-user-pci has not
  early       a simulator that ends before there is a card
  shell       the same for a demo with a prompt
  middle      a simulator that ends while the guest works
  talk        the same while the guest talks all the time
  complaints  RTL that raises a vector which it has not: the summary has it
  panic       a guest's kernel that panics is named
  options     memory, CPUs, kernel arguments, a virtual IOMMU
  disk        a disk image of the user's boots, sees the card, and is left alone with --snapshot
  waves       waves from when the driver comes
  interrupt   Ctrl-C leaves nothing behind
  own_guest   a plain demo leaves the user's own guest alone

  --qemu DIR  the QEMU in DIR/bin (default: build/qemu/patched)
  --help      this text
EOF
}

QEMU_DIR=build/qemu/patched WANTED=()
while (($#)); do
  case $1 in
    --qemu)
      (($# >= 2)) || die "--qemu needs a folder"
      QEMU_DIR=$2
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      [[ " ${TESTS[*]} " == *" $1 "* ]] || die "no test $1; see --help"
      WANTED+=("$1")
      ;;
  esac
  shift
done
((${#WANTED[@]})) || WANTED=("${TESTS[@]}")

# The developer's own guest, while a test has another in its place.
ASIDE=build/guest.aside
# shellcheck disable=SC2329 # called by trap
put_back() {
  rm -rf build/guest
  mv "$ASIDE" build/guest
}
if [[ -e $ASIDE ]]; then
  # A test was killed.
  [[ $(cat build/guest/vmlinuz 2>/dev/null) == 'mine vmlinuz' ]] ||
    die "$ASIDE and build/guest are both there; keep the one that is yours as build/guest"
  put_back
fi

WORK=$(mktemp -d "${TMPDIR:-/tmp}/accelerator-XXXXXX")
# shellcheck disable=SC2329 # called by trap
cleanup() {
  local status=$?
  rm -rf "$WORK"
  [[ ! -e $ASIDE ]] || put_back
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$WORK/sockets"

scripts/build-sim.sh regs
scripts/build-sim.sh probe
cat >"$WORK/run" <<'RUN'
#!/bin/sh
case $1 in
  panic) echo c >/proc/sysrq-trigger ;;
  # regs.sv: raises that vector, of which there are eight.
  vector) accel-mmio write 4 0xc 200 ;;
  # For a minute and longer.
  talk)
    i=0
    while [ "$i" -lt 700 ]; do
      echo "talks on $i"
      i=$((i + 1))
      sleep 0.1
    done
    ;;
  look)
    echo "ACCEL groups=$(ls /sys/kernel/iommu_groups | wc -l)"
    echo "ACCEL memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
    echo "ACCEL word=$(grep -c mine=yes /proc/cmdline)"
    ;;
esac
RUN
scripts/build-guest.sh --run "$WORK/run" --out "$WORK/guest"

# fake NAME: a simulation that is the script on standard input.
fake() {
  { printf '#!/bin/bash\n'; cat; } >"$WORK/$1"
  chmod +x "$WORK/$1"
}

# demo STATUS ARG...: runs it and looks at how it ends; OUTPUT is what it said.
demo() {
  local expected=$1 status=0
  shift
  OUTPUT=$(TMPDIR=$WORK/sockets scripts/demo.sh --qemu "$QEMU_DIR" "$@" 2>&1 </dev/null) || status=$?
  printf '%s\n' "$OUTPUT"
  if [[ $* != *--shell* && " $* " != *' --sim build/sim/regs '* ]]; then
    if ((status == 0)); then says PASS; else says FAIL; fi
  fi
  ((status == expected)) || die "demo.sh $* ended with status $status, expected $expected"
}

says() {
  [[ $OUTPUT == *"$1"* ]] || die "the demo does not say: $1"
}

says_not() {
  [[ $OUTPUT != *"$1"* ]] || die "the demo says: $1"
}

nothing_left() {
  [[ -z $(ls -A "$WORK/sockets") ]] || die "left behind: $(ls -A "$WORK/sockets")"
}

test_diverted() {
  local found
  mkdir -p "$WORK/bin"
  cat >"$WORK/bin/dpkg-query" <<'EOT'
#!/bin/sh
# As Debian 13's says it, whose libc6 has moved the dynamic linker.
[ "$*" = '--search */ld-linux-x86-64.so.2 */libz.so.1' ] && [ "$LC_ALL" = C ] || exit 2
cat <<'LINES'
diversion by libc6 from: /lib64/ld-linux-x86-64.so.2
diversion by libc6 to: /lib64/ld-linux-x86-64.so.2.usr-is-merged
local diversion from: /usr/lib/x86_64-linux-gnu/libz.so.1
libc6:amd64: /usr/lib64/ld-linux-x86-64.so.2
zlib1g:amd64, zlib1g:i386: /usr/lib/x86_64-linux-gnu/libz.so.1
LINES
EOT
  chmod +x "$WORK/bin/dpkg-query"
  found=$(PATH=$WORK/bin:$PATH owners_of libz.so.1 ld-linux-x86-64.so.2)
  [[ $found == $'libc6:amd64\nzlib1g:amd64\nzlib1g:i386' ]] || die "these packages are found: $found"
}

test_refusals() {
  demo 1 --sim build/sim/regs --shell
  says 'build/sim/regs is a folder'
  demo 1 --sim build/sim/regs/regs --shell --sim-folder build/sim/regs/regs
  says 'build/sim/regs/regs, which is no folder'
  demo 1 --sim build/sim/regs/regs --shell --vfio-user --iommu
  says 'does not support a virtual IOMMU'
  demo 1 --example virtio_net --shell --vfio-user
  says 'has a network side'
  local output
  ! output=$(scripts/build-guest.sh --program "$(command -v ls)" --out "$WORK/none" 2>&1) ||
    die "a program that is linked dynamically is accepted"
  [[ $output == *'is linked dynamically'* ]] || die "$output"
}

test_early() {
  fake early <<<'echo "Bar0Size is 3000, expected a power of two" >&2; exit 3'
  demo 1 --sim "$WORK/early" --example regs
  says 'the simulator has ended with status 3'
  says 'Bar0Size is 3000'
  says_not 'no simulator at'
}

test_shell() {
  fake early <<<'echo "Bar0Size is 3000, expected a power of two" >&2; exit 3'
  demo 1 --sim "$WORK/early" --shell
  says 'the simulator has ended with status 3'
  says 'Bar0Size is 3000'
  says_not 'no simulator at'
}

# dies NAME DESIGN LINE: a simulation of DESIGN that ends when the guest has said LINE, and leaves
# a file NAME.died.
dies() {
  fake "$1" <<DIES
"$REPO_DIR/build/sim/$2/$2" "\$@" &
log=\$(readlink /proc/\$\$/fd/1)
until grep -q '$3' "\${log%/*}/serial.log" 2>/dev/null; do sleep 0.2; done
kill -KILL \$!
echo '%Error: $2.sv:1: Assertion failed: on purpose' >&2
: >"$WORK/$1.died"
exit 134
DIES
}

# The death is told of with its words, and within half a minute the demo is over: it looks each
# second, and ends the VM. The guest would go on for twice as long.
says_soon() {
  local took
  took=$(($(date +%s) - $(stat -c %Y "$WORK/$1.died")))
  says 'the simulator has ended with status 134 (SIGABRT)'
  says 'Assertion failed: on purpose'
  say "$took s from the simulator's death to the end of the demo"
  ((took <= 30)) || die "the demo ended $took s after the simulator, expected 30 at most"
}

test_middle() {
  dies middle probe phase=loaded
  demo 1 --sim "$WORK/middle" --example probe --rounds 100000000
  says_soon middle
}

test_talk() {
  dies talk regs 'talks on 20'
  demo 1 --sim "$WORK/talk" --run --guest "$WORK/guest" --append accel.args=talk
  says_soon talk
  says_not 'talks on 600'
}

test_complaints() {
  demo 0 --sim build/sim/regs/regs --run --guest "$WORK/guest" --append accel.args=vector
  says 'What the simulator complained of'
  says '200'
  says 'logs: '
}

test_panic() {
  demo 1 --sim build/sim/regs/regs --run --guest "$WORK/guest" --append accel.args=panic
  says "the guest's kernel: Kernel panic"
}

value() {
  sed -n "s/^  $1 *\([0-9]*\)\$/\1/p" <<<"$OUTPUT"
}

test_options() {
  demo 0 --sim build/sim/regs/regs --run --guest "$WORK/guest" --iommu --memory 768 --cpus 3 \
    --append 'mine=yes accel.args=look' --qemu-args '-name mine'
  (($(value groups) > 0)) || die "there is no IOMMU in the guest"
  (($(value memory) > 600000)) || die "the guest has $(value memory) KiB, expected about 768 MiB"
  (($(value word) == 1)) || die "the kernel's command line lacks what was added"
  [[ $OUTPUT =~ kernel,\ vCPUs\ .*,\ 3$'\n' ]] || die "the guest has not 3 vCPUs"
}

# A boot sector that tells on the first serial port what it finds, writes itself to the sector
# behind, and resets the machine.
boot_sector() {
  need_packages binutils
  cat >"$WORK/boot.s" <<'BOOT'
.code16
.globl _start
_start:
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  movb %dl, drive
  movw $boots, %si
  call say
  # PCI BIOS: find the first function with these ids.
  movw $0xb102, %ax
  movw $0x7011, %cx
  movw $0x10ee, %dx
  xorw %si, %si
  int $0x1a
  jc 1f
  movw $card, %si
  call say
1: movw $0x0301, %ax
  movw $0x0002, %cx
  xorb %dh, %dh
  movb drive, %dl
  movw $_start, %bx
  int $0x13
  jc 2f
  movw $wrote, %si
  call say
2: movb $0xfe, %al
  outb %al, $0x64
3: hlt
  jmp 3b
say:
  movw $0x3fd, %dx
4: inb %dx, %al
  testb $0x20, %al
  jz 4b
  movw $0x3f8, %dx
  lodsb
  outb %al, %dx
  cmpb $10, %al
  jne say
  ret
boots: .ascii "DISK boots\r\n"
card: .ascii "DISK sees the card\r\n"
wrote: .ascii "DISK is written\r\n"
drive: .byte 0
.org 510
  .word 0xaa55
BOOT
  as --32 -o "$WORK/boot.o" "$WORK/boot.s"
  ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$WORK/boot" "$WORK/boot.o"
}

test_disk() {
  local disk=$WORK/disk.img
  boot_sector
  cp "$WORK/boot" "$disk"
  truncate -s 1M "$disk"
  cp "$disk" "$WORK/before.img"
  ! OUTPUT=$(scripts/demo.sh --qemu "$QEMU_DIR" --sim build/sim/regs/regs --disk "$disk" 2>&1) ||
    die "a disk image is taken without --shell"
  says '--disk needs --shell'
  demo 0 --sim build/sim/regs/regs --shell --disk "$disk" --snapshot
  says 'DISK boots'
  says 'DISK sees the card'
  says 'DISK is written'
  cmp "$disk" "$WORK/before.img" || die "--snapshot changes the disk image"
  demo 0 --sim build/sim/regs/regs --shell --disk "$disk"
  says 'DISK is written'
  cmp --ignore-initial=512:0 --bytes=128 "$disk" "$WORK/boot" || die "the disk image is not written"
}

test_waves() {
  demo 0 --example regs --waves-from driver
  local folder
  folder=$(sed -n 's/^Waveform: //p' <<<"$OUTPUT")
  [[ -s $folder ]] || die "there are no waves in $folder"
  grep -q 'waves go to .* from clock [1-9]' "${folder%/*}/simulator.log" ||
    die "the waves began at the start"
  rm -rf "${folder%/*}"
}

test_interrupt() {
  local pid status i
  for i in 1 2 3; do
    # The shell has what it starts in the background ignore Ctrl-C.
    TMPDIR=$WORK/sockets env --default-signal=INT scripts/demo.sh --qemu "$QEMU_DIR" \
      --sim build/sim/probe/probe --example probe --rounds 100000000 >"$WORK/interrupted" 2>&1 </dev/null &
    pid=$!
    case $i in
      1) until grep -q starting "$WORK/interrupted" || ! kill -0 "$pid" 2>/dev/null; do sleep 0.1; done ;;
      *) sleep "$((i * 4))" ;;
    esac
    kill -INT "$pid"
    status=0
    wait "$pid" || status=$?
    cat "$WORK/interrupted"
    ((status == 130)) || die "Ctrl-C ended with status $status"
    nothing_left
  done
}

test_own_guest() {
  local file
  mkdir -p build/guest
  mv build/guest "$ASIDE"
  # What nobody could boot: a demo that uses it fails, and one that replaces it is noticed.
  mkdir build/guest
  for file in vmlinuz initramfs.cpio.gz; do
    echo "mine $file" >build/guest/$file
  done
  demo 0 --example regs --sim build/sim/regs/regs
  for file in vmlinuz initramfs.cpio.gz; do
    [[ ! -L build/guest/$file && $(<build/guest/$file) == "mine $file" ]] ||
      die "a plain demo has replaced build/guest/$file"
  done
  put_back
}

for name in "${WANTED[@]}"; do
  say "$name"
  # A shell of its own, so that `set -e` holds in it.
  ("test_$name")
  nothing_left
done
say "${#WANTED[@]} passed"
