#!/bin/sh
# native
# with: perl
# One process has the lock of a file for a known time, because memory that it writes from comes no sooner; another one waits for
# the lock as long. Leaves locks.trace and the truth as waiter.csv: who waits, how long at least, and how long all of it took.
cat >load.pl <<'END'
# userfaultfd: who reads memory that is registered with it stands still until somebody provides it.
$0 = 'lock_holder';
sub text { open my $f, '<', shift or return ''; readline($f) // '' }
sub await {
    my ($pid, $where) = @_;
    for (1 .. 1000) {
        return 1 if text("/proc/$pid/wchan") =~ $where;
        select undef, undef, undef, 0.02;
    }
    print "$pid is in ", text("/proc/$pid/wchan"), "\n";
    0;
}
sub uptime { (split ' ', text('/proc/uptime'))[0] }
my $begin = uptime();
open my $file, '>', 'file' or die;
my $fault_fd = syscall 323, 0x80000;
die "userfaultfd $!" if $fault_fd < 0;
open my $faults, '+<&=', $fault_fd or die;
# UFFDIO_API; then a page of memory, UFFDIO_REGISTER of what is missing in it.
my $api = pack 'Q3', 0xaa, 0, 0;
ioctl $faults, 0xc018aa3f, $api or die "api $!";
my $memory = syscall 9, 0, 4096, 3, 0x22, -1, 0;
die "mmap $!" if $memory < 0;
my $range = pack 'Q4', $memory, 4096, 1, 0;
ioctl $faults, 0xc020aa00, $range or die "register $!";
my $holder = $$;
my $provider = fork;
if (!$provider) {
    # Once the holder stands still it has the lock.
    $0 = 'provider';
    my $is_held = await($holder, qr/userfault/);
    my $waiter = fork;
    if (!$waiter) {
        # By a descriptor of its own: those that are shared have a lock of their position, too.
        $0 = 'lock_waiter';
        open my $own, '+<', 'file' or die;
        syswrite $own, 'x';
        exit;
    }
    my $is_waiting = await($waiter, qr/write/);
    select undef, undef, undef, 0.3;
    # UFFDIO_ZEROPAGE
    my $zero = pack 'Q4', $memory, 4096, 0, 0;
    ioctl $faults, 0xc020aa04, $zero or die "zeropage $!";
    waitpid $waiter, 0;
    exit 1 if !$is_held || !$is_waiting;
    open my $truth, '>', 'waiter.csv' or die;
    print $truth "pid,least_ns,most_ns\n$waiter,300000000,", int(1e9 * (uptime() - $begin + 0.02)), "\n";
    exit;
}
my $file_fd = fileno $file;
syscall(1, $file_fd, $memory, 4096) == 4096 or die "write $!";
waitpid $provider, 0;
exit $? >> 8;
END
recorder record lock_waits --stacks kernel -o locks.trace -- perl load.pl >locks.log 2>&1
