#!/bin/sh
# One life of a guest whose power goes off: sh power.sh record TRACE | collect
# The disk is mounted, and either a recording begins, with the time as sign of life, or all traces go to /out, as they
# are and tidied up.
mkdir -p /disk
mount -t ext4 /dev/vda /disk || exit 1
case $1 in
record)
    recorder record mkdirs -o "/disk/$2.trace" -- xtask workload ticks --count 1000000 --pause-ms 5 --truth /tmp/ticks.json 2>&1 &
    while :; do
        echo "up $(cut -d' ' -f1 /proc/uptime)"
        sleep 0.1
    done
    ;;
collect)
    for trace in /disk/*.trace; do
        name=$(basename "$trace" .trace)
        cp -r "$trace" "/out/$name.trace"
        recorder compact "$trace" >"/out/$name.log" 2>&1
        echo $? >"/out/$name.code"
        recorder compact "$trace" >"/out/$name.again" 2>&1
        cp -r "$trace" "/out/$name.tidy.trace"
    done
    ;;
esac
