#!/bin/sh
# Requests of known processes, sizes and places to a disk. Truth: the workload, and what the kernel counts of the disk.
# disk: 64
mkdir -p /disk
mount -t ext4 -o noinit_itable /dev/vda /disk || exit 1
dd if=/dev/zero of=/disk/block bs=1M count=4 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches

recorder record block_io --stacks kernel -o block.trace >block.log 2>&1 &
recorder=$!
while ! grep -q recording block.log; do
    kill -0 $recorder || exit 1
    sleep 0.2
done
# Nothing else uses the disk (noinit_itable: nor does the kernel, later): its counters before and after.
cat /sys/block/vda/stat >before
echo 'phase,pid,op,requests,bytes' >truth.csv
phase() {
    name=$1 op=$2 requests=$3 bytes=$4
    shift 4
    "$@" 2>/dev/null &
    wait $!
    echo "$name,$!,$op,$requests,$bytes" >>truth.csv
}
phase small read 200 819200 dd if=/dev/vda of=/dev/null bs=4k count=200 iflag=direct
phase large read 10 1310720 dd if=/dev/vda of=/dev/null bs=128k count=10 skip=20 iflag=direct
for skip in 900 100 500 300 700; do
    phase random read 1 4096 dd if=/dev/vda of=/dev/null bs=4k count=1 skip=$skip iflag=direct
done
phase write write 100 409600 dd if=/dev/zero of=/disk/block bs=4k count=100 conv=notrunc oflag=direct
# Written later, by whoever syncs, with flushes.
dd if=/dev/zero of=/disk/block bs=64k count=16 conv=notrunc,fsync 2>/dev/null
sync
umount /disk
cat /sys/block/vda/stat >after
kill -INT $recorder
wait $recorder
{
    echo 'reads,read_sectors,read_ms,writes,write_sectors,write_ms,flushes'
    paste before after | awk '{ n = NF / 2; for (i = 1; i <= n; i++) d[i] = $(n + i) - $i; print d[1] "," d[3] "," d[4] "," d[5] "," d[7] "," d[8] "," d[16] }'
} >disk.csv
