#!/bin/sh
# with: perl
# native
# Processes send and receive known numbers of bytes by every way there is, over loopback of a network namespace of their own.
# Leaves the trace, truth.csv (what their own calls returned) and ss.csv (what the kernel counted for the connections).
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
$| = 1;
my $total = 1_000_000;
sub stat_of {
    my ($line, $name) = @_;
    $line =~ /\b$name:(\d+)/ ? $1 : 0;
}
my $data = 'x' x 8000;
my %ways = (
    send => sub { my $n = 0; while ($n < $total) { $n += send($_[0], $data, 0) || die } $n },
    write => sub { my $n = 0; while ($n < $total) { $n += syswrite($_[0], $data) || die } $n },
    sendfile => sub {
        open my $f, '<', 'file' or die;
        my $n = 0;
        while ($n < $total) { my $r = syscall(40, fileno $_[0], fileno $f, 0, 300_000); die if $r <= 0; $n += $r }
        $n;
    },
    splice => sub {
        open my $f, '<', 'file' or die;
        pipe my $out, my $in;
        my $n = 0;
        while ($n < $total) {
            my $r = syscall(275, fileno $f, 0, fileno $in, 0, 50_000, 0);
            die if $r <= 0;
            while ($r > 0) { my $w = syscall(275, fileno $out, 0, fileno $_[0], 0, $r, 0); die if $w <= 0; $r -= $w; $n += $w }
        }
        $n;
    },
);
# Connections are looked at while both ends are open and all has arrived.
sub tcp {
    my ($name, $family, $bound, $peer, $way) = @_;
    socket my $listener, $family, 1, 0 or die;
    bind $listener, $bound or die "bind $!";
    listen $listener, 5 or die;
    my $port = port_of($listener);
    my $sender = fork;
    if (!$sender) {
        $0 = "s_$name";
        socket my $c, $family, 1, 0 or die;
        connect $c, $peer->($port) or die "connect $!";
        say_truth("s_$name", 'send', 6, $ways{$way}->($c));
        sysread $c, my $rest, 1;
        exit;
    }
    my $receiver = fork;
    if (!$receiver) {
        $0 = "r_$name";
        accept my $c, $listener or die;
        my $n = 0;
        # Looking at bytes does not take them.
        recv($c, my $seen, 500, 2);
        while ($n < $total) { my $r = sysread $c, my $got, 10_000; die if !$r; $n += $r }
        say_truth("r_$name", 'receive', 6, $n);
        for (split /^(?=ESTAB|\S)/m, `ss -tinH state established`) {
            open my $f, '>>', 'ss.csv' or die;
            my ($local, $remote) = /(\d+)\s+\S*?:(\d+)\s/ ? (/:(\d+)\s+\S*:(\d+)\s/) : next;
            print $f "s_$name,send," . (stat_of($_, 'bytes_sent') - stat_of($_, 'bytes_retrans')) . "\n" if $remote == $port;
            print $f "r_$name,receive," . stat_of($_, 'bytes_received') . "\n" if $local == $port;
        }
        exit;
    }
    waitpid $_, 0 for $receiver, $sender;
}
# 100 datagrams of 200 bytes, all of which arrive; the receiver looks at the first one before it takes it.
sub udp {
    my ($name, $family, $bound, $peer, $connected) = @_;
    socket my $server, $family, 2, 0 or die;
    bind $server, $bound or die;
    my $port = port_of($server);
    my $sender = fork;
    if (!$sender) {
        $0 = "s_$name";
        socket my $c, $family, 2, 0 or die;
        connect $c, $peer->($port) or die if $connected;
        my $n = 0;
        for (1 .. 100) { $n += $connected ? send($c, 'y' x 200, 0) : send($c, 'y' x 200, 0, $peer->($port)) }
        say_truth("s_$name", 'send', 17, $n);
        exit;
    }
    waitpid $sender, 0;
    my $receiver = fork;
    if (!$receiver) {
        $0 = "r_$name";
        my ($n, $got) = (0);
        recv $server, $got, 1000, 2;
        for (1 .. 100) { recv $server, $got, 1000, 0; $n += length $got }
        say_truth("r_$name", 'receive', 17, $n);
        # Nothing is left: an error, no bytes.
        recv $server, $got, 1000, 0x40;
        exit;
    }
    waitpid $receiver, 0;
}
say_truth(qw(comm dir protocol bytes));
{ open my $f, '>', 'ss.csv'; print $f "comm,dir,bytes\n"; open my $g, '>', 'file'; print $g 'z' x $total }
tcp($_, 2, in4(0), \&in4, $_) for qw(send write sendfile splice);
tcp('six', 10, lo6(0), \&lo6, 'write');
tcp('sixfile', 10, lo6(0), \&lo6, 'sendfile');
tcp('mapped', 10, any6(0), \&mapped, 'send');
udp('udp', 2, in4(0), \&in4, 0);
udp('udpconn', 2, in4(0), \&in4, 1);
udp('udpsix', 10, lo6(0), \&lo6, 0);
END
recorder record sock_io -o sock_io.trace -- ip netns exec $netns perl load.pl
echo "recorder: $?"
