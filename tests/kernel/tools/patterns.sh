#!/bin/sh
# native
# Functions and tracepoints that match a pattern, called in numbers that the load itself knows. Leaves patterns.trace, patterns.log and
# the truth as called.csv.
place=$1
cat >work.sh <<'W'
n=0
while [ $n -lt 40 ]; do mkdir d$n; n=$((n + 1)); done
while [ $n -gt 10 ]; do n=$((n - 1)); rmdir d$n; done
W
# Only of the load, so that nobody else is counted.
calls='calls=fentry:vfs_[mr]*dir --count probe,pid'
[ "$place" = native ] && calls='calls=tp:syscalls:sys_enter_[mr]*dir --count probe,pid'
recorder record "$calls" 'ends=tp:sched:sched_process_ex* --count probe,pid' -o patterns.trace -- sh work.sh >patterns.log 2>&1 || exit 1
# The shell itself is executed and ends, and each of the commands, unless they are built in.
cat >called.csv <<'CSV'
what,calls
mkdir,40
rmdir,30
CSV
