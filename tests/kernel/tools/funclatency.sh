#!/bin/sh
# native
# Calls of known length: how long each took, at the system call and, in guests, at the function inside it.
place=$1
cat >work.sh <<'W'
for i in 1 2 3 4 5; do sleep 0.02; done
sleep 2
# Ends within its call, which returns then.
sleep 1000 &
killed=$!
# Does not end.
sleep 2000 &
hung=$!
# Until both have entered their call.
await() {
    for _ in $(seq 1000); do
        case $(cat "/proc/$1/syscall") in running* | '') sleep 0.02 ;; *) return ;; esac
    done
}
await $killed
await $hung
sleep 0.02
kill -TERM $killed
wait $killed
printf 'killed,hung\n%s,%s\n' $killed $hung >processes_of_work.csv
W
# busybox and coreutils sleep by different calls.
call=clock_nanosleep
strace -o kind.log sleep 0.01 && grep -q '^nanosleep' kind.log && call=nanosleep
on="syscall:$call"
set -- "sleeps=$on{ retval, dur }" "slow=$on{ dur } if dur > 1s" "not_slow=$on{ dur } if dur <= 1000ms"
if [ "$place" = guest ]; then
    set -- "$@" 'within_fexit=fexit:hrtimer_nanosleep{ retval:s64, dur }' \
        'within_kretprobe=kretprobe:hrtimer_nanosleep{ retval:s64, dur }'
else
    set -- "$@" "within_fexit=$on{ retval, dur }" "within_kretprobe=$on{ retval, dur }"
fi
cat >slow.toml <<T
summary = "a sleep ends"
[[source]]
name = "call"
[[source.probe]]
on = "$on"
[[column]]
name = "dur_ns"
unit = "ns"
doc = "how long it took"
expr = "dur"
T
begin=$(cut -d' ' -f1 /proc/uptime)
recorder record --trigger './slow.toml: dur > 1s' -o funclatency.trace "$@" -- sh work.sh >funclatency.log 2>&1 || exit 1
end=$(cut -d' ' -f1 /proc/uptime)
kill "$(tail -1 processes_of_work.csv | cut -d, -f2)"
printf 'place,uptime_begin,uptime_end\n%s,%s,%s\n' "$place" "$begin" "$end" >known.csv
{ echo trace; ls -d funclatency-snapshot-*.trace; } >snapshots.csv
