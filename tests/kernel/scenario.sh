#!/bin/sh
# Records workloads, in a guest or natively, for tests/kernel to judge: sh scenario.sh guest|native EVENTS_DIR
# Leaves in the current directory, for each CASE: CASE.trace, CASE.json (the truth), CASE.log and CASE.code (what the
# recorder said). Natively everything is filtered: to the command, or to namespaces that are made here.
place=$1
events=$2

record() {
    case=$1
    shift
    timeout -s INT 900 recorder record -o "$case.trace" "$@" >"$case.log" 2>&1
    echo $? >"$case.code"
}
# alias_of CASE OTHER: what CASE is to show is in the recording of OTHER.
alias_of() {
    ln -s "$2.trace" "$1.trace"
    ln -s "$2.log" "$1.log"
    ln -s "$2.code" "$1.code"
}
# A value out of the truth: field CASE NAME NUMBER.
field() { sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",]*\).*/\1/p" "$1.json" | sed -n "$3p"; }
# Until all probes are attached. Slowly: each look starts processes, which a recording of kmem sees.
await_recording() {
    for _ in $(seq 600); do
        grep -q "recording" "$1" && return
        sleep 0.5
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
# Packets in a namespace where nothing else sends any.
record headers packets --netns "$(field hold netns 5)" -- \
    xtask workload headers --netns "$(field hold path 3)" --truth headers.json

spaces="--netns $(field hold netns 1) --netns $(field hold netns 3) --netns $(field hold netns 5)"

# Built-in and own events whose workload comes by every way into them.
calls='opens=syscall:openat{ dfd, filename:ustring, flags, abi=$abi, retval }'
seeks='seeks=syscall:lseek{ offset, whence, abi=$abi, retval:s32 }'
kills='kills=tp:signal:signal_generate{ sig, victim=task->pid, group, result } if sig == 9'
if [ "$place" = guest ]; then
    # To attach is slow in an emulated guest, so one recording serves many cases.
    record main listens mkdirs netns_joins switches packets "$kills" "$calls" "$seeks" \
        "$events/listens_by_kretprobe.toml" "$events/listens_by_tp.toml" \
        'gone=fn:vfs_rmdir{ name=dentry->d_name.name:string, parent=dir->i_ino, retval }' \
        'gone_kprobe=kprobe:vfs_rmdir{ name=dentry->d_name.name:string, parent=dir->i_ino }' -- sh -c "
            xtask workload mkdirs --truth mkdirs.json
            xtask workload joins --truth joins.json
            xtask workload ways --truth ways.json
            xtask workload switches --truth switches.json
            xtask workload packets --netns $(field hold path 1) --truth packets.json
            xtask workload listens --edges --truth listens.json"
    for case in listens mkdirs joins ways switches packets; do alias_of $case main; done
    # Pointers that carry an error number: opening a file fails 20 times and succeeds 10 times.
    i=0
    while [ $i -lt 10 ]; do echo >/tmp/there-$i; i=$((i + 1)); done
    printf '{"inodes":[%s]}' "$(stat -c %i /tmp/there-* | tr '\n' ',' | sed 's/,$//')" >errors.json
    record errors \
        'failed=fn:do_filp_open{ path=pathname->name:string, e=err(retval), r=retval:s64, ino=retval->f_inode->i_ino } if retval < 0' \
        'opened=fn:do_filp_open{ path=pathname->name:string, e=err(retval), ino=retval->f_inode->i_ino } if err(retval) == 0' -- sh -c '
            for i in $(seq 20); do cat /nowhere-$i 2>/dev/null; done
            for i in /tmp/there-*; do cat $i; done; exit 0'
    # All of the guest: files are freed in interrupts too (RCU), whatever process runs then.
    recorder record kmem listens 'bulks=fentry:kmem_cache_free_bulk{ size }' \
        --stacks kernel --buffer-size 128M -o kmem.trace >kmem.log 2>&1 &
    recorder=$!
    await_recording kmem.log
    xtask workload kmem --rules 1000 --truth kmem.json
    # kfree_rcu frees up to five seconds later.
    sleep 7
    kill -INT $recorder
    wait $recorder
    echo $? >kmem.code
    alias_of snapshot kmem
    # The same, but only what the workload allocates. Frees come later and elsewhere.
    record own kmem --stacks kernel --buffer-size 128M -- sh -c "xtask workload kmem --truth own.json; sleep 7"
    kill "$(field own keeper_pid 1)"
    # Programs that the kernel cannot run: 'skipped_inside' is inside the others' programs, which ask for the name of the thread
    # ('skipped_inside' and 'waits' themselves do not, as they have a column of that name); and too many calls at once, on one
    # processor, as the kernel counts those that it has no room for without a lock (rp->nmissed++).
    record skipped 'around=kprobe:vfs_rmdir{ name=dentry->d_name.name:string }' 'classic=tp:syscalls:sys_enter_chdir' \
        "$events/skipped_inside.toml" "$events/waits.toml" -- taskset 1 sh -c '
            for i in $(seq 50); do mkdir /tmp/skipped; rmdir /tmp/skipped; cd /tmp; done
            mkfifo /tmp/crowd; for i in $(seq 40); do cat /tmp/crowd & done; sleep 5; : >/tmp/crowd; wait'
else
    # Everything is filtered: to the command, or to the namespaces made above.
    record snapshot listens $spaces -d 1
    record main mkdirs netns_joins switches "$kills" "$calls" "$seeks" -- sh -c "
        xtask workload mkdirs --truth mkdirs.json
        xtask workload joins --truth joins.json
        xtask workload ways --truth ways.json
        xtask workload switches --truth switches.json"
    for case in mkdirs joins ways switches; do alias_of $case main; done
    record packets packets --netns "$(field hold netns 1)" -- \
        xtask workload packets --netns "$(field hold path 1)" --truth packets.json
    record listens listens -- xtask workload listens --truth listens.json
    # What it leaves behind is freed by others a little later.
    record kmem kmem --stacks kernel --buffer-size 128M -- sh -c "xtask workload kmem --truth kmem.json; sleep 2"
    alias_of own kmem
    ln -s kmem.json own.json
fi
kill "$(field kmem keeper_pid 1)"

record flood mkdirs --buffer-size 64K -- xtask workload ticks --count 100000 --truth flood.json

# The recorder is killed in the middle of it; its command goes on alone and ends by itself.
recorder record mkdirs -o killed.trace -- xtask workload ticks --count 500 --pause-ms 10 >killed.log 2>&1 &
recorder=$!
await_recording killed.log
sleep 2.7
cut -d' ' -f1 /proc/uptime >killed.uptime
kill -9 $recorder
wait $recorder
# What is committed stays; what the log does not name goes.
recorder compact killed.trace
exec 9>&-
