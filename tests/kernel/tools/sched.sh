# native
# Threads that wait for a processor, sleep, wake each other, start and end, in numbers that the kernel or the load itself
# tells. Leaves sched.trace, sched.log and the truth as spinners.csv, gate.csv, ticks.csv, pingpong.csv, children.csv, sleeps.csv.
place=$1

# Everything whose numbers are told is done by this program, so that natively only its processes are recorded.
cat >load.sh <<'LOAD'
# Three that never sleep share processor 0 while the load sleeps for a second. A pipe says when they have all run.
ticks() { grep '^cpu[01] ' /proc/stat | while read -r cpu user nice system idle iowait rest; do echo "$1,${cpu#cpu},$((idle + iowait))"; done; }
mkfifo gate told
exec 4<>told
echo pid,run_ns,wait_ns,runs >spinners.csv
echo at,cpu,idle_ticks >ticks.csv
for n in 1 2 3; do
    taskset -c 0 sh -c 'trap "end=1" USR1; echo >told; while [ -z "$end" ]; do :; done; read -r x <gate' &
    spinners="$spinners $!"
done
for n in 1 2 3; do read -r x <&4; done
ticks before >>ticks.csv
sleep 1
ticks after >>ticks.csv
kill -USR1 $spinners
# In their sleep before the gate their numbers stand still.
for pid in $spinners; do
    until grep -q '^State:.S' /proc/$pid/status; do sleep 0.1; done
    read -r run wait runs </proc/$pid/schedstat
    echo "$pid,$run,$wait,$runs" >>spinners.csv
done
# A writer that opens the gate and leaves lets all of them read the end of the file. What they do then takes until they are gone.
read -r opened rest </proc/uptime
: >gate
wait $spinners
read -r gone rest </proc/uptime
awk -v from="$opened" -v to="$gone" 'BEGIN { print "gate_s"; print to - from + 0.02 }' >gate.csv

# Two processes send a byte to and fro on one processor, so that one of them sleeps for each byte.
taskset -c 0 xtask workload switches --rounds 200 --truth pingpong.json

# Twenty sleeps of a tenth of a second, the same for each.
echo pid,asked_ns >sleeps.csv
for n in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.1 &
    echo "$!,100000000" >>sleeps.csv
    wait $!
done

# Fifty processes that are started with this name.
ln -s "$(command -v sh)" forker
./forker -c 'n=0; while [ $n -lt 50 ]; do (:); n=$((n + 1)); done'

# Children that end as is known.
echo pid,code,signal >children.csv
for code in 0 3 255; do
    sh -c "exit $code" &
    pid=$!
    wait $pid
    echo "$pid,$?," >>children.csv
done
for signal in KILL TERM; do
    sh -c "kill -$signal \$\$; sleep 5" &
    pid=$!
    wait $pid
    echo "$pid,,SIG$signal" >>children.csv
done
LOAD

if [ "$place" = native ]; then
    recorder record switches wakeups --stacks kernel -o sched.trace -- sh load.sh >sched.log 2>&1
else
    recorder record switches wakeups --stacks kernel -o sched.trace >sched.log 2>&1 &
    recorder=$!
    until grep -qs "recorder: recording" sched.log || ! kill -0 $recorder; do sleep 0.1; done
    sh load.sh >>sched.log 2>&1
    kill -TERM $recorder
    wait $recorder
fi
# The other of the two in the same line: {"rounds":..,"threads":[{"tid":..,...,"voluntary":..},{...}]}
tr -d ' \n' <pingpong.json | sed 's/.*"tid":\([0-9]*\).*"voluntary":\([0-9]*\).*"tid":\([0-9]*\).*"voluntary":\([0-9]*\).*/tid,other,voluntary\n\1,\3,\2\n\3,\1,\4/' >pingpong.csv
echo "place
$place" >place.csv
