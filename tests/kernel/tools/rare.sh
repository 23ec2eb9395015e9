# What few ask: descriptors that go from one process to another, pages that come back from swap, caches of disks that are flushed,
# and requests to virtual devices. Leaves rare.trace, rare.log and the truth as passed.csv (which files), swapped.csv (memory in swap
# and major faults of the process, as the kernel counts them for it), and disk.csv (reads and flushes of the disk, likewise).
# with: perl
# disk: 64
mkdir -p /disk
cat >pass.pl <<'END'
# sendmsg and recvmsg with descriptors, one message after the other.
$0 = 'fd_passer';
socketpair my $here, my $there, 1, 1, 0 or die;
my @files;
for (0 .. 2) { open $files[$_], '>', "passed-$_" or die }
open my $truth, '>', 'passed.csv';
print $truth "message,nth,name,ino\n";
sub message {
    my ($control) = @_;
    our ($byte, $iov) = ('x', '');
    $iov = pack 'Q2', unpack('Q', pack 'P', $byte), 1;
    return pack 'Q2 Q2 Q2 Q', 0, 0, unpack('Q', pack 'P', $iov), 1, unpack('Q', pack 'P', $$control), length $$control, 0;
}
for my $n (1 .. 6) {
    my $count = ($n - 1) % 3 + 1;
    my $control = pack 'Q l2 l*', 16 + 4 * $count, 1, 1, map { fileno $files[$_] } 0 .. $count - 1;
    $control .= "\0" x (-length($control) % 8);
    my $message = message(\$control);
    syscall(46, fileno $here, $message, 0) == 1 or die "sendmsg $!";
    my $space = "\0" x 64;
    $message = message(\$space);
    syscall(47, fileno $there, $message, 0) == 1 or die "recvmsg $!";
    print $truth join(',', $n, $_, "passed-$_", (stat "passed-$_")[1]), "\n" for 0 .. $count - 1;
}
# This one has no descriptors.
syswrite $here, 'x';
END
cat >swap.pl <<'END'
# 4 MiB of memory, of which no page is all zeros, out to swap, and back by one byte of each page.
$0 = 'swapper_in';
my $length = 4 << 20;
my $memory = syscall 9, 0, $length, 3, 0x22, -1, 0;
pipe my $from, my $to or die;
my $page = pack 'Q*', map { $_ * 0x9e3779b97f4a7c15 & 0xffffffff } 1 .. 512;
for (my $at = 0; $at < $length; $at += 4096) {
    syswrite($to, $page) == 4096 or die;
    syscall(0, fileno $from, $memory + $at, 4096) == 4096 or die;
}
# All of it out, and out of the cache of swap, too.
sub number { my ($file, $name) = @_; open my $f, '<', $file or die "$file $!"; (map { /^$name:?\s+(\d+)/ } <$f>)[0] }
my $cgroup = '/sys/fs/cgroup/swapping';
for (1 .. 50) {
    last if number('/proc/self/status', 'VmSwap') >= 4096 && number("$cgroup/memory.stat", 'swapcached') < 1 << 20;
    open my $f, '>', "$cgroup/memory.reclaim" or die "reclaim $!";
    syswrite $f, '64M';
    select undef, undef, undef, 0.1;
}
# Of this memory alone.
sub swapped {
    open my $f, '<', '/proc/self/smaps' or die;
    my ($is_here, $kib) = (0, 0);
    while (<$f>) {
        $is_here = hex $1 < $memory + $length && hex $2 > $memory if /^([0-9a-f]+)-([0-9a-f]+) /;
        $kib += $1 if $is_here && /^Swap:\s+(\d+)/;
    }
    $kib;
}
my $kib = swapped();
for (my $at = 0; $at < $length; $at += 4096) { syscall 1, fileno $to, $memory + $at, 1; sysread $from, my $byte, 1; }
# The second time everything that this needs is there, so that no fault comes after the count, and none when it ends.
for (1 .. 2) {
    open my $stat, '<', '/proc/self/stat';
    my $faults = (split / /, <$stat>)[11];
    open my $truth, '>', 'swapped.csv';
    print $truth "pid,first,last,kib,faults\n$$,$memory,", $memory + $length - 1, ",$kib,$faults\n";
}
kill 9, $$;
END
# Reads and flushes that were done.
requests() { awk '{ print $1, $16 }' /sys/block/vda/stat; }
before=$(requests)
recorder record -o rare.trace \
    'sent=fn:__scm_send{ count=p->fp->count, ino0=p->fp->fp[0]->f_inode->i_ino, ino1=p->fp->fp[1]->f_inode->i_ino, ino2=p->fp->fp[2]->f_inode->i_ino, name0=p->fp->fp[0]->f_path.dentry->d_name.name:string[31], name1=p->fp->fp[1]->f_path.dentry->d_name.name:string[31], name2=p->fp->fp[2]->f_path.dentry->d_name.name:string[31] } if count > 0' \
    'received=fn:scm_detach_fds{ count=entry(scm->fp->count), ino0=entry(scm->fp->fp[0]->f_inode->i_ino), ino1=entry(scm->fp->fp[1]->f_inode->i_ino), ino2=entry(scm->fp->fp[2]->f_inode->i_ino), name0=entry(scm->fp->fp[0]->f_path.dentry->d_name.name):string[31], name1=entry(scm->fp->fp[1]->f_path.dentry->d_name.name):string[31], name2=entry(scm->fp->fp[2]->f_path.dentry->d_name.name):string[31] }' \
    'swap_faults=fn:do_swap_page{ address=vmf->address, result=retval, dur }' \
    'flushes=tp:block:block_bio_queue{ dev, rwbs }' \
    'requests=fn:virtqueue_add_sgs{ device=((struct virtqueue *)$arg1)->vdev->dev.kobj.name:string[31], queue=((struct virtqueue *)$arg1)->name:string[31], out_sgs=$arg3:u32, in_sgs=$arg4:u32, ret=retval:s32 }' \
    >rare.log 2>&1 &
recorder=$!
until grep -q "recorder: recording" rare.log || ! kill -0 $recorder; do sleep 0.1; done
perl pass.pl || exit 1
mount -t ext4 -o noinit_itable /dev/vda /disk || exit 1
dd if=/dev/zero of=/disk/swap bs=1M count=24 2>/dev/null
chmod 600 /disk/swap
mkswap /disk/swap && swapon /disk/swap || exit 1
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/swapping
sh -c 'echo $$ >/sys/fs/cgroup/swapping/cgroup.procs; exec perl swap.pl'
[ -s swapped.csv ] || exit 1
rmdir /sys/fs/cgroup/swapping
echo -memory >/sys/fs/cgroup/cgroup.subtree_control
for n in 1 2 3 4 5; do dd if=/dev/zero of=/disk/flushed bs=4k count=1 conv=fsync 2>/dev/null; done
swapoff /disk/swap
rm /disk/swap
umount /disk
sleep 0.5
kill -INT $recorder
wait $recorder || exit 1
after=$(requests)
echo "dev,device,reads,flushes
$(cat /sys/block/vda/dev),$(basename "$(readlink -f /sys/block/vda/device)"),$((${after% *} - ${before% *})),$((${after#* } - ${before#* }))" >disk.csv
