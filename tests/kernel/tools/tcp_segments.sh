#!/bin/sh
# native
# with: perl
# A connection whose one side lets what it gets lie for a while before it reads it, and asks the kernel for the round-trip time
# that it knows, in a network namespace of its own. Leaves tcp_segments.trace and the truth as told.csv,
# again.csv (segments that were sent twice) and took.csv.
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
# Of 10 bytes, one after the other: the reader sees that there is something, lets it lie for 20 ms, and says what the kernel
# holds for the round-trip time just before the next one comes. Bytes are answered, so that each side has times of its own.
open my $told, '>', 'told.csv';
print $told "family,lport,rport,n,srtt_us\n";
for ([2, in4(0), \&in4], [10, lo6(0), \&lo6]) {
    my ($family, $bound, $peer) = @$_;
    my $l = listener($family, $bound, 5);
    my $port = port_of($l);
    pipe my $asked, my $ask or die;
    my $sender = fork;
    if (!$sender) {
        $0 = 'seg_sender';
        socket my $c, $family, 1, 0 or die;
        connect $c, $peer->($port) or die "connect $!";
        for (1 .. 10) {
            sysread $asked, my $go, 1;
            syswrite $c, 'x';
            sysread $c, my $answer, 1;
        }
        exit;
    }
    my $from = accept my $s, $l or die;
    $0 = 'seg_reader';
    for my $n (1 .. 10) {
        # tcpi_rtt of TCP_INFO, in us.
        my $rtt = unpack 'x68 L', getsockopt $s, 6, 11;
        print $told join(',', $family, $port, unpack('x2 n', $from), $n, $rtt), "\n";
        syswrite $ask, 'x';
        my $in = '';
        vec($in, fileno $s, 1) = 1;
        select my $out = $in, undef, undef, undef;
        select undef, undef, undef, 0.02;
        sysread $s, my $got, 100;
        syswrite $s, 'y';
        # Nothing changes once the answer is acknowledged: tcpi_unacked.
        select undef, undef, undef, 0.01 while unpack 'x24 L', getsockopt $s, 6, 11;
    }
    waitpid $sender, 0;
}
# On a machine that stands still for long the kernel sends again what has come.
my ($names, $values) = map { [split] } text('/proc/net/snmp') =~ /^Tcp: (.*)$/mg;
my %counter;
@counter{@$names} = @$values;
open my $again, '>', 'again.csv';
print $again "segments\n$counter{RetransSegs}\n";
END
read -r from rest </proc/uptime
record_load tcp_segments --netns $netns
read -r to rest </proc/uptime
awk -v from="$from" -v to="$to" 'BEGIN { print "took_s"; print to - from + 0.02 }' >took.csv
exit $code
