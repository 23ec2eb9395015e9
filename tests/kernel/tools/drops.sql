-- @tests tcpdrop

-- each reason of the load has as many packets as were sent there
SELECT t.reason, t.proto, t.dport, t.packets AS truth, d.packets, d.reason AS found
FROM truth t
LEFT JOIN (
    SELECT reason, proto, protocol, dport, sum(packets) AS packets FROM drops(by => 'flow', top => 100000) GROUP BY reason, proto, protocol, dport
) d ON d.reason = t.reason AND d.proto = t.proto AND d.protocol = t.protocol AND d.dport = t.dport
WHERE d.packets IS DISTINCT FROM t.packets;

-- the load had all of them
SELECT count(*) AS kinds, sum(packets) AS packets FROM truth HAVING count(*) <> 5 OR sum(packets) <> 105;

-- the kernel counts as many datagrams without a socket, IPv4 and IPv6
SELECT c.name, c.value, d.packets
FROM counters c
LEFT JOIN (
    SELECT CASE WHEN protocol = 2048 THEN 'UdpNoPorts' ELSE 'Udp6NoPorts' END AS name, count(*) AS packets
    FROM drops WHERE reason = 'SKB_DROP_REASON_NO_SOCKET' AND proto = 17 GROUP BY protocol
) d ON d.name = c.name
WHERE c.name LIKE '%NoPorts' AND (d.packets IS DISTINCT FROM c.value) OR (SELECT count(*) FROM counters) <> 5;

-- each connection to a port that is not there was answered by a reset
SELECT c.value, d.packets
FROM counters c, (SELECT count(*) AS packets FROM drops WHERE reason = 'SKB_DROP_REASON_NO_SOCKET' AND proto = 6 AND dport = 9) d
WHERE c.name = 'TcpOutRsts' AND (c.value <> d.packets OR d.packets = 0);

-- the socket without room threw away what the kernel counts
SELECT c.value, d.packets
FROM counters c, (SELECT count(*) AS packets FROM drops WHERE reason = 'SKB_DROP_REASON_SOCKET_RCVBUFF' AND dport = (SELECT dport FROM full)) d
WHERE c.name = 'UdpRcvbufErrors' AND (c.value <> d.packets OR d.packets = 0);

-- reasons have the names that the kernel itself prints, by their number
SELECT d.reason, d.reason_number, n.name
FROM (SELECT DISTINCT reason, reason_number FROM drops) d
LEFT JOIN names n ON n.number = d.reason_number
WHERE d.reason <> 'SKB_DROP_REASON_' || n.name OR n.name IS NULL OR (SELECT count(*) FROM names) < 50;

-- addresses and flags are those of the packets: first packets of a connection, from here to here
SELECT saddr, daddr, sport, tcp_flags, len_bytes FROM drops
WHERE reason = 'SKB_DROP_REASON_NO_SOCKET' AND proto = 6 AND dport = 9
    AND NOT (saddr = daddr AND saddr = CASE WHEN protocol = 2048 THEN '127.0.0.1' ELSE '::1' END AND sport > 1023 AND (tcp_flags & 63) = 2);

-- nothing is missing as far as the kernel counts; what kprobes miss some do not count, which the rows compared above make up for
SELECT l.* FROM losses l LEFT JOIN probes p USING (probe)
WHERE l.event = 'drops' AND (l.count > 0 OR l.count IS NULL AND coalesce(p.kind, '') NOT IN ('kprobe', 'kretprobe'));
