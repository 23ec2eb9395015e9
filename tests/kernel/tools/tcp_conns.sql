-- @tests tcpconnect, tcpaccept, tcpconnlat, tcplife, tcptracer, tcpstates

-- the processes did what they were to do, and MPTCP is there or not
SELECT count(*) AS rows, count(DISTINCT comm) AS programs FROM truth
HAVING NOT (count(*) = 24 AND count(DISTINCT comm) = 18 OR count(*) = 26 AND count(DISTINCT comm) = 20);

-- as many connections were asked for as the namespace counts, those without a route apart
SELECT * FROM (
    SELECT
        (SELECT max(value) - min(value) FROM snmp WHERE name = 'ActiveOpens') AS opens,
        (SELECT sum(attempts - failed) FROM connects()) AS attempts
) WHERE opens <> attempts OR attempts IS NULL OR attempts < 13;

-- as many came in as the namespace counts
SELECT * FROM (
    SELECT
        (SELECT max(value) - min(value) FROM snmp WHERE name = 'PassiveOpens') AS opens,
        (SELECT sum(accepted) FROM accepts()) AS accepted,
        (SELECT count(*) FROM tcp_conns WHERE old = 'LISTEN' AND new = 'SYN_RECV') AS handshakes
) WHERE opens <> accepted OR opens <> handshakes OR accepted IS NULL OR accepted < 10;

-- and as many failed
SELECT * FROM (
    SELECT
        (SELECT max(value) - min(value) FROM snmp WHERE name = 'AttemptFails') AS fails,
        (SELECT sum(refused) FROM connects()) AS refused
) WHERE fails <> 3 OR refused IS DISTINCT FROM fails;

-- connects tells of each program and peer what its connections came to
SELECT t.comm, t.rport, t.n, t.fate, c.attempts, c.established, c.refused, c.failed
FROM (SELECT comm, rport, fate, count(*) AS n FROM truth WHERE ev = 'connect' GROUP BY comm, rport, fate) t
FULL JOIN connects() c ON c.comm = t.comm AND c.rport = t.rport
WHERE t.n IS NULL OR c.attempts IS NULL OR c.attempts <> t.n OR c.unfinished <> 0 OR c.timed_out <> 0
    OR c.established <> CASE WHEN t.fate IN ('closed', 'open') THEN t.n ELSE 0 END
    OR c.refused <> CASE WHEN t.fate = 'refused' THEN t.n ELSE 0 END
    OR c.failed <> CASE WHEN t.fate = 'failed' THEN t.n ELSE 0 END;

-- a refused connection has an error and no latency; no route is an error of the call
SELECT l.comm, l.latency_ns, l.until_ns, l.err FROM connect_latency() l
WHERE l.comm LIKE 'c\_refused%' ESCAPE '\' AND (l.latency_ns IS NOT NULL OR l.until_ns IS NULL OR l.err <> 111);

-- the call itself has the error of no route
SELECT count(*) AS calls FROM tcp_conns WHERE ev = 'connect' AND comm = 'c_noroute' AND ret = -101 AND raddr = '10.1.1.1' AND rport = 80
HAVING count(*) <> 1;

-- every accept is one by the program whose listener it was
SELECT t.comm, t.pid, t.lport, t.rport, count(a.comm) AS accepts
FROM truth t
LEFT JOIN tcp_conns a ON a.ev = 'accept' AND a.comm = t.comm AND a.pid = t.pid AND a.lport = t.lport AND a.rport = t.rport
WHERE t.ev = 'accept'
GROUP BY t.comm, t.pid, t.lport, t.rport
HAVING count(a.comm) <> 1;

-- accepts counts them
SELECT t.comm, t.lport, t.n, a.accepted, a.waits
FROM (SELECT comm, lport, count(*) AS n FROM truth WHERE ev = 'accept' GROUP BY comm, lport) t
FULL JOIN accepts() a ON a.comm = t.comm AND a.lport = t.lport
WHERE (a.accepted IS DISTINCT FROM t.n) OR (a.waits IS DISTINCT FROM t.n);

-- the second connection of a full listener takes a second, and its first packet was sent twice
SELECT count(*) AS slow FROM connect_latency(least_ns => '900ms', failed => 'no') WHERE comm = 'c_second' AND retrans >= 1
HAVING count(*) <> 1;

-- each connection is one row on each side, of the process that had it, with its ports and bytes
SELECT t.comm, t.pid, t.fate, t.lport, t.rport, t.sent, t.received, c.direction, c.fate AS found, c.sent_bytes, c.received_bytes, c.err
FROM truth t
LEFT JOIN connections() c ON c.comm = t.comm AND c.pid = t.pid AND (c.lport = t.lport OR t.lport = 0) AND c.rport = t.rport
WHERE t.fate <> 'failed' AND (
    c.comm IS NULL
    OR c.direction <> CASE WHEN t.ev = 'connect' THEN 'out' ELSE 'in' END
    OR c.fate <> CASE WHEN t.fate = 'refused' THEN 'failed' ELSE t.fate END
    OR t.fate = 'closed' AND (c.sent_bytes <> t.sent OR c.received_bytes <> t.received)
    OR t.fate = 'open' AND c.duration_ns IS NOT NULL
    OR t.fate <> 'open' AND c.duration_ns IS NULL
    OR t.comm = 's_reset' AND c.err <> 104
    OR t.fate = 'refused' AND c.err <> 111
);

-- and there are no others
SELECT c.comm, c.fate, c.lport, c.rport FROM connections() c
LEFT JOIN truth t ON c.comm = t.comm AND c.pid = t.pid AND (c.lport = t.lport OR t.lport = 0) AND c.rport = t.rport
WHERE t.comm IS NULL;

-- a side that closes first and one that closes last go their ways
SELECT comm, ways FROM (
    SELECT c.comm, string_agg(s.new, ' ' ORDER BY s.ts) AS ways
    FROM connections() c
    JOIN tcp_states() s ON s.lport = c.lport AND s.rport = c.rport
    WHERE c.comm IN ('c_server', 's_server', 'c_six', 's_six') AND s.old <> 'CLOSE' AND s.old <> 'LISTEN'
    GROUP BY c.comm
)
WHERE ways <> CASE
    WHEN comm IN ('c_six', 's_server') THEN 'ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE'
    ELSE 'ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE'
END;

-- times in a state add up to the connection's life
SELECT c.comm, c.duration_ns, sum(s.old_ns) AS states_ns
FROM connections() c
JOIN tcp_states() s ON s.lport = c.lport AND s.rport = c.rport
WHERE c.comm IN ('c_six', 'c_server')
GROUP BY c.comm, c.duration_ns
HAVING sum(s.old_ns) <> c.duration_ns;

-- nothing is missing as far as the kernel counts; what kprobes miss some do not count, which the rows compared above make up for
SELECT l.* FROM losses l LEFT JOIN probes p USING (probe)
WHERE l.event = 'tcp_conns' AND (l.count > 0 OR l.count IS NULL AND coalesce(p.kind, '') NOT IN ('kprobe', 'kretprobe'));
