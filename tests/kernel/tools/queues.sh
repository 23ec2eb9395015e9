#!/bin/sh
# native
# with: perl
# Packets of known number and size that leave by an interface and come in by it, in a network namespace of their own. Leaves
# queues.trace and the truth as counters.csv: how much the interface's own counters grew.
tools=$(dirname "$0")
. "$tools/netns.inc"
cat "$tools/net.pl" - >load.pl <<'END'
socket my $s, 2, 2, 0 or die;
bind $s, in4(0) or die;
my $to = in4(port_of($s));
send $s, 'x' x 100, 0, $to for 1 .. 60;
send $s, 'x' x 1000, 0, $to for 1 .. 40;
END
inside="ip netns exec $netns"
# ns: what the network namespace is called inside the kernel.
ns=$($inside readlink /proc/self/ns/net | sed 's/[^0-9]//g')
counters() { $inside sh -c 'for name in tx_packets tx_bytes rx_packets rx_bytes; do sed "s/^/$0,$name,/" /sys/class/net/lo/statistics/$name; done' "$1" >>all.csv; }
recorder record -o queues.trace \
    "sent=tp:net:net_dev_start_xmit{ interface=dev->name:string[15], queue=skb->queue_mapping, len=skb->len } if dev->nd_net.net->ns.inum == $ns" \
    "received=tp:net:netif_receive_skb{ interface=skb->dev->name:string[15], queue=skb->queue_mapping, len=skb->len } if skb->dev->nd_net.net->ns.inum == $ns" \
    >recorder.log 2>&1 &
recorder=$!
while ! grep -q "recorder: recording" recorder.log && kill -0 $recorder; do sleep 0.1; done
counters before
$inside perl load.pl
counters after
kill -INT $recorder
wait $recorder
code=$?
cat recorder.log
{
    echo name,value
    awk -F, '$1 == "before" { was[$2] = $3 } $1 == "after" { print $2 "," $3 - was[$2] }' all.csv
} >counters.csv
rm all.csv
exit $code
