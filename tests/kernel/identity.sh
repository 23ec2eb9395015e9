#!/bin/sh
# Cgroups that live for a moment, and a wall clock that somebody sets, in a guest, for tests/kernel/judge/identity.rs.
# Leaves identity.trace, identity.log, identity.code; identity.cgroups (inode, path and directory made of each cgroup) and
# identity.clock (uptime before and after each time that the clock was set).
recorder record mkdirs -o identity.trace >identity.log 2>&1 &
recorder=$!
while ! grep -qs 'recorder: recording' identity.log && kill -0 $recorder; do sleep 0.1; done
group=/sys/fs/cgroup/ktape
mkdir $group
for i in $(seq 0 19); do
    name=docker-$(printf %064d "$i").scope
    mkdir $group/$name
    sh -c "echo 0 >$group/$name/cgroup.procs; mkdir /tmp/by-$i"
    echo "$(stat -c %i $group/$name) /ktape/$name /tmp/by-$i" >>identity.cgroups
    # The last process may still be on the way out.
    until rmdir $group/$name 2>/dev/null; do sleep 0.01; done
done
mkdir /tmp/before
for step in 3600 -3600; do
    before=$(cut -d' ' -f1 /proc/uptime)
    date -s "@$(($(date +%s) + step))" >/dev/null
    echo "$before $(cut -d' ' -f1 /proc/uptime)" >>identity.clock
    mkdir /tmp/after$step
done
kill -INT $recorder
wait $recorder
echo $? >identity.code
