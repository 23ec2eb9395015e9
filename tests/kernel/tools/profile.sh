# native
# with: nice
# Processes that use a processor in shares, in the kernel or not, as the kernel itself tells. Leaves profile.trace, profile.log
# and the truth as used.csv (by process), idle.csv (of processor 1, in guests) and place.csv.
place=$1

# Everything whose numbers are told is done by this program, so that natively only its processes are recorded.
cat >load.sh <<'LOAD'
echo pid,name,run_ns,user_ticks,kernel_ticks,faults,switches >used.csv
# stop NAME PID: stopped, so that its numbers stand still.
stop() {
    kill -STOP $2
    until grep -q '^State:.T' /proc/$2/status; do sleep 0.1; done
    read -r run rest </proc/$2/schedstat
    switches=$(awk '/ctxt_switches/ { n += $2 } END { print n }' /proc/$2/status)
    awk -v name=$1 -v run=$run -v switches=$switches '{ print $1 "," name "," run "," $14 "," $15 "," $10 + $12 "," switches }' /proc/$2/stat >>used.csv
    kill -KILL $2
}
# Two share processor 0, 75 to 25 by their priorities.
taskset -c 0 sh -c 'while :; do :; done' &
heavy=$!
nice -n 5 taskset -c 0 sh -c 'while :; do :; done' &
light=$!
sleep 8
stop heavy $heavy
stop light $light
# This one only makes system calls.
taskset -c 0 dd if=/dev/zero of=/dev/null bs=64k count=1000000000 2>/dev/null &
calls=$!
sleep 4
stop calls $calls
wait
LOAD

record() {
    exec recorder record samples 'other=profile:ms:13{ in_user, ip, kernel_ip=ip:sym, period } if comm == "sh" || comm == "dd" || pid == 0' \
        'by_comm=profile:hz:99 --count comm,in_user' 'faults=software:page-faults:1' 'leaving=software:context-switches:1' \
        --stacks kernel -o profile.trace "$@"
}
# Of processor 1: busy (user, nice, system), and idle.
ticks() { awk '$1 == "cpu1" { print $2 + $3 + $4, $5 + $6 }' /proc/stat; }

if [ "$place" = native ]; then
    (record -- sh load.sh) >profile.log 2>&1
    before='0 0' after='0 0'
else
    record >profile.log 2>&1 &
    recorder=$!
    until grep -qs "recorder: recording" profile.log || ! kill -0 $recorder; do sleep 0.1; done
    before=$(ticks)
    sh load.sh >>profile.log 2>&1
    after=$(ticks)
    kill -TERM $recorder
    wait $recorder
fi
echo "busy_ticks,idle_ticks
$((${after% *} - ${before% *})),$((${after#* } - ${before#* }))" >idle.csv
echo "place
$place" >place.csv
