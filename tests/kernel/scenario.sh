#!/bin/sh
# Records workloads, in a guest or natively, for tests/kernel to judge: sh scenario.sh guest|native EVENTS_DIR
# Leaves in the current directory, for each CASE: CASE.trace, CASE.json (the truth), CASE.log and CASE.code (what the
# recorder said). Natively everything is filtered: to the command, or to namespaces that are made here.
place=$1
events=$2

record() {
    case=$1
    shift
    timeout -s INT 240 recorder record -o "$case.trace" "$@" >"$case.log" 2>&1
    echo $? >"$case.code"
}
# A value out of the truth: field CASE NAME NUMBER.
field() { sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",]*\).*/\1/p" "$1.json" | sed -n "$3p"; }
# Until all probes are attached.
await_recording() {
    for _ in $(seq 6000); do
        grep -q "recording" "$1" && return
        sleep 0.05
    done
}
# If it does not appear, the judge will say what is missing.
await() {
    for _ in $(seq 400); do
        [ -e "$1" ] && return
        sleep 0.05
    done
}

# Three namespaces with a listener each, there before any recording.
mkfifo hold.stdin
xtask workload hold --truth hold.json <hold.stdin &
exec 9>hold.stdin
await hold.json
spaces="--netns $(field hold netns 1) --netns $(field hold netns 3) --netns $(field hold netns 5)"
record snapshot listens $spaces -d 1

record mkdirs mkdirs processes -- xtask workload mkdirs --truth mkdirs.json
record joins netns_joins -- xtask workload joins --truth joins.json
record switches switches -- xtask workload switches --truth switches.json
record packets packets --netns "$(field hold netns 1)" -- \
    xtask workload packets --netns "$(field hold path 1)" --truth packets.json
record inline_tp 'kills=tp:signal:signal_generate{ sig, victim=task->pid, group, result } if sig == 9' -- \
    xtask workload joins --truth inline_tp.json
record several mkdirs netns_joins switches -- xtask workload mkdirs --truth several.json
record flood mkdirs --buffer-size 64K -- xtask workload ticks --count 100000 --truth flood.json

# The recorder is killed in the middle of it.
recorder record mkdirs -o killed.trace -- xtask workload ticks --count 500 --pause-ms 10 >killed.log 2>&1 &
recorder=$!
await_recording killed.log
sleep 2.7
cut -d' ' -f1 /proc/uptime >killed.uptime
kill -9 $recorder
# Its command goes on alone and ends by itself.
wait $recorder

if [ "$place" = guest ]; then
    record listens listens -- xtask workload listens --edges --truth listens.json
    # By other mechanisms than the recorder would choose.
    record listens_by_kretprobe "$events/listens_by_kretprobe.toml" -- \
        xtask workload listens --truth listens_by_kretprobe.json
    record listens_by_tp "$events/listens_by_tp.toml" -- xtask workload listens --truth listens_by_tp.json
    record inline_fn 'gone=fn:vfs_rmdir{ name=dentry->d_name.name:string, parent=dir->i_ino, retval }' -- \
        xtask workload mkdirs --truth inline_fn.json
    record inline_kprobe 'gone=kprobe:vfs_rmdir{ name=dentry->d_name.name:string, parent=dir->i_ino }' -- \
        xtask workload mkdirs --truth inline_kprobe.json
    # All of the guest: files are freed in interrupts too (RCU), whatever process runs then.
    recorder record kmem --stacks kernel --buffer-size 128M -o kmem.trace >kmem.log 2>&1 &
    recorder=$!
    await_recording kmem.log
    xtask workload kmem --truth kmem.json
    sleep 2
    kill -INT $recorder
    wait $recorder
    echo $? >kmem.code
else
    record listens listens -- xtask workload listens --truth listens.json
    record kmem kmem --stacks kernel --buffer-size 128M -- xtask workload kmem --truth kmem.json
fi
kill "$(field kmem keeper_pid 1)"
exec 9>&-
