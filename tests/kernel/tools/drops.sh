#!/bin/sh
# with: perl
# native
# Packets that are thrown away for known reasons, in a network namespace of their own.
# Leaves the trace, truth.csv (what the load did), counters.csv (the namespace's own counters, how much they grew) and
# names.csv (names of reasons, as the kernel's own tracing prints them).
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
sub counters {
    my %counter;
    for my $kind ('Udp', 'Tcp') {
        my ($names, $values) = map { [split] } text('/proc/net/snmp') =~ /^$kind: (.*)$/mg;
        $counter{"$kind$names->[$_]"} = $values->[$_] for 0 .. $#$names;
    }
    (%counter, map { /^(\S+)\s+(\d+)$/ ? ($1, $2) : () } split /\n/, text('/proc/net/snmp6'));
}
my %before = counters();
my @truth;
sub udp {
    my ($family, $to, $times, $bytes) = @_;
    socket my $s, $family, 2, 0 or die;
    # An answer that the port is not there is an error of the next call.
    for (1 .. $times) { send $s, 'x' x $bytes, 0, $to }
    close $s;
}
# No such port.
udp(2, in4(9), 30, 100);
push @truth, 'NO_SOCKET,17,2048,9,30';
udp(10, lo6(9), 20, 100);
push @truth, 'NO_SOCKET,17,34525,9,20';
for (1 .. 10) { socket my $s, 2, 1, 0; connect $s, in4(9) and die }
push @truth, 'NO_SOCKET,6,2048,9,10';
for (1 .. 5) { socket my $s, 10, 1, 0; connect $s, lo6(9) and die }
push @truth, 'NO_SOCKET,6,34525,9,5';
# A socket whose filter takes nothing.
socket my $filtered, 2, 2, 0;
bind $filtered, in4(0) or die;
my $program = pack 'S C C L', 6, 0, 0, 0;
setsockopt $filtered, 1, 26, pack 'S x6 P', 1, $program or die "filter $!";
udp(2, in4(port_of($filtered)), 40, 100);
push @truth, 'SOCKET_FILTER,17,2048,' . port_of($filtered) . ',40';
# A socket that has no room, as long as nobody reads.
socket my $full, 2, 2, 0;
setsockopt $full, 1, 8, pack 'i', 4000 or die;
bind $full, in4(0) or die;
udp(2, in4(port_of($full)), 50, 1000);
my %after = counters();
open my $f, '>', 'truth.csv';
print $f "reason,proto,protocol,dport,packets\n", map { "$_\n" } @truth;
open my $g, '>', 'counters.csv';
print $g "name,value\n";
print $g "$_," . ($after{$_} - $before{$_}) . "\n" for qw(UdpNoPorts UdpRcvbufErrors UdpInErrors TcpOutRsts Udp6NoPorts);
open my $h, '>', 'full.csv';
print $h "dport\n", port_of($full), "\n";
END
echo number,name >names.csv
sed -n 's/^print fmt.*__print_symbolic(REC->reason, //p' /sys/kernel/tracing/events/skb/kfree_skb/format | tr '}' '\n' |
    sed -n 's/.*{ *\([0-9]*\), "\([^"]*\)".*/\1,\2/p' >>names.csv
# In a guest nothing else happens, and before 6.12 it is not known of each packet in which namespace it is.
only=
if [ "$1" = native ]; then only="--netns $netns"; fi
record_load drops $only
exit $code
