# Memory that runs short: in a cgroup that reads more than it may have, and in all; and zones that are compacted by hand.
# Leaves reclaims.trace, reclaims.log and the truth: cgroup.csv, stalls.csv (what the kernel counts at four moments), zones.csv.
# disk: 64
mkdir -p /disk
mount -t ext4 -o noinit_itable /dev/vda /disk || exit 1
dd if=/dev/zero of=/disk/large bs=64k count=640 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
group=/sys/fs/cgroup/reclaims
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group
echo 12M >$group/memory.max
echo at,stalls >stalls.csv
count() { awk '/^allocstall/ { n += $2 } END { print n }' /proc/vmstat; }
stalls() { echo "$1,$(count)" >>stalls.csv; }
stalls 0
recorder record reclaims -o reclaims.trace >reclaims.log 2>&1 &
recorder=$!
until grep -q "recorder: recording" reclaims.log || ! kill -0 $recorder; do sleep 0.1; done
stalls 1
# 40 MiB pass through the cache of a cgroup that may have 12.
sh -c 'echo 0 >'$group'/cgroup.procs; exec dd if=/disk/large of=/dev/null bs=64k' 2>/dev/null &
reader=$!
wait $reader
echo "pid,freed_pages
$reader,$(sed -n 's/^pgsteal //p' $group/memory.stat)" >cgroup.csv
# By this process, which does nothing else.
sh -c 'echo 1 >/proc/sys/vm/compact_memory' &
compacter=$!
wait $compacter
# The reserve is raised above what is free; what the cache has can be freed. kswapd may have done so before anybody else has to.
reserve=$(cat /proc/sys/vm/min_free_kbytes)
before=$(count)
for try in $(seq 20); do
    dd if=/disk/large of=/dev/null bs=64k 2>/dev/null
    echo $(($(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo) + 4096)) >/proc/sys/vm/min_free_kbytes
    dd if=/dev/zero of=/disk/more bs=64k count=64 2>/dev/null
    echo $reserve >/proc/sys/vm/min_free_kbytes
    [ "$(count)" -gt "$before" ] && break
done
stalls 2
kill -TERM $recorder
wait $recorder || exit 1
stalls 3
umount /disk
# Node 0, zone   Normal ... present 1234
awk 'BEGIN { print "pid,node,zone" } /^Node/ { node = $2; sub(",", "", node); zone = $4 } $1 == "present" && $2 > 0 { print "'$compacter'," node "," zone }' /proc/zoneinfo >zones.csv
