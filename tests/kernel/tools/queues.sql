-- @tests netqtop
-- @tool netqtop: netqtop -n eth0 | recorder record 'sent=tp:net:net_dev_start_xmit{ interface=dev->name:string[15], queue=skb->queue_mapping, len=skb->len }' 'received=tp:net:netif_receive_skb{ interface=skb->dev->name:string[15], queue=skb->queue_mapping, len=skb->len }' -d 10 | analyze sql x.trace "SELECT dir, interface, queue, count(*) AS packets, sum(len) AS bytes, log2_histogram(len) AS sizes FROM (SELECT 'out' AS dir, interface, queue, CAST(len AS BIGINT) AS len FROM sent UNION ALL SELECT 'in', interface, queue, CAST(len AS BIGINT) FROM received) AS packets GROUP BY dir, interface, queue ORDER BY bytes DESC"
--     One interface there. What the interface or the kernel puts together (GSO, GRO) is one packet, there and here. The queue of
--     packets that come in is one more than its number, and 0 where the driver has not told it.

-- as many packets went and came as the interface counts
SELECT c.name, c.value, p.packets
FROM counters AS c
JOIN (
    SELECT 'tx_packets' AS name, count(*) AS packets FROM sent WHERE interface = 'lo' UNION ALL SELECT 'rx_packets', count(*) FROM received WHERE interface = 'lo'
) AS p ON p.name = c.name
WHERE p.packets <> c.value OR p.packets < 100;

-- with as many bytes, which are counted with the header of the link where they go out, and without it where they come in
SELECT c.name, c.value, p.bytes
FROM counters AS c
JOIN (
    SELECT 'tx_bytes' AS name, sum(len - 14) AS bytes FROM sent WHERE interface = 'lo' UNION ALL SELECT 'rx_bytes', sum(len) FROM received WHERE interface = 'lo'
) AS p ON p.name = c.name
WHERE p.bytes <> c.value OR (SELECT count(*) FROM counters) <> 4;

-- sizes are those of the load: 100 and 1000 bytes, and 28 of headers
SELECT * FROM (
    SELECT count(*) FILTER (WHERE len = 128) AS small, count(*) FILTER (WHERE len = 1028) AS large FROM received
) AS r
WHERE small <> 60 OR large <> 40;
