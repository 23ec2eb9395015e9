#!/bin/sh
# Files that are read cold, warm and half, one that is written, and a program that is run from disk, for questions about
# the page cache. Truth: the sizes, and what the kernel counts for each process in /proc/PID/io.
# disk: 64
mkdir -p /disk
mount -t ext4 -o noinit_itable /dev/vda /disk || exit 1
for file in cold warm half; do
    dd if=/dev/zero of=/disk/$file bs=64k count=64 2>/dev/null
done
cp /bin/busybox /disk/program
sync
# Inodes and what maps their blocks stay, so that nothing but the file is read.
echo 1 >/proc/sys/vm/drop_caches
dd if=/disk/half of=/dev/null bs=64k count=64 2>/dev/null
dd if=/disk/warm of=/dev/null bs=64k 2>/dev/null
# Only the second half of it leaves the cache: its first one is made dirty and written.
sync
echo 1 >/proc/sys/vm/drop_caches
dd if=/dev/zero of=/disk/half bs=64k count=32 conv=notrunc 2>/dev/null
dd if=/disk/warm of=/dev/null bs=64k 2>/dev/null
sync

recorder record cache -o cache.trace >cache.log 2>&1 &
recorder=$!
while ! grep -q recording cache.log; do
    kill -0 $recorder || exit 1
    sleep 0.2
done

# The account of a process has that of the children which it has waited for.
echo 'phase,pid,ino,pages,read_bytes,write_bytes' >truth.csv
phase() {
    name=$1 ino=$2 pages=$3
    shift 3
    sh -c '"$@" & pid=$!; wait $pid; echo "pid: $pid"; cat /proc/$$/io' sh "$@" >io 2>/dev/null
    of() { sed -n "s/^$1: //p" io; }
    echo "$name,$(of pid),$ino,$pages,$(of read_bytes),$(of write_bytes)" >>truth.csv
}
inode() { stat -c %i "/disk/$1"; }
phase cold "$(inode cold)" 1024 dd if=/disk/cold of=/dev/null bs=64k
phase warm "$(inode warm)" 1024 dd if=/disk/warm of=/dev/null bs=64k
phase half "$(inode half)" 1024 dd if=/disk/half of=/dev/null bs=64k
phase unaligned "$(inode warm)" 4 dd if=/disk/warm of=/dev/null bs=5000 count=2
>/disk/written
phase written "$(inode written)" 256 dd if=/dev/zero of=/disk/written bs=64k count=16
phase program "$(inode program)" 0 /disk/program true
cp /disk/cold /disk/removed
removed=$(inode removed)
rm /disk/removed
sync
kill -INT $recorder
wait $recorder
umount /disk
echo "$removed" | sed '1i ino' >removed.csv
