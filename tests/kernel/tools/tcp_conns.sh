#!/bin/sh
# with: perl
# Connections of a known number and fate in a network namespace of their own, over loopback.
# Leaves the trace, truth.csv (what each process did), snmp.csv (the kernel's counters of the namespace before and after) and
# ss.csv (a connection that is still open at the end).
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
sub overflows {
    my ($names, $values) = map { [split] } text('/proc/net/netstat') =~ /^TcpExt: (.*)$/mg;
    my %counter;
    @counter{@$names} = @$values;
    $counter{ListenOverflows};
}
# Read so many bytes, or to the end of the stream.
sub take {
    my ($s, $bytes) = @_;
    my $n = 0;
    while (!defined $bytes || $n < $bytes) { my $r = sysread $s, my $got, 100_000; last if !$r; $n += $r }
    $n;
}
sub give { my ($s, $bytes) = @_; my $n = 0; while ($n < $bytes) { $n += syswrite($s, 'x' x 10_000) || die } $n }
# One connection: client and server are processes of the names c_NAME and s_NAME. "Kept" gives the other side's bytes.
sub pair {
    my ($name, $family, $bound, $peer, $client_bytes, $server_bytes, $first, $protocol) = @_;
    my $l = listener($family, $bound, 5, $protocol || 0);
    if (!$l) { return }
    my $port = port_of($l);
    my $client = fork;
    if (!$client) {
        $0 = "c_$name";
        close $l;
        socket my $c, $family, 1, $protocol || 0 or die;
        connect $c, $peer->($port) or die "connect $!";
        my $lport = port_of($c);
        my $sent = give($c, $client_bytes);
        my $got = take($c, $server_bytes);
        say_truth("c_$name", $$, 'connect', 'closed', $lport, $port, $sent, $got);
        setsockopt $c, 1, 13, pack 'i2', 1, 0 if $first eq 'reset';
        take($c) if $first eq 'server';
        close $c;
        exit;
    }
    my $server = fork;
    if (!$server) {
        $0 = "s_$name";
        my $from = accept my $c, $l or die;
        my $got = take($c, $client_bytes);
        my $sent = give($c, $server_bytes);
        say_truth("s_$name", $$, 'accept', 'closed', $port, unpack('x2 n', $from), $sent, $got);
        take($c) if $first ne 'server';
        close $c;
        exit;
    }
    close $l;
    waitpid $_, 0 for $client, $server;
}
sub fails {
    my ($name, $family, $address, $fate) = @_;
    my $pid = fork;
    if (!$pid) {
        $0 = "c_$name";
        socket my $c, $family, 1, 0 or die;
        connect $c, $address and die "connected";
        say_truth("c_$name", $$, 'connect', $fate, 0, unpack('x2 n', $address), 0, 0);
        exit;
    }
    waitpid $pid, 0;
}
pair('plain', 2, in4(0), \&in4, 1_000_000, 1_000_000, 'client') for 1 .. 3;
pair('server', 2, in4(0), \&in4, 10, 20_000, 'server');
pair('six', 10, lo6(0), \&lo6, 30_000, 40_000, 'client');
pair('mapped', 10, any6(0), \&mapped, 50_000, 10_000, 'client');
pair('reset', 2, in4(0), \&in4, 10_000, 10_000, 'reset');
fails('refused', 2, in4(1), 'refused') for 1 .. 2;
fails('refused6', 10, lo6(1), 'refused');
fails('noroute', 2, pack('S n C4 x8', 2, 80, 10, 1, 1, 1), 'failed');
# A listener with room for one: the second connection is there when its first packet is sent again, a second later.
{
    my $l = listener(2, in4(0), 0, 0);
    my $port = port_of($l);
    my @clients;
    for my $name ('first', 'second') {
        my $pid = fork;
        if (!$pid) {
            $0 = "c_$name";
            socket my $c, 2, 1, 0 or die;
            connect $c, in4($port) or die;
            say_truth("c_$name", $$, 'connect', 'closed', port_of($c), $port, 0, 0);
            take($c);
            exit;
        }
        push @clients, $pid;
        # The second one finds the room taken, and its first packet is dropped.
        wait_for(sub { $name eq 'first' ? text('truth.csv') =~ /c_first/ : overflows() > 0 });
    }
    my $server = fork;
    if (!$server) {
        $0 = 's_slow';
        for (1 .. 2) {
            my $from = accept my $c, $l or die;
            say_truth('s_slow', $$, 'accept', 'closed', $port, unpack('x2 n', $from), 0, 0);
        }
        exit;
    }
    close $l;
    waitpid $_, 0 for $server, @clients;
}
# MPTCP, where the kernel has it: its subflows are the connections.
pair('mptcp', 2, in4(0), \&in4, 10, 10, 'client', 262);
# One stays open.
{
    my $l = listener(2, in4(0), 5, 0);
    my $port = port_of($l);
    my $server = fork;
    if (!$server) {
        $0 = 's_open';
        my $from = accept my $c, $l or die;
        take($c, 5);
        say_truth('s_open', $$, 'accept', 'open', $port, unpack('x2 n', $from), 0, 0);
        sleep 60;
        exit;
    }
    close $l;
    my $client = fork;
    if (!$client) {
        $0 = 'c_open';
        socket my $c, 2, 1, 0 or die;
        connect $c, in4($port) or die;
        give($c, 10_000);
        say_truth('c_open', $$, 'connect', 'open', port_of($c), $port, 0, 0);
        sleep 60;
        exit;
    }
    wait_for(sub { my $told = text('truth.csv'); $told =~ /c_open/ && $told =~ /s_open/ });
    open my $f, '>', 'open.pids';
    print $f "$server $client\n";
}
END
echo comm,pid,ev,fate,lport,rport,sent,received >truth.csv
# The line of names and the line of numbers -> when,name,value
counters() {
    ip netns exec $netns cat /proc/net/snmp | awk -v when="$1" '$1 == "Tcp:" { if (n++) for (i = 2; i <= NF; i++) print when "," name[i] "," $i; else for (i = 2; i <= NF; i++) name[i] = $i }' >>snmp.csv
}
echo when,name,value >snmp.csv
recorder record tcp_conns --netns $netns -o tcp_conns.trace >recorder.log 2>&1 &
recorder=$!
while ! grep -q "recorder: recording" recorder.log && kill -0 $recorder; do sleep 0.1; done
counters before
ip netns exec $netns perl load.pl
counters after
ip netns exec $netns ss -tnH state established
kill -INT $recorder
wait $recorder
code=$?
cat recorder.log
kill $(cat open.pids)
exit $code
