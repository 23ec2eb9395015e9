# native
# with: kill,timeout,setpriv
# Signals and questions for capabilities in known numbers. Leaves signals.trace, signals.log and the truth as sent.csv and
# asked.csv.
place=$1

cat >load.sh <<'LOAD'
# Takes USR1, and says when it does.
mkfifo ready
exec 4<>ready
sh -c 'trap : USR1; echo >&4; while :; do sleep 0.1; done' &
target=$!
read -r x <&4
for n in 1 2 3 4 5 6 7; do kill -USR1 $target; done
# Ignores USR2, and never blocks a signal, which a shell does at times: what is blocked is kept, not ignored.
sh -c 'trap "" USR2; echo >&4; exec sleep 100' &
deaf=$!
read -r x <&4
for n in 1 2 3 4; do kill -USR2 $deaf; done
kill -KILL $deaf
wait $deaf
# These send nothing: there is no such process, and none is asked for.
kill -USR1 4194303
kill -0 $target
# With a value, as sigqueue does: by the program, not by what the shell has of that name.
"$(which kill)" -q 7 -USR1 $target
"$(which kill)" -q 8 -USR1 $target
# What ends a process drops what still waits for it.
until [ -z "$(sed -n 's/^S[ih][gd]Pnd:[[:space:]]*0*//p' /proc/$target/status)" ]; do sleep 0.02; done
kill -TERM $target
wait $target
# A timer of its own tells it that the time is over, and then it tells its child.
"$(which timeout)" 0.2 sleep 100 &
limited=$!
wait $limited
# Who writes into a pipe that nobody reads is told so.
mkfifo pipe
sh -c 'exec 5>pipe; exec 6<&-; read -r x <&4; while :; do echo; done >&5' &
writer=$!
sh -c 'exec 5<pipe'
echo >&4
wait $writer
cat >sent.csv <<CSV
who,target_pid,sig,code,signals,ignored
handled,$target,10,0,7,0
ignored,$deaf,12,0,4,4
queued,$target,10,-1,2,0
ended,$target,15,0,1,0
timer,$limited,14,-2,1,0
pipe,$writer,13,0,1,0
CSV

refused=0
for n in 1 2 3 4 5; do chroot / true; done
for n in 1 2 3; do "$(which setpriv)" --reuid 65534 --clear-groups chroot / true || refused=$((refused + 1)); done
cat >asked.csv <<CSV
uid,cap,granted,refused
0,18,5,0
65534,18,0,$refused
CSV
LOAD

if [ "$place" = native ]; then
    recorder record signals capabilities -o signals.trace -- sh load.sh >signals.log 2>&1
else
    recorder record signals capabilities -o signals.trace >signals.log 2>&1 &
    recorder=$!
    until grep -qs "recorder: recording" signals.log || ! kill -0 $recorder; do sleep 0.1; done
    sh load.sh >>signals.log 2>&1
    kill -TERM $recorder
    wait $recorder
fi
code=$?
echo "place
$place" >place.csv
exit $code
