#!/bin/sh
# Mounts by the old and the new calls in a mount namespace of their own, as strace tells them.
# native
# with: perl
mkdir there other
cat >mounts.pl <<'END'
sub call { my @words = @_; syscall($words[0], @words[1 .. $#words]) }
my ($null, $empty) = (0, "");
call(165, "mine", "there", "tmpfs", 6, "size=64k");
call(165, "none", "there", $null, 0x21, $null);
call(165, "there", "other", $null, 0x1000, $null);
call(165, "nothing", "missing", "tmpfs", 0, $null);
call(165, "mine", "there", "nosuchfs", 0, $null);
call(166, "other", 2);
call(166, "other", 0);
# fsopen, fsconfig (string, flag, an option that is none, create), fsmount, move_mount
my $fs = call(430, "tmpfs", 1);
call(431, $fs, 1, "size", "128k", 0);
call(431, $fs, 1, "source", "new", 0);
call(431, $fs, 0, "ro", $null, 0);
call(431, $fs, 1, "nosuchoption", "1", 0);
call(431, $fs, 6, $null, $null, 0);
my $mount = call(432, $fs, 1, 8);
call(429, $mount, $empty, -100, "other", 4);
# open_tree with a copy, mount_setattr, fspick
my $tree = call(428, -100, "other", 1);
call(442, -100, "other", 0, pack("QQQQ", 2, 1, 0, 0), 32);
call(442, -100, "missing", 0, pack("QQQQ", 2, 0, 0, 0), 32);
call(433, -100, "other", 1);
call(430, "nosuchfs", 0);
call(155, "missing", "there");
call(166, "other", 0);
END
cat >run.sh <<'END'
strace -f -qq -e signal=none -e trace=mount,umount2,pivot_root,fsopen,fspick,fsconfig,fsmount,open_tree,move_mount,mount_setattr \
    -o strace.txt perl mounts.pl
readlink /proc/self/ns/mnt >namespace
grep -c "$PWD" /proc/self/mountinfo >kept
END
recorder record mounts -o mounts.trace -- unshare -m sh run.sh >mounts.log 2>&1
{
    echo 'pid,syscall,first,second,ret,error'
    # Up to two texts in quotes, then the result.
    sed -n 's/^\([0-9]*\) *\([a-z0-9_]*\)(\(.*\)) *= \(-\{0,1\}[0-9]*\) *\([A-Z0-9]*\).*/\1@\2@\3@\4@\5/p' strace.txt |
        awk -F@ '{ n = split($3, part, "\""); sub(/umount2/, "umount", $2); print $1 "," $2 "," (n > 1 ? part[2] : "") "," (n > 3 ? part[4] : "") "," $4 "," $5 }'
} >truth.csv
sed 's/.*\[\([0-9]*\)\].*/\1/; 1i mntns' namespace >namespace.csv
sed '1i mounts' kept >kept.csv
