#!/bin/sh
# native
# System calls of a kind: sleeps, syncs, shared memory, waits for a lock, changes of identity.
recorder record \
    'syscalls if nr == 74 || nr == 75 || nr == 162 || nr == 26 || nr == 277 || nr == 306 || nr == 29 || nr == 30 || nr == 31 || nr == 67 || nr == 202' \
    'nanosleeps=syscall:nanosleep{ sec=rqtp->tv_sec, nsec=rqtp->tv_nsec, retval }' \
    'naps=syscall:clock_nanosleep{ flags, sec=rqtp->tv_sec, nsec=rqtp->tv_nsec, retval }' \
    'setuids=syscall:setuid{ uid_, retval, uid }' \
    'setreuids=syscall:setreuid{ ruid, euid, retval, uid }' \
    'setresuids=syscall:setresuid{ ruid, euid, suid, retval, uid }' \
    'setfsuids=syscall:setfsuid{ uid_, retval, uid }' \
    -o calls.trace -- xtask workload calls --truth calls.json >calls.log 2>&1 || exit 1
# "NAME": NUMBER of both lists, and the address of the lock.
awk '
    BEGIN { print "name,calls,failed" }
    /"calls"/ { list = "calls" } /"failed"/ { list = "failed" }
    { gsub(/[",:]/, "") }
    NF == 2 && $2 ~ /^[0-9]+$/ && $1 ~ /^[a-z_]+$/ && $1 != "pid" && $2 < 1000 { n[list, $1] = $2; names[$1] = 1 }
    END { for (name in names) print name "," n["calls", name] "," n["failed", name] }' calls.json >truth.csv
awk 'BEGIN { print "futex" } /"futex": [0-9][0-9][0-9][0-9]/ { gsub(/[^0-9]/, ""); print }' calls.json >locks.csv
