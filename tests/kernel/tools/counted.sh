#!/bin/sh
# native
# Events that are counted in the kernel, of numbers that the load itself knows: 40000 blocks of 7 bytes, and more masks at
# once than the table has room for. Leaves counted.trace, counted.log and the truth as blocks_of_dd.csv and keys.csv.
cat >work.sh <<'W'
for a in 0 1; do for b in 0 1 2 3 4 5 6 7; do for c in 0 1 2 3 4 5 6 7; do umask 0$a$b$c; done; done; done
dd if=/dev/zero of=/dev/null bs=7 count=20000
sleep 2.5
dd if=/dev/zero of=/dev/null bs=7 count=20000
W
blocks='syscall:write{ fd, retval, dur } if fd == 1'
# The smallest rings: what is counted does not come through them.
recorder record --buffer-size 64K --interval 2s --max-keys 64 -o counted.trace \
    "blocks=$blocks --count comm,fd --sum retval" \
    "sizes=$blocks --count comm --hist retval" \
    "times=$blocks --count comm --hist dur" \
    'masks=syscall:umask{ mask } --count mask' \
    'one_by_one=syscall:umask{ mask }' \
    -- sh work.sh >counted.log 2>&1 || exit 1
printf 'comm,calls,bytes\ndd,40000,280000\n' >blocks_of_dd.csv
printf 'most\n64\n' >keys.csv
