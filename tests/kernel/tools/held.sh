#!/bin/sh
# native
# with: perl
# A process holds a known number of open files, has closed others, and listens at sockets that the kernel lists, in a network
# namespace of its own. Leaves held.trace and the truth as files.csv, slab.csv and sockets.csv.
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
my $holder = fork;
if (!$holder) {
    $0 = 'holder';
    my @held;
    for (1 .. 400) { open my $f, '<', '/dev/null' or die; push @held, $f }
    for (1 .. 300) { open my $f, '<', '/dev/null' or die }
    push @held, listener(2, in4(0), 7), listener(2, pack('S n C4 x8', 2, 0, 0, 0, 0, 0), 8), listener(10, lo6(0), 9);
    # One that has ended, and one that only has a port.
    listener(2, in4(0), 5);
    socket my $bound, 2, 1, 0 or die;
    bind $bound, in4(0) or die;
    open my $ready, '>', 'ready' or die;
    close $ready;
    sleep 120;
    exit;
}
wait_for(sub { -e 'ready' });
# Whatever is younger than half a second is not looked at.
select undef, undef, undef, 0.7;
open my $files, '>', 'files.csv' or die;
opendir my $fds, "/proc/$holder/fd" or die;
my @null = grep { (readlink("/proc/$holder/fd/$_") // '') eq '/dev/null' } readdir $fds;
print $files "pid,held,opened\n$holder,", scalar @null, ",700\n";
# LISTEN 0 7 127.0.0.1:1234 0.0.0.0:*
open my $sockets, '>', 'sockets.csv' or die;
print $sockets "backlog,addr,port\n";
for (split /\n/, `ss -tlnH`) { my (undef, undef, $backlog, $at) = split; print $sockets "$backlog,$1,$2\n" if $at =~ /^\[?([^\]]*)\]?:(\d+)$/ }
END
recorder record kmem listens --stacks kernel -o held.trace -- ip netns exec $netns perl load.pl
code=$?
kill "$(sed -n '2s/,.*//p' files.csv)"
awk 'BEGIN { print "cache,size_bytes" } $1 == "filp" { print $1 "," $4 }' /proc/slabinfo >slab.csv
exit $code
