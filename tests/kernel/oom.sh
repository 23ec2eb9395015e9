#!/bin/sh
# Lets memory run short while a flight recorder runs, in a guest, for tests/kernel/judge/oom.rs.
# Leaves oom.trace, its snapshot, oom.log, oom.code and oom.dmesg (what the kernel has killed).
# await TEXT: until the recorder has said it, or is gone.
await() {
    while ! grep -qs "$1" oom.log && kill -0 $recorder; do sleep 0.1; done
}
# hold SIZE: a process of the cgroup that has so much memory until the other end of its pipe goes.
hold() {
    (echo 0 >$group/cgroup.procs; exec dd if=/dev/zero bs="$1" count=1 2>/dev/null) | sleep 600 &
}
group=/sys/fs/cgroup/short
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group
echo 30M >$group/memory.max

xtask workload ticks --count 100000 --pause-ms 20 --truth /dev/null &
ticks=$!
recorder record mkdirs -p $ticks --max-age 1m --trigger oom -o oom.trace >oom.log 2>&1 &
recorder=$!
await "recorder: recording"
sleep 2
# The victim is the one that has most. The one that asks for too much is another.
hold 20M
until [ "$(cat $group/memory.current)" -gt 20000000 ]; do sleep 0.1; done
hold 14M
await "recorder: snapshot"
sleep 2
kill -TERM $recorder
wait $recorder
echo $? >oom.code
dmesg | grep "Killed process" >oom.dmesg
kill $ticks
