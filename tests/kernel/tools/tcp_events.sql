-- @tests tcpretrans, tcpcong, tcpsynbl

-- there was trouble of every kind
SELECT * FROM counters WHERE value = 0 OR (SELECT count(*) FROM counters) <> 7 OR (SELECT count(*) FROM truth) <> 5;

-- as many segments were sent again as the namespace counts, handshakes included
SELECT c.value, e.segments
FROM counters c, (SELECT sum(segments) AS segments FROM retransmits(top => 1000)) e
WHERE c.name = 'TcpRetransSegs' AND (e.segments IS DISTINCT FROM c.value);

-- and as many of handshakes: first packets and answers to them
SELECT c.value, e.first_packets, e.answers
FROM counters c, (SELECT sum(first_packets) AS first_packets, sum(answers) AS answers FROM retransmits(top => 1000)) e
WHERE c.name = 'TCPSynRetrans' AND (c.value <> e.first_packets + e.answers OR e.first_packets = 0 OR e.answers = 0);

-- and as many tail loss probes, where their function can be observed
SELECT c.value, e.probes
FROM counters c, (SELECT sum(probes) AS probes FROM retransmits(top => 1000)) e
WHERE c.name = 'TCPLossProbes' AND (e.probes IS DISTINCT FROM c.value)
    AND (SELECT count(*) FROM probes WHERE event = 'tcp_events' AND source LIKE 'tlp%' AND attached) = 2;

-- the sender whose data was lost came into Loss and out of it, and only such senders have lost data
SELECT t.what, count(s.ca_state) AS states
FROM truth t
LEFT JOIN cong_states() s ON s.rport = t.port AND s.ca_state = 'Loss' AND s.entered >= 1 AND s.known_ns > 0
    AND CASE WHEN t.what = 'lost4' THEN s.raddr = '127.0.0.1' ELSE s.raddr = '::1' END
WHERE t.what IN ('lost4', 'lost6')
GROUP BY t.what
HAVING count(s.ca_state) <> 1;

-- it lasted as long as from the first of its changes to the change away from it
SELECT s.lport, s.rport, s.known_ns, e.ns
FROM cong_states() s
JOIN (
    SELECT lport, rport, max(CASE WHEN ca_old = 'Loss' AND ca_new = 'Open' THEN ns(ts) END) - min(CASE WHEN ca_old = 'Open' AND ca_new = 'Loss' THEN ns(ts) END) AS ns
    FROM tcp_events WHERE ev = 'cong_state' GROUP BY lport, rport
) e ON e.lport = s.lport AND e.rport = s.rport
WHERE s.ca_state = 'Loss' AND s.entered = 1 AND s.known_ns <> e.ns;

-- segments are sent again to the ports where they were lost, as data there, and as first packets to the full listener
SELECT t.what, count(r.segments) AS rows
FROM truth t
LEFT JOIN retransmits(top => 1000) r
    ON r.rport = t.port AND CASE WHEN t.what LIKE 'lost%' THEN r.segments > r.first_packets ELSE r.first_packets > 0 END
WHERE t.what <> 'reset'
GROUP BY t.what
HAVING count(r.segments) <> 1;

-- handshakes that ended at a listener are those that the namespace counts, where the functions can be observed
SELECT c.value, b.made
FROM counters c, (SELECT sum(handshakes - turned_away) AS made FROM backlogs()) b
WHERE c.name = 'TcpPassiveOpens' AND (b.made IS DISTINCT FROM c.value)
    AND (SELECT count(*) FROM probes WHERE event = 'tcp_events' AND source LIKE 'syn_recv%' AND attached) = 2;

-- the listener with a limit of 2 had 0, 1 and 2 waiting when the next one came, and 0 when all had been accepted
SELECT t.what, b.backlog, b.handshakes, b.max_waiting, b.log2_histogram
FROM truth t LEFT JOIN backlogs() b ON b.lport = t.port
WHERE t.what = 'full' AND (b.backlog IS NULL OR b.backlog <> 2 OR b.handshakes <> 4 OR b.turned_away <> 0 OR b.max_waiting <> 2 OR b.log2_histogram <> '0:3 1:1')
    AND (SELECT count(*) FROM probes WHERE event = 'tcp_events' AND source LIKE 'syn_recv%' AND attached) = 2;

-- resets that came: five from a port that nobody has, one from a process
SELECT e.nobody, e.process
FROM (
    SELECT count(*) FILTER (WHERE rport = 9) AS nobody, count(*) FILTER (WHERE lport = (SELECT port FROM truth WHERE what = 'reset')) AS process
    FROM tcp_events WHERE ev = 'receive_reset'
) e
WHERE e.nobody <> 5 OR e.process <> 1;

-- resets that went: all that the namespace counts, where the kernel shows those without a socket
SELECT c.value, e.resets, e.nobody
FROM counters c, (SELECT count(*) AS resets, count(*) FILTER (WHERE sk IS NULL) AS nobody FROM tcp_events WHERE ev = 'send_reset') e
WHERE c.name = 'TcpOutRsts' AND c.value <> e.resets + CASE
    WHEN (SELECT count(*) FROM probes WHERE event = 'tcp_events' AND source = 'send_reset4_nobody' AND attached) = 1 AND e.nobody = 5 THEN 0
    WHEN e.nobody = 0 THEN 5
END;

-- and why, where the kernel says so
SELECT reason, count(*) AS resets
FROM tcp_events
WHERE ev = 'send_reset' AND sk IS NULL AND reason IS NOT NULL AND reason <> 'SK_RST_REASON_NO_SOCKET'
GROUP BY reason;

-- nothing is missing as far as the kernel counts; what kprobes miss some do not count, which the rows compared above make up for
SELECT l.* FROM losses l LEFT JOIN probes p USING (probe)
WHERE l.event = 'tcp_events' AND (l.count > 0 OR l.count IS NULL AND coalesce(p.kind, '') NOT IN ('kprobe', 'kretprobe'));
