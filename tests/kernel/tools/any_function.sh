#!/bin/sh
# Functions and arguments that no built-in event knows.
here=$(pwd)
dd if=/dev/zero of=known bs=4096 count=100 2>dd.log
cat >work.sh <<'W'
dd if=known of=/dev/null bs=4096 count=100
for i in 1 2 3 4 5 6 7 8 9 10; do
    mkdir interval-$i
    rmdir interval-$i
    sleep 0.05
done
W
recorder record --stacks kernel -o any_function.trace \
    'reads=fn:vfs_read{ name=file->f_path.dentry->d_name.name:string, dir=file->f_path.dentry->d_parent->d_name.name:string, inode=file->f_inode->i_ino, count, retval }' \
    'gone=fn:vfs_rmdir{ name=dentry->d_name.name:string, retval }' \
    -- sh work.sh >any_function.log 2>&1 || exit 1
# 100 blocks, and the end of the file is not read: dd has its count.
printf 'name,calls,bytes,asked\nknown,100,409600,4096\n' >files.csv
printf 'name\n' >dirs.csv
for i in 1 2 3 4 5 6 7 8 9 10; do echo interval-$i >>dirs.csv; done
