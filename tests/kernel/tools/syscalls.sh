#!/bin/sh
# native
# Every system call of a few programs, watched by strace at the same time.
cat >work.sh <<'W'
for i in 1 2 3 4 5 6 7 8 9 10; do
    mkdir made-$i
    rmdir made-$i
    mkdir /nowhere/made-$i
done
sleep 0.05
sleep 0.05
W
recorder record syscalls -o syscalls.trace -- strace -f -qq -o strace.out sh work.sh >syscalls.log 2>&1 || exit 1
# 12 mkdir("made-1", 0777) = 0, or begun here and resumed in a later line.
awk '
    BEGIN { print "name,calls,errors" }
    $2 == "<..." { name = $3; if (/ = -1 E/) errors[name]++; next }
    $2 ~ /^[a-z_0-9]+\(/ { name = $2; sub(/\(.*/, "", name); calls[name]++; if (/ = -1 E/) errors[name]++ }
    END { for (name in calls) print name "," calls[name] "," errors[name] + 0 }' strace.out >strace.csv
