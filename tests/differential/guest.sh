#!/bin/sh
# The first process of a guest that runs scenarios under a real kernel. Its root is the host's, so whatever is written must go
# below $GUEST_DIR, or into file systems that exist in memory only.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for place in /run /lib/modules; do mount -t tmpfs tmpfs "$place"; done
release=$(uname -r)
mkdir -p "/lib/modules/$release"
mount --bind "/usr/lib/uml/modules/$release" "/lib/modules/$release"
mount -o remount,bind,ro "/lib/modules/$release"
ip link set lo up
# Errors beyond the first thousand in a second would be held back.
echo 1000000 > /proc/sys/net/ipv4/icmp_msgs_per_sec
echo 1000000 > /proc/sys/net/ipv4/icmp_msgs_burst
echo "guest: begins"
echo "guest: kernel $release"
cd /run
"$GUEST_RUNNER" run --system kernel --names "$GUEST_DIR/names" --out "$GUEST_DIR/out" 2>&1
echo "guest: ends"
echo o > /proc/sysrq-trigger
sleep 10
