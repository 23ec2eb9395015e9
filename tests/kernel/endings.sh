#!/bin/sh
# Ends recordings with many kprobes in every way, in a guest, for tests/kernel/judge/endings.rs.
# Leaves for each CASE: CASE.trace, CASE.began (the time), CASE.json (how long it took to end), CASE.log and CASE.code (what the recorder said).
# await FILE TEXT: until it is there, or the recorder is not.
await() {
    while ! grep -qs "$2" "$1" && kill -0 $recorder; do sleep 0.1; done
}
# begin CASE RECORD_ARGUMENT...: record them all; $recorder is the process.
begin() {
    case=$1
    shift
    cut -d' ' -f1 /proc/uptime >"$case.began"
    recorder record $events -o "$case.trace" "$@" >"$case.log" 2>&1 &
    recorder=$!
    await "$case.log" "recorder: recording"
}
# end CASE SIGNAL [--to PROCESS]
end() {
    case=$1 signal=$2
    shift 2
    xtask workload ending --recorder $recorder --trace "$case.trace" --signal "$signal" "$@" --truth "$case.json"
    wait $recorder
    echo $? >"$case.code"
}

# What can be probed by name, and is called by nobody else here.
cut -f2 /sys/kernel/debug/kprobes/blacklist >/tmp/blacklist
grep -x 'vfs_[a-z0-9_]*' /sys/kernel/tracing/available_filter_functions | sort | uniq -u |
    grep -vxFf /tmp/blacklist | head -n 60 >/tmp/functions
events='kprobe:do_mkdirat{who=$pid} kprobe:do_unlinkat{who=$pid}'
for function in $(cat /tmp/functions); do
    events="$events kprobe:$function{who=\$pid}"
done
for function in $(tail -n 3 /tmp/functions); do
    events="$events returned_$function=kretprobe:$function{who=\$pid}"
done
for call in mkdir unlink; do
    events="$events tp:syscalls:sys_enter_$call{who=\$pid}"
done

# A process that has made a known number of directories when the signal comes. Its parent is still there, or the recorder would
# have begun to end by itself.
mkfifo go
sh -c 'read go; xtask workload ticks --count 500 --truth ticks.json; exec sleep 600' <go &
parent=$!
begin term -p $parent
echo go >go
await ticks.json count
end term SIGTERM
kill $parent

# Processes that go on making events while the recorder ends.
xtask workload churn --seconds 600 --wait <go &
churn=$!
begin int -p $churn
: >go
sleep 2
end int SIGINT
kill $churn

begin command -- sh -c 'echo $$ >churn.pid; exec xtask workload churn --seconds 600'
await churn.pid .
sleep 2
end command SIGKILL --to "$(cat churn.pid)"

begin killed -- sh -c 'echo $$ >churn.pid; exec xtask workload churn --seconds 600'
sleep 3
end killed SIGKILL
kill "$(cat churn.pid)"
cp -r killed.trace tidy.trace
recorder compact tidy.trace >compact.log 2>&1
echo $? >compact.code
