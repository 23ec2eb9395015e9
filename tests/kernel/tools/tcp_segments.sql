-- @tests tcprtt, tcppktlat

-- each of the bytes came as a segment of its own, with the round-trip time that the kernel told before it came
SELECT t.family, t.n, t.srtt_us, s.srtt_us AS seen, s.bytes, s.unread_bytes
FROM told AS t
LEFT JOIN (
    SELECT family, lport, rport, srtt_us, bytes, unread_bytes, row_number() OVER (PARTITION BY lport, rport ORDER BY ts) AS n
    FROM tcp_segments
    WHERE ev = 'segment' AND bytes > 0
) AS s ON s.lport = t.lport AND s.rport = t.rport AND s.n = t.n
WHERE (s.n IS NULL OR s.family <> t.family OR s.bytes <> 1 OR (SELECT count(*) FROM told) <> 20 OR s.srtt_us <> t.srtt_us OR s.unread_bytes <> 0)
    AND (SELECT segments FROM again) = 0;

-- and tcp_rtt has them, with those of acknowledgements
SELECT t.lport, t.least_us, r.min_us, t.most_us, r.max_us, r.segments
FROM (SELECT lport, rport, min(srtt_us) AS least_us, max(srtt_us) AS most_us FROM told GROUP BY lport, rport) AS t
LEFT JOIN tcp_rtt() AS r ON r.lport = t.lport AND r.rport = t.rport
WHERE r.lport IS NULL OR r.min_us > t.least_us OR r.max_us < t.most_us OR r.segments < 10 OR r.p50_us NOT BETWEEN r.min_us AND r.max_us;

-- each byte lay for at least 20 ms, one after the other
SELECT t.lport, count(d.delay_ns) AS delays, min(d.delay_ns) AS least_ns, sum(d.delay_ns) AS sum_ns, max(k.took_s) AS took_s
FROM (SELECT DISTINCT lport, rport FROM told) AS t
CROSS JOIN took AS k
LEFT JOIN tcp_read_delay(top => 100000) AS d ON d.lport = t.lport AND d.rport = t.rport AND d.comm = 'seg_reader' AND d.bytes = 1
GROUP BY t.lport
HAVING count(d.delay_ns) < 10 OR count(d.delay_ns) <> 10 AND (SELECT segments FROM again) = 0 OR min(d.delay_ns) < 20000000 OR sum(d.delay_ns) > max(k.took_s) * 1e9;

-- a read is told by who reads, and leaves nothing
SELECT count(*) AS reads FROM tcp_segments AS s JOIN (SELECT DISTINCT lport, rport FROM told) AS t ON s.lport = t.lport AND s.rport = t.rport
WHERE s.ev = 'read' AND s.comm = 'seg_reader' AND s.unread_bytes = 0
HAVING count(*) < 20;

-- nothing is missing as far as the kernel counts; what kprobes miss some do not count, which the rows compared above make up for
SELECT l.* FROM losses l LEFT JOIN probes p USING (probe)
WHERE l.event = 'tcp_segments' AND (l.count > 0 OR l.count IS NULL AND coalesce(p.kind, '') NOT IN ('kprobe', 'kretprobe'));
