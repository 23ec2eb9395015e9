# Interrupts, softirqs, work of the kernel and a shortage of memory. Leaves interrupts.trace, interrupts.log and the truth:
# irq_counts.csv and softirq_counts.csv (what the kernel counts at four moments), helped.csv, killed.csv, cgroup.csv.
echo at,nr,name,count >irq_counts.csv
echo at,name,count >softirq_counts.csv
# counts MOMENT: of lines such as " 10:  5  7  IO-APIC  10-edge  ttyS0", and "NET_RX:  5  7".
counts() {
    awk -v at="$1" '$1 ~ /^[0-9]+:$/ { nr = $1; sub(":", "", nr); n = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i; print at "," nr "," $NF "," n }' /proc/interrupts >>irq_counts.csv
    awk -v at="$1" 'NR > 1 { name = $1; sub(":", "", name); n = 0; for (i = 2; i <= NF; i++) n += $i; print at "," name "," n }' /proc/softirqs >>softirq_counts.csv
}

# The kernel asks this program for modules, and does so by work in a queue; it counts how often.
cat >helper <<'HELPER'
#!/usr/bin/sh
echo "$@" >>/out/helped
HELPER
chmod +x helper
echo "$PWD/helper" >/proc/sys/kernel/modprobe

group=/sys/fs/cgroup/interrupts
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group
echo 30M >$group/memory.max
# hold SIZE: a process of the cgroup that has so much memory until the other end of its pipe goes.
hold() {
    (echo 0 >$group/cgroup.procs; exec dd if=/dev/zero bs="$1" count=1 2>/dev/null) | sleep 60 &
}

counts 0
recorder record irqs works ooms -o interrupts.trace >interrupts.log 2>&1 &
recorder=$!
until grep -qs "recorder: recording" interrupts.log || ! kill -0 $recorder; do sleep 0.1; done
counts 1
for n in 1 2 3 4 5; do mount -t "missing$n" none /tmp 2>/dev/null; done
# A serial line interrupts for what is written to it; packets to itself make softirqs.
for n in 1 2 3 4 5 6 7 8 9; do echo $n >/dev/ttyS0; done
ping -c 3 -i 0.2 127.0.0.1 >/dev/null
# The victim is the one that has most. The one that asks for too much is another.
hold 20M
until [ "$(cat $group/memory.current)" -gt 20000000 ]; do sleep 0.1; done
hold 14M
until grep -q '^oom_kill [1-9]' $group/memory.events; do sleep 0.1; done
sleep 0.3
counts 2
kill -TERM $recorder
wait $recorder
counts 3

echo calls >helped.csv
wc -l </out/helped >>helped.csv
# Memory cgroup out of memory: Killed process 123 (dd) total-vm:24kB, anon-rss:20kB, file-rss:...
echo pid,comm,anon_kb >killed.csv
dmesg | sed -n 's/.*Killed process \([0-9]*\) (\([^)]*\)).* anon-rss:\([0-9]*\)kB.*/\1,\2,\3/p' >>killed.csv
echo path,kills >cgroup.csv
echo "/interrupts,$(sed -n 's/^oom_kill //p' $group/memory.events)" >>cgroup.csv
{ echo major,minor; uname -r | sed 's/^\([0-9]*\)\.\([0-9]*\).*/\1,\2/'; } >kernel.csv
