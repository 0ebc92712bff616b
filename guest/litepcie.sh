#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# LitePCIe's own litepcie_util on LitePCIe's own driver: what it says of the card, its test of a
# register, and its test of DMA, with the loopback that is in the core and the one outside.
# scripts/demo.sh --example litepcie runs this, with the kinds of loopback as arguments.

status=0
fail() {
  echo "ACCEL error=$*"
  status=1
}

card=$(cd /sys/bus/pci/drivers/litepcie && echo 0000:*)
if [ ! -e /dev/litepcie0 ]; then
  fail "the driver litepcie has taken no card: $(dmesg | grep litepcie | tail -n 3 | tr '\n' ' ')"
  exit 1
fi
lspci -vv -s "$card" 2>/dev/null | sed 's/^/ACCEL lspci=/'

# What it says to a terminal is in colours, and in full.
plain() {
  sed 's/\x1b\[[0-9;]*m//g' "$1"
}

litepcie_util info >/tmp/info || fail "litepcie_util info ended with status $?"
identifier=$(plain /tmp/info | sed -n 's/^SoC Identifier *: \(.*\)\.$/\1/p')
case $identifier in
  'LitePCIe standalone core 20'*) echo "ACCEL identifier=$identifier" ;;
  *) fail "litepcie_util info calls the core '$identifier'" ;;
esac

litepcie_util scratch_test >/tmp/scratch || fail "litepcie_util scratch_test ended with status $?"
read_back=$(plain /tmp/scratch | sed -n 's/^Read: //p' | tr '\n' ' ')
echo "ACCEL scratch_read=$read_back"
[ "$read_back" = '0x12345678 0xdeadbeef ' ] || fail "litepcie_util scratch_test has read $read_back"

# The test looks at no data before the card has been 128 times through its 256 buffers of 8 KiB,
# each way. How much the program has read says the kernel. It is told of errors each 200 ms.
UNCHECKED=$((128 * 256))
BUFFER=8192

# The card does not wait for the program: where that is too slow, the driver says how many buffers
# were lost, and those of another round are compared with what is expected of them.
lost() {
  dmesg | grep 'litepcie.*buffers lost' | tail -n 1
}

# The lines of a test are those of the last one.
dma_test() { # KIND OPTION...
  kind=$1
  shift
  tries=0
  while :; do
    tries=$((tries + 1))
    before=$(lost)
    dma_test_once "$@" && break
    after=$(lost)
    # Only the comparison: a test that stands still or ends is none of this kind.
    if [ -z "$judged" ] || [ "$after" = "$before" ]; then
      break
    fi
    why="$why, and the driver: $after"
    if [ $tries -ge 3 ]; then
      why="$why; in $tries tests the guest was too slow for the card"
      break
    fi
    echo "ACCEL progress=dma_test, $kind loopback, again: too slow a guest: ${after#*litepcie }"
  done
  [ -z "$judged" ] || cat /tmp/judged
  [ -z "$why" ] || fail "dma_test, $kind loopback, $why"
}

# Leaves what is wrong in `why`, and in /tmp/judged, if `judged` says so, the lines.
dma_test_once() { # OPTION...
  why='' judged=''
  litepcie_util "$@" dma_test >/tmp/dma 2>&1 &
  pid=$!
  said=0 read=0 still=0
  while [ "$read" -lt $(((UNCHECKED + 256) * BUFFER)) ]; do
    sleep 1
    earlier=$read
    read=$(sed -n 's/^rchar: //p' "/proc/$pid/io" 2>/dev/null)
    read=${read:-0}
    if ! kill -0 $pid 2>/dev/null; then
      why="has ended: $(plain /tmp/dma | tail -n 2 | tr '\n' ' ')"
      return 1
    fi
    if [ "$read" -lt $((earlier + BUFFER)) ]; then
      still=$((still + 1))
      if [ $still -ge 30 ]; then
        why="has stood still for $still s after $read bytes"
        kill -KILL $pid
        return 1
      fi
    else
      still=0
    fi
    if [ $((read >> 26)) -gt $said ]; then
      said=$((read >> 26))
      echo "ACCEL progress=dma_test, $kind loopback: $((read >> 20)) MiB"
    fi
  done
  sleep 2
  kill -INT $pid
  wait $pid || { why="ended with status $?"; return 1; }
  judged=1
  # Gbps, buffers sent, buffers received, their difference, errors since the line before.
  plain /tmp/dma | awk -v kind="$kind" -v unchecked=$UNCHECKED '
    NF == 5 && $1 ~ /^[0-9.]+$/ {
      if ($3 > unchecked) { if (lines++ == 0) first = $3; last = $3; errors += $5 }
      else if ($5 != 0) early += $5
      total = $3
    }
    END {
      printf "ACCEL dma_%s_buffers=%d\n", kind, total
      printf "ACCEL dma_%s_buffers_checked=%d\n", kind, last - first
      printf "ACCEL dma_%s_errors=%d\n", kind, errors + early
      exit !(lines >= 2 && last > first && errors + early == 0)
    }' >/tmp/judged && return
  why="says: $(plain /tmp/dma | tail -n 3 | tr '\n\t' '; ')"
  return 1
}

for kind; do
  case $kind in
    internal) dma_test internal ;;
    external) dma_test external -e ;;
    *) fail "there is no loopback $kind" ;;
  esac
done

rmmod litepcie || fail "the driver cannot be unloaded"
exit $status
