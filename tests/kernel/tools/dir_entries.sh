#!/bin/sh
# Files that are made, linked, renamed, overwritten and removed. Truth: what was done, with inode numbers from stat, and
# the times around it.
# with: perl
mkdir work
cat >work.sh <<'END'
inode() { stat -c %i "$1"; }
cd work
# 20 files that live for 50 ms and more.
for i in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
    echo >short-$i
    inode=$(inode short-$i)
    sleep 0.05
    rm short-$i
    echo "short-$i,$inode,short-$i,removed,50" >>../lives.part
done
# One is renamed and then removed; one is overwritten by a rename; one has two names, of which the first goes first.
echo >first; i=$(inode first); mv first second; rm second
echo "first,$i,second,removed,0" >>../lives.part
echo >under; i=$(inode under); echo >over; mv over under
echo "under,$i,under,overwritten,0" >>../lives.part
echo >one; i=$(inode one); ln one two; rm one; sleep 0.1; rm two
echo "one,$i,two,removed,100" >>../lives.part
# Made by symlink and mknod.
ln -s nowhere link; i=$(inode link); rm link
echo "link,$i,link,removed,0" >>../lives.part
mkfifo pipe; i=$(inode pipe); rm pipe
echo "pipe,$i,pipe,removed,0" >>../lives.part
# One stays, and what cannot be done: remove a directory with a file in it, a name that is not there, and one that changes
# places with another (RENAME_EXCHANGE), with one that is there and may not be overwritten (RENAME_NOREPLACE).
mkdir full; echo >full/stays; rmdir full; rm missing
echo >left; echo >right
perl -e 'my @n = ("left", "right"); syscall(316, -100, $n[0], -100, $n[1], 2); syscall(316, -100, $n[0], -100, $n[1], 1);'
mkdir empty; rmdir empty
exit 0
END
recorder record dir_entries -o dir_entries.trace -- sh work.sh >dir_entries.log 2>&1 || exit 1
sed '1i name,ino,last_name,how,min_ms' lives.part >lives.csv
cat >gone.csv <<'END'
how,name,new_name,error,times
renamed,first,second,,1
removed,second,,,1
renamed,over,under,,1
overwritten,under,over,,1
removed,one,,,1
removed,two,,,1
removed,link,,,1
removed,pipe,,,1
removed,empty,,,1
removed,full,,ENOTEMPTY,1
exchanged,left,right,,1
END
