#!/bin/sh
# Reads and writes of known files. Truth: the kernel's account of the process in /proc/PID/io, strace, what other processes
# were to do on two file systems, and how long one of these stood still.
# with: perl
# disk: 64
calls=$(dirname "$0")/file_calls.pl
mkdir -p near far /disk memory
mount -t ext4 -o noinit_itable /dev/vda /disk || exit 1
mount -t tmpfs none memory || exit 1
dd if=/dev/zero of=near/in bs=4096 count=25 2>/dev/null
cp near/in far/in
cat >io.pl <<'END'
# One read of the kernel's account; it counts what was before.
sub account {
    open(my $file, "<", "/proc/self/io") or die;
    sysread($file, my $text, 4096);
    return $text;
}
sub call { my @words = @_; syscall($words[0], @words[1 .. $#words]) }
my $buffer = "";
my $first = account();
open(my $in, "<", "near/in") or die;
# 25 reads and the end of the file, three times as much as there is; the end counts as a call.
for my $n (1 .. 26) { sysread($in, $buffer, 4096) }
open(my $far, "<", "far/in") or die;
sysread($far, $buffer, 1000000);
open(my $out, ">", "near/out") or die;
for my $n (1 .. 50) { syswrite($out, "x" x 1000) }
# writev and readv with two buffers, pread64 and pwrite64
my ($a, $b) = ("y" x 300, "z" x 200);
my $vector = pack("PQPQ", $a, 300, $b, 200);
syscall(20, fileno($out), $vector, 2);
syscall(19, fileno($in), $vector, 2);
sysseek($in, 0, 0);
syscall(19, fileno($in), $vector, 2);
syscall(17, fileno($in), $a, 100, 50);
syscall(18, fileno($out), $b, 100, 50);
# Cannot be read, and is not open for writing.
open(my $directory, "<", ".") or die;
sysread($directory, $buffer, 10);
call(1, fileno($in), $b, 1);
syscall(74, fileno($out));
syscall(74, fileno($out));
my $last = account();
open(my $truth, ">", "io.csv") or die;
print $truth "pid,rchar,wchar,syscr,syscw\n$$";
for my $key ("rchar", "wchar", "syscr", "syscw") {
    my ($before) = $first =~ /^$key: (\d+)$/m;
    my ($after) = $last =~ /^$key: (\d+)$/m;
    print $truth ",", $after - $before;
}
print $truth "\n";
END
cat >work.sh <<END
perl io.pl
strace -qq -e signal=none -e trace=%%stat -o strace.txt perl -e "for (1 .. 100) { stat(qq(missing-\\\$_)) } for (1 .. 50) { stat(qq(near)) } lstat(qq(near)); stat(qq(near/in/none))"
read -r from rest </proc/uptime
perl $calls disk_io /disk frozen && perl $calls memory_io memory && read -r to rest </proc/uptime
awk -v from="\$from" -v to="\$to" 'BEGIN { print "took_s"; print to - from + 0.02 }' >took.csv
END
recorder record file_io 'stats=fn:vfs_statx{ dfd, path=filename->name:string[255], ret=retval }' \
    'slow_writes=fn:vfs_write{ fstype=file->f_path.dentry->d_sb->s_type->name:string, dur } if fstype == "ext4" && dur >= 200ms' \
    -o file_io.trace -- sh work.sh >file_io.log 2>&1 || exit 1
umount /disk memory
# Besides the file, the one that freezes opens the directory.
cat >work.csv <<'CSV'
comm,fstype,op,calls,failed,bytes
disk_io,ext4,read,31,0,122880
disk_io,ext4,write,31,1,122880
disk_io,ext4,fsync,5,0,
disk_io,ext4,open,3,0,
memory_io,tmpfs,read,31,0,122880
memory_io,tmpfs,write,31,1,122880
memory_io,tmpfs,fsync,5,0,
memory_io,tmpfs,open,2,0,
CSV
{
    echo 'path,error'
    sed -n 's/^[a-z0-9]*stat[a-z0-9]*([^"]*"\([^"]*\)".* = -\{0,1\}[0-9]* *\([A-Z0-9]*\).*/\1,\2/p' strace.txt
} >stats_truth.csv
echo "near,$(stat -c %i near)
far,$(stat -c %i far)" | sed '1i name,ino' >dirs.csv
