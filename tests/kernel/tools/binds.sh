#!/bin/sh
# with: perl
# Sockets are bound to addresses and ports, or fail to be, in a network namespace of their own.
# Leaves the trace and truth.csv: what each call asked for, got and returned.
. "$(dirname "$0")/netns.inc"
cat >load.pl <<'END'
# Only what perl itself has, no modules: they are not in the guest.
$0 = 'binder';
sub in4 { my ($port, @ip) = @_; pack 'S n C4 x8', 2, $port, @ip }
sub lo6 { pack 'S n N n8 N', 10, shift, 0, (0) x 7, 1, 0 }
open my $truth, '>', 'truth.csv';
print $truth "n,protocol,addr,asked,port,ret\n";
my ($n, @open) = (0);
sub try {
    my ($family, $type, $protocol, $text, $asked, $address) = @_;
    socket my $s, $family, $type, 0 or die;
    push @open, $s;
    my $ret = bind($s, $address) ? 0 : -(0 + $!);
    my $port = $ret ? 0 : unpack 'x2 n', getsockname $s;
    print $truth join(',', ++$n, $protocol, $text, $asked, $port, $ret), "\n";
    $port;
}
try(2, 1, 6, '127.0.0.1', 0, in4(0, 127, 0, 0, 1)) for 1 .. 3;
my $taken = try(2, 1, 6, '0.0.0.0', 8080, in4(8080, 0, 0, 0, 0));
listen $open[-1], 1;
# The port is taken; the address is not one of this machine.
try(2, 1, 6, '127.0.0.1', 8080, in4(8080, 127, 0, 0, 1));
try(2, 2, 17, '10.9.8.7', 53, in4(53, 10, 9, 8, 7));
try(2, 2, 17, '127.0.0.1', 5353, in4(5353, 127, 0, 0, 1));
try(10, 1, 6, '::1', 0, lo6(0));
try(10, 2, 17, '::1', 5354, lo6(5354));
END
recorder record -o binds.trace \
    'binds=fn:inet_bind{ protocol=sock->sk->sk_protocol, addr=((struct sockaddr_in *)uaddr)->sin_addr.s_addr:ip, asked=((struct sockaddr_in *)uaddr)->sin_port, port=sock->sk->__sk_common.skc_num, reuse=sock->sk->__sk_common.skc_reuse, retval }' \
    'binds6=fn:inet6_bind{ protocol=sock->sk->sk_protocol, addr=((struct sockaddr_in6 *)uaddr)->sin6_addr:ip, asked=((struct sockaddr_in6 *)uaddr)->sin6_port, port=sock->sk->__sk_common.skc_num, reuse=sock->sk->__sk_common.skc_reuse, retval }' \
    -- ip netns exec $netns perl load.pl
