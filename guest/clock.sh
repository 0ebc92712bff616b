#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What time it is for the guest while it sleeps, and while it waits for RTL that stands
# still, and whether it follows the simulator's. scripts/test-guest-clock.sh runs this, and
# stops the simulator at "ready".

hundredths() {
  read -r up _ </proc/uptime
  echo "${up%.*}${up#*.}"
}

echo "ACCEL mark=idle"
begin=$(hundredths)
sleep 5
end=$(hundredths)
echo "ACCEL mark=idled"
echo "ACCEL idle_guest_ms=$(((end - begin) * 10))"
echo "ACCEL mark=ready"
sleep 3
begin=$(hundredths)
accel-mmio expect 4 0 0x53474552 || exit 1
end=$(hundredths)
echo "ACCEL wait_guest_ms=$(((end - begin) * 10))"

# The host lets guest time follow the simulator's when it reads this.
accel-clock --count 5
echo "ACCEL mark=follow"
accel-clock --await 4000 --count 0 || exit 1
echo "ACCEL mark=follows"
accel-clock --count 5
accel-clock --count 5 --spin
accel-clock --count 2 --sleep 20000000
echo "ACCEL mark=measured"
