#!/bin/busybox sh
# Process 1 of a guest: mounts, loads modules, runs /script, sends /out back, powers off.
# Ports to the host (virtio-serial): out = the script's output, tar = /out, ctl = what happens when.
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm /dev/pts /run/netns
mount -t devpts devpts /dev/pts
ln -sf /proc/self/fd /dev/fd
hostname guest
ip link set lo up
for module in $(cat /modules/order); do insmod "/modules/$module"; done
port() { for p in /sys/class/virtio-ports/*; do [ "$(cat "$p/name")" = "$1" ] && echo "/dev/${p##*/}"; done 2>/dev/null; }
while [ -z "$(port ctl)" ] || [ -z "$(port tar)" ] || [ -z "$(port out)" ]; do sleep 0.1; done
exec 3>"$(port ctl)"
echo begin >&3
run() {
    (while sleep 2; do echo alive >&3; done) </dev/null >/dev/null 2>&1 &
    beats=$!
    cd /out
    /usr/bin/sh /script </dev/null >"$(port out)" 2>&1 3>&-
    code=$?
    tar -C /out -cf "$(port tar)" .
    kill $beats
    echo "exit $code" >&3
    sync
    poweroff -f
}
# A guest that has an init of its own gets that as process 1, and the script runs beside it.
if [ -e /sbin/init ]; then
    run &
    exec /sbin/init 3>&-
fi
run
