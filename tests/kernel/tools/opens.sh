#!/bin/sh
# Opens by every call and of many results, as strace tells them.
# native
# with: perl
mkdir files
echo text >files/there
ln -s there files/link
cat >opens.pl <<'END'
for my $n (1 .. 100) { open(my $file, "<", "files/missing-$n") }
for my $n (1 .. 20) { open(my $file, "<", "files/there") }
open(my $file, ">>", "files");
# System calls by number: open, creat, openat, openat2. What they get must be a variable.
sub call { my @words = @_; syscall($words[0], @words[1 .. $#words]) }
call(2, "files/open", 0x42, 0600);
call(2, "files/open", 0xc1, 0600);
call(2, "files/link", 0x20000, 0);
call(2, "files/there/none", 0, 0);
call(85, "files/creat", 0644);
call(85, "files", 0644);
# A beginning that is no descriptor, and no name at all.
call(257, 77, "files/there", 0, 0);
call(257, -100, 1, 0, 0);
# RESOLVE_NO_SYMLINKS; a good one; and a size that is too small.
call(437, -100, "files/link", pack("QQQ", 0, 0, 4), 24);
call(437, -100, "files/there", pack("QQQ", 0, 0, 0), 24);
call(437, -100, "files/there", pack("QQQ", 0, 0, 0), 8);
END
# Calls of 32-bit programs are not seen where functions cannot be probed.
ways=true
[ "$1" = guest ] && ways='xtask workload ways --truth ways.json'
recorder record opens -o opens.trace -- \
    strace -f -qq -e signal=none -e trace=open,openat,openat2,creat -o strace.txt sh -c "perl opens.pl; $ways; exit 0" >opens.log 2>&1

# PID  call(..., "path", ...) = RESULT [ERROR ...]
{
    echo 'pid,syscall,path,ret,error'
    sed -n 's/^\([0-9]*\) *\([a-z0-9]*\)([^"]*"\([^",]*\)".* = \(-\{0,1\}[0-9]*\) *\([A-Z0-9]*\).*/\1,\2,\3,\4,\5/p' strace.txt
    sed -n 's/^\([0-9]*\) *\([a-z0-9]*\)([^"]*0x1,.* = \(-\{0,1\}[0-9]*\) *\([A-Z0-9]*\).*/\1,\2,,\3,\4/p' strace.txt
} >truth.csv
# Of calls by int $0x80 strace takes the registers of a 64-bit call, so that it does not find the path; the workload knows it.
grep -vc '(AT_FDCWD, 0x[0-9a-f]\{6,\},' strace.txt | sed '1i calls' >calls.csv
{
    echo 'path,flags,is_open'
    sed -n '/"opened"/,/\]/p' ways.json 2>/dev/null | tr -d ' \n' | sed 's/{/\n{/g' |
        sed -n 's/.*"path":"\([^"]*\)","flags":\([0-9]*\),"is_open":\([a-z]*\).*/\1,\2,\3/p'
} >ways.csv
echo "$1" | sed '1i place' >place.csv
