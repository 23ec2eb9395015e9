#!/bin/sh
# with: perl
# (Not natively: timers send again, and where the virtual machine's agent was running when they did, as sched.sql tells, a row is
# missing.)
# Trouble with TCP connections, made by socket filters that throw everything away for a while, full listeners and resets, in a
# network namespace of its own. Leaves the trace, counters.csv (how much the namespace's own counters grew) and truth.csv (ports).
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
sub counters {
    my %counter;
    for ([snmp => 'Tcp', 'Tcp'], [netstat => 'TcpExt', '']) {
        my ($file, $kind, $prefix) = @$_;
        my ($names, $values) = map { [split] } text("/proc/net/$file") =~ /^$kind: (.*)$/mg;
        $counter{"$prefix$names->[$_]"} = $values->[$_] for 0 .. $#$names;
    }
    %counter;
}
sub counter { my %now = counters(); $now{(shift)} }
my %before = counters();
my $nothing = pack 'S C C L', 6, 0, 0, 0;
sub deafen { setsockopt shift, 1, 26, pack 'S x6 P', 1, $nothing or die "filter $!" }
sub undeafen { setsockopt shift, 1, 27, pack 'i', 0 or die "no filter $!" }
open my $truth, '>', 'truth.csv';
print $truth "what,port\n";
# Data is lost until the kernel has probed and waited: the receiver hears nothing.
for ([2, \&in4, 'lost4'], [10, \&lo6, 'lost6']) {
    my ($family, $to, $name) = @$_;
    my $l = listener($family, $to->(0), 5);
    socket my $c, $family, 1, 0 or die;
    connect $c, $to->(port_of($l)) or die;
    accept my $s, $l or die;
    syswrite $c, 'x' x 1000;
    sysread $s, my $got, 1000;
    my $timeouts = counter('TCPTimeouts');
    deafen($s);
    syswrite $c, 'y' x 1000 for 1 .. 3;
    wait_for(sub { counter('TCPTimeouts') > $timeouts });
    undeafen($s);
    my $n = 0;
    while ($n < 3000) { $n += sysread $s, $got, 3000 }
    syswrite $c, 'z';
    sysread $s, $got, 1;
    print $truth "$name,", port_of($l), "\n";
}
# The answer to the first packet is lost.
{
    my $l = listener(2, in4(0), 5);
    socket my $c, 2, 1, 0 or die;
    deafen($c);
    my $child = fork;
    if (!$child) { connect $c, in4(port_of($l)) or die; exit }
    wait_for(sub { counter('TCPSynRetrans') - $before{TCPSynRetrans} >= 2 });
    undeafen($c);
    accept my $s, $l or die;
    waitpid $child, 0;
    print $truth "synack,", port_of($l), "\n";
}
# A listener with room for one more than it says: the first packets of others are thrown away.
{
    my $l = listener(2, in4(0), 2);
    my $port = port_of($l);
    my @children;
    my @open;
    for (1 .. 3) { socket my $c, 2, 1, 0 or die; connect $c, in4($port) or die; push @open, $c }
    my $child = fork;
    if (!$child) { socket my $c, 2, 1, 0 or die; connect $c, in4($port) or die; exit }
    wait_for(sub { counter('ListenOverflows') > $before{ListenOverflows} });
    for (1 .. 4) { accept my $s, $l or die; push @open, $s }
    waitpid $child, 0;
    print $truth "full,$port\n";
}
# Five resets from a port that nobody has, and one that a process asks for.
for (1 .. 5) { socket my $c, 2, 1, 0 or die; connect $c, in4(9) and die }
{
    my $l = listener(2, in4(0), 5);
    socket my $c, 2, 1, 0 or die;
    connect $c, in4(port_of($l)) or die;
    accept my $s, $l or die;
    setsockopt $c, 1, 13, pack 'i2', 1, 0;
    close $c;
    sysread $s, my $rest, 1;
    print $truth "reset,", port_of($l), "\n";
}
select undef, undef, undef, 0.3;
my %after = counters();
open my $f, '>', 'counters.csv';
print $f "name,value\n";
print $f "$_," . ($after{$_} - $before{$_}) . "\n"
    for qw(TcpRetransSegs TCPSynRetrans TCPLossProbes TcpOutRsts TcpPassiveOpens ListenOverflows TCPTimeouts);
END
record_load tcp_events --netns $netns
exit $code
