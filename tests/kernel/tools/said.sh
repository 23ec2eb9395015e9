#!/bin/sh
# with: perl
# Known bytes are written to a terminal, and read from UNIX sockets in pieces. Leaves said.trace, said.log and the truth as
# written.csv and read.csv: who wrote and read what, in hexadecimal.
[ -e /dev/ptmx ] || mknod /dev/ptmx c 5 2
mkdir -p /dev/pts
grep -q ' /dev/pts devpts ' /proc/mounts || mount -t devpts devpts /dev/pts || exit 1
cat >load.pl <<'END'
sub truth { my ($name, @row) = @_; open my $f, '>>', "$name.csv" or die; print $f join(',', @row), "\n" }
sub hex_of { unpack 'H*', shift }
# Sets the lock of the terminal free, and asks for its number.
open my $master, '+<', '/dev/ptmx' or die "ptmx $!";
ioctl $master, 0x40045431, my $unlocked = pack 'i', 0 or die "unlock $!";
ioctl $master, 0x80045430, my $number = pack 'i', 0 or die "number $!";
$number = unpack 'i', $number;
open my $tty, '+<', "/dev/pts/$number" or die "pts $!";
my $n = 0;
for ("hello\n", "caf\xc3\xa9 \0\xff", 'x' x 600, "done\n") {
    syswrite($tty, $_) == length or die "short";
    truth('written', $$, $number, $n++, length, hex_of(substr $_, 0, 510));
    sysread $master, my $shown, 4096;
}
# What one process writes in two pieces another one looks at first, and reads in three.
$n = 0;
socketpair my $a, my $b, 1, 1, 0 or die "socketpair $!";
syswrite $a, "first piece, \0\1\2";
recv $b, my $peeked, 5, 2;
truth('read', $$, $n++, 1, hex_of($peeked));
for my $size (6, 6, 100) {
    sysread $b, my $got, $size;
    truth('read', $$, $n++, 0, hex_of($got));
}
# A larger one does not lie in one piece of memory.
syswrite $a, 'y' x 100000;
my $left = 100000;
while ($left) { $left -= sysread $b, my $got, $left }
END
echo pid,number,n,bytes,hex >written.csv
echo pid,n,peeked,hex >read.csv
recorder record -o said.trace 'shown=fn:n_tty_write{ tty=tty->name:string[31], nr, data=buf:bytes[510; retval] }' \
    'unix_reads=fn:unix_stream_read_actor{ chunk, peeked=(state->flags & 2) != 0, data=skb->data + ((struct unix_skb_parms *)skb->cb)->consumed + skip:bytes[510; retval] } if skb->data_len == 0' \
    >said.log 2>&1 &
recorder=$!
until grep -qs "recorder: recording" said.log || ! kill -0 $recorder; do sleep 0.1; done
perl load.pl >>said.log 2>&1
code=$?
kill -TERM $recorder
wait $recorder
exit $code
