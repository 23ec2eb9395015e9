# What the loads of several scripts share. Only what perl itself has, no modules: they are not in the guest.
sub in4 { pack 'S n C4 x8', 2, shift, 127, 0, 0, 1 }
sub in6 { my ($port, @tail) = @_; pack 'S n N n8 N', 10, $port, 0, @tail, 0 }
sub any6 { in6(shift, (0) x 8) }
sub lo6 { in6(shift, (0) x 7, 1) }
sub mapped { in6(shift, (0) x 5, 0xffff, 0x7f00, 1) }
sub port_of { unpack 'x2 n', getsockname shift }
sub text { open my $f, '<', shift or return ''; local $/; <$f> }
sub say_truth { open my $f, '>>', 'truth.csv' or die; syswrite $f, join(',', @_) . "\n" }
sub wait_for { my $is_so = shift; select undef, undef, undef, 0.02 while !$is_so->() }
sub listener {
    my ($family, $address, $backlog, $protocol) = @_;
    socket my $l, $family, 1, $protocol || 0 or return;
    bind $l, $address or die "bind $!";
    listen $l, $backlog or die "listen $!";
    $l;
}
