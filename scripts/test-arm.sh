#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Guests of AArch64: the same drivers, cross-built, on QEMU's machine virt.
set -euo pipefail
SCRIPT_NAME='test-arm.sh'
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

usage() {
  cat <<EOF
usage: scripts/test-arm.sh [--qemu DIR] [--rounds N]

Has a guest of AArch64 sort, then the probe with its rounds of done register and
buffer on processors that are weakly ordered, and each size and alignment of access
to registers; then sort behind an SMMUv3. The guest's kernel has to have its
interrupts from the interrupt translation service. Last what is refused.

  --qemu DIR    the QEMU in DIR/bin (default: what scripts/build-qemus.sh --target
                aarch64 builds)
  --rounds N    rounds of the probe (default: 2000)
  --help        this text
EOF
}

QEMU=() ROUNDS=2000
while (($#)); do
  case $1 in
    --qemu | --rounds)
      (($# >= 2)) || die "$1 needs a value"
      case $1 in
        --qemu) QEMU=(--qemu "$2") ;;
        --rounds) ROUNDS=$2 ;;
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

make_folder target/test
OUTPUT=target/test/arm.output

# demo OPTION...: a run that passes, and keeps its logs. LOGS is their folder.
demo() {
  say "demo.sh --arch aarch64 $*"
  scripts/demo.sh --arch aarch64 "${QEMU[@]}" --keep "$@" >"$OUTPUT" 2>&1 || {
    cat "$OUTPUT"
    die "demo.sh $* failed"
  }
  cat "$OUTPUT"
  LOGS=$(sed -n 's/^\[demo.sh\] logs: //p' "$OUTPUT")
  [[ -d $LOGS ]] || die "demo.sh named no folder of logs"
}

# printed TEXT: the summary has this line, whatever the width of its columns.
printed() {
  tr -s ' ' <"$OUTPUT" | grep -qxE " ?$1" || die "the summary has no line '$1'"
}

kernel_said() {
  grep -aqE "$1" "$LOGS/kernel.log" || die "the guest's kernel did not say '$1': $LOGS/kernel.log"
}

drop_logs() {
  rm -rf "$LOGS"
}

# refused TEXT OPTION...: demo.sh ends with this sentence.
refused() {
  local text=$1
  shift
  ! scripts/demo.sh --arch aarch64 "$@" >"$OUTPUT" 2>&1 || die "demo.sh --arch aarch64 $* was not refused"
  grep -qF -- "$text" "$OUTPUT" || {
    cat "$OUTPUT"
    die "demo.sh --arch aarch64 $* did not say: $text"
  }
}

demo --example sort --blocks 32 --append 'loglevel=8'
printed 'kernel, vCPUs .*arm64, 2'
printed 'blocks wrong 0'
printed 'interrupts requested 32'
printed 'Kernel driver in use: accel_sort'
printed 'Capabilities: .* MSI-X: Enable\+ .*'
# There is no other way for messages in a machine with this interrupt controller.
kernel_said 'GICv3: .* SPIs implemented'
kernel_said 'ITS@0x[0-9a-f]+: allocated'
drop_logs

demo --example probe --rounds "$ROUNDS"
printed "litmus rounds $ROUNDS"
printed 'litmus violations 0'
printed 'test write passes waiting read pass'
printed 'test interrupt vectors pass'
drop_logs

demo --example regs
drop_logs

demo --example sort --blocks 8 --iommu --append 'loglevel=8'
printed 'blocks wrong 0'
kernel_said 'arm-smmu-v3 .*: ias '
kernel_said '0000:01:00.0: Adding to iommu group'
drop_logs

refused 'KVM has no guests of aarch64 here' --example sort --accel kvm
refused '--example virtio_net has guests of x86_64 alone' --example virtio_net
refused '--example litepcie has guests of x86_64 alone' --example litepcie
refused 'a disk image for aarch64 needs firmware' --shell --disk scripts/test-arm.sh
say "all as it should be"
