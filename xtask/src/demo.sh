# Records three small known loads into the current directory; $1 is guest or native.
# services.trace (who listens where), traffic.trace (packets), memory.trace (kernel memory); NAME.json is the truth.
show() {
    echo "\$ $*"
    "$@" 2>&1
}

mkfifo hold.stdin
xtask workload hold --truth hold.json <hold.stdin &
exec 9>hold.stdin
await hold.json

show recorder record listens -o services.trace -- xtask workload listens --count 30 --truth services.json
show recorder record packets --netns "$(field hold netns 1)" -o traffic.trace -- \
    xtask workload packets --netns "$(field hold path 1)" --truth traffic.json
if [ "$1" = guest ]; then
    # The whole guest: some of what a process allocates is freed later by others.
    echo '$ recorder record kmem --stacks kernel -o memory.trace & xtask workload kmem'
    recorder record kmem --stacks kernel --buffer-size 128M -o memory.trace >memory.log 2>&1 &
    recorder=$!
    await_recording memory.log
    xtask workload kmem --truth memory.json
    # kfree_rcu frees up to five seconds later.
    sleep 7
    kill -INT $recorder
    wait $recorder || echo "the recorder ended with $?"
    cat memory.log
else
    show recorder record kmem --stacks kernel --buffer-size 128M -o memory.trace -- xtask workload kmem --truth memory.json
fi
kill "$(field memory keeper_pid 1)"
exec 9>&-
