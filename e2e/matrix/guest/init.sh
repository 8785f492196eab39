#!/bin/busybox sh
# First process of a guest: what a booted Debian has mounted, then the driver, then off.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B mount -t cgroup2 cgroup /sys/fs/cgroup
$B mount -t bpf bpf /sys/fs/bpf
$B mount -t tmpfs tmp /tmp
$B mount -t tmpfs run /run
$B ip link set lo up
$B stty -F /dev/console -opost 2>/dev/null
echo "@matrix kernel $($B uname -r) $($B uname -m)"
/matrix/driver
while read -r line; do echo "@matrix recorder $line"; done </run/recorder.log
$B dmesg | $B grep -E 'BUG:|WARNING:|Oops|rcu:.*stall|Call Trace|hung task' | while read -r line; do
	echo "@matrix splat $line"
done
echo "@matrix done"
$B poweroff -f
