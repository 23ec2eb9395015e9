#!/bin/sh
# native
# with: perl,getent,bash,openssl
# Calls of functions of libraries and programs: names are looked up at a server that is slow, lines are typed, and messages of
# which nobody else sees the text go from one program to another. Truth: what the server, the lines and the messages are.
# Leaves libraries.trace, asked.csv, typed_lines.csv, received.csv, peers.csv and took.csv.
tools=$(dirname "$0")
. "$tools/netns.inc"
mkdir -p /etc/netns/$netns
trap 'ip netns del $netns; rm -r /etc/netns/$netns; kill $nameserver $server 2>/dev/null' EXIT
echo nameserver 127.0.0.1 >/etc/netns/$netns/resolv.conf
inside="ip netns exec $netns"

# Answers each question after 0.1 s: there is no name that begins with gone, and all others have one address of IPv4.
cat "$tools/net.pl" - >nameserver.pl <<'END'
socket my $s, 2, 2, 0 or die;
bind $s, in4(53) or die "bind $!";
open my $ready, '>', 'nameserver.ready';
while (my $from = recv $s, my $question, 512, 0) {
    my ($id, $flags) = unpack 'n n', $question;
    my ($name, $at) = ('', 12);
    while (my $length = ord substr $question, $at, 1) { $name .= substr($question, $at + 1, $length) . '.'; $at += $length + 1 }
    my $type = unpack 'n', substr $question, $at + 1, 2;
    my $asked = substr $question, 12, $at + 5 - 12;
    select undef, undef, undef, 0.1;
    my $gone = $name =~ /^gone/;
    my $answer = !$gone && $type == 1 ? pack 'n n n N n C4', 0xc00c, 1, 1, 60, 4, 192, 0, 2, 7 : '';
    send $s, pack('n n n n n n', $id, $gone ? 0x8583 : 0x8580, 1, $answer ? 1 : 0, 0, 0) . $asked . $answer, 0, $from;
}
END
$inside perl nameserver.pl &
nameserver=$!

# A key and a certificate for it.
cat >openssl.cnf <<'END'
[req]
distinguished_name = name
[name]
END
openssl req -config openssl.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ktape \
    -keyout key.pem -out cert.pem || exit 1

cat >lines.txt <<'END'
echo one
true two three
false
exit
END

# One lookup after the other, so that they take no longer than all of them.
cat >lookups.sh <<'END'
read -r from rest </proc/uptime
getent ahosts slow.ktape.test
getent ahosts slow.ktape.test
getent ahosts gone.ktape.test
getent hosts named.ktape.test
read -r to rest </proc/uptime
awk -v from="$from" -v to="$to" 'BEGIN { print "took_s"; print to - from + 0.02 }' >took.csv
bash --norc -i <lines.txt
END
cat >messages.sh <<'END'
# The server would send what it gets to read: that is nothing.
mkfifo messages nothing
exec 4<>nothing
openssl s_server -quiet -accept 127.0.0.1:4433 -key key.pem -cert cert.pem <&4 >received.txt 2>server.log &
server=$!
# Who begins to speak, says nothing for a while, and goes: the server waits for the rest, once it has read the beginning.
perl - <<'PERL'
require "./net.pl";
wait_for(sub { socket $c, 2, 1, 0; connect $c, in4(4433) });
syswrite $c, pack "H*", "1603010200";
wait_for(sub { my $all = text("/proc/net/tcp"); $all =~ / \w{8}:1151 01 00000000:/ && $all =~ /:1151 \w{8}:\w{4} 01 \w{8}:00000000 / });
select undef, undef, undef, 0.3;
PERL
openssl s_client -quiet -connect 127.0.0.1:4433 <messages >client.log 2>&1 &
client=$!
exec 5>messages
for n in 1 2 3 4 5 6 7 8 9 10; do
    echo "message $n of ten" >&5
    until grep -q "message $n of" received.txt || ! kill -0 $client; do sleep 0.02; done
done
# It waits for more when its last call has returned.
until grep -q '^State:.S' /proc/$client/status || ! kill -0 $client; do sleep 0.02; done
exec 5>&-
kill $client $server
wait
echo "server,client
$server,$client" >peers.csv
END
# Another script can use it if it ends in what is true.
{ cat "$tools/net.pl"; echo 1; } >net.pl
while [ ! -e nameserver.ready ]; do kill -0 $nameserver || exit 1; sleep 0.1; done
recorder record -o libraries.trace \
    'lookups=uretprobe:libc:getaddrinfo{ name=$arg1:ustring[255], ret=retval:s32, dur }' \
    'by_name=uretprobe:libc:gethostbyname_r{ name=$arg1:ustring[255], ret=retval:s32, dur }' \
    'by_name2=uretprobe:libc:gethostbyname2_r{ name=$arg1:ustring[255], ret=retval:s32, dur }' \
    'typed=uretprobe:bash:readline{ line=retval:ustring[255] }' \
    'tls_reads=uretprobe:libssl:SSL_read{ ssl=$arg1, ret=retval:s32, dur, data=$arg2:ubytes[255; retval:s32] }' \
    'tls_writes=uretprobe:libssl:SSL_write{ ssl=$arg1, ret=retval:s32, dur, data=$arg2:ubytes[255; retval:s32] }' \
    'handshakes=uretprobe:libssl:SSL_do_handshake{ ssl=$arg1, ret=retval:s32, dur }' \
    -- $inside sh -c 'sh lookups.sh; sh messages.sh'
code=$?
cat >asked.csv <<'CSV'
name,function,calls,ret,least_ms
slow.ktape.test,getaddrinfo,2,0,100
gone.ktape.test,getaddrinfo,1,-2,100
named.ktape.test,gethostbyname2_r,2,0,100
CSV
awk 'BEGIN { print "n,line" } { print NR "," $0 }' lines.txt >typed_lines.csv
{ echo n,line; sed 's/^message \([0-9]*\) of ten$/\1,&/' received.txt; } >received.csv
exit $code
