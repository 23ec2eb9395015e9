-- @tests tcptop, tcpsubnet

-- every process has as many bytes as its calls returned, in whichever way it sent
SELECT t.comm, t.dir, t.bytes AS truth, s.bytes
FROM truth t
LEFT JOIN (
    SELECT comm, dir, protocol, sum(bytes) AS bytes FROM sock_io GROUP BY comm, dir, protocol
) s ON s.comm = t.comm AND s.dir = t.dir AND s.protocol = t.protocol
WHERE s.bytes IS DISTINCT FROM t.bytes;

-- so much was to be sent, by 10 senders to 10 receivers
SELECT count(*) AS rows, sum(bytes) AS bytes FROM truth HAVING count(*) <> 20 OR sum(bytes) <> 2 * (7 * 1000000 + 3 * 20000);

-- the kernel's own counters of the connections say the same
SELECT k.comm, k.dir, k.bytes AS kernel, s.bytes
FROM ss k
LEFT JOIN (SELECT comm, dir, sum(bytes) AS bytes FROM sock_io GROUP BY comm, dir) s ON s.comm = k.comm AND s.dir = k.dir
WHERE (s.bytes IS DISTINCT FROM k.bytes) OR (SELECT count(*) FROM ss) <> 14;

-- net_top by process has them, and nothing else of size
SELECT n.comm, n.protocol, n.sent_bytes, n.received_bytes, t.dir, t.bytes
FROM net_top(top => 1000) n
FULL JOIN truth t ON t.comm = n.comm AND t.protocol = n.protocol
WHERE (CASE WHEN t.dir = 'send' THEN n.sent_bytes ELSE n.received_bytes END IS DISTINCT FROM t.bytes)
    AND (t.bytes IS NOT NULL OR n.sent_bytes + n.received_bytes > 0);

-- by connection: each TCP sender talks to the port that its receiver reads from
SELECT t.comm, count(s.comm) AS connections
FROM truth t
LEFT JOIN net_top(by => 'connection', top => 1000) s ON s.comm = t.comm AND s.sent_bytes = 1000000
LEFT JOIN net_top(by => 'connection', top => 1000) r
    ON r.comm = 'r' || substr(s.comm, 2) AND r.lport = s.rport AND r.rport = s.lport AND r.laddr = s.raddr AND r.received_bytes = 1000000
WHERE t.dir = 'send' AND t.protocol = 6
GROUP BY t.comm
HAVING count(r.comm) <> 1;

-- by network: 5 connections of IPv4, of them one through IPv6 sockets, 2 of IPv6, and one of UDP; the other datagrams have no peer
SELECT * FROM net_subnets(nets => '127.0.0.0/8,::1/128')
WHERE NOT CASE
    WHEN network = '127.0.0.0/8' AND protocol = 6 THEN sent_bytes = 5000000 AND received_bytes = 5000000 AND peers = 1
    WHEN network = '::1/128' AND protocol = 6 THEN sent_bytes = 2000000 AND received_bytes = 2000000 AND peers = 1
    WHEN network = '127.0.0.0/8' AND protocol = 17 THEN sent_bytes = 20000 AND received_bytes = 0
    WHEN network IS NULL AND protocol = 17 THEN sent_bytes = 40000 AND received_bytes = 60000 AND peers = 0
    ELSE false
END;

-- what was only looked at is a row without bytes, and a receive that found nothing is a row with its error
SELECT comm, count(*) FILTER (WHERE flags = 2 AND ret > 0 AND bytes IS NULL) AS looks, count(*) FILTER (WHERE ret = -11 AND bytes IS NULL) AS errors
FROM sock_io
WHERE comm LIKE 'r\_udp%' ESCAPE '\'
GROUP BY comm
HAVING count(*) FILTER (WHERE flags = 2 AND ret > 0 AND bytes IS NULL) <> 1 OR count(*) FILTER (WHERE ret = -11 AND bytes IS NULL) <> 1;

-- nothing is missing as far as the kernel counts; what kprobes miss some do not count, which the rows compared above make up for
SELECT l.* FROM losses l LEFT JOIN probes p USING (probe)
WHERE l.event = 'sock_io' AND (l.count > 0 OR l.count IS NULL AND coalesce(p.kind, '') NOT IN ('kprobe', 'kretprobe'));
