-- @tests biolatency, biolatency-kp, biolatpcts, biosnoop, biotop, bitesize, biopattern, biostacks

-- the kernel counted as many requests and sectors of the disk
SELECT * FROM (
    SELECT
        count(*) FILTER (WHERE op = 'read') AS my_reads,
        sum(bytes) FILTER (WHERE op = 'read') / 512 AS my_read_sectors,
        count(*) FILTER (WHERE op = 'write') AS my_writes,
        sum(bytes) FILTER (WHERE op = 'write') / 512 AS my_write_sectors,
        count(*) FILTER (WHERE op = 'flush') AS my_flushes
    FROM bios() WHERE disk_name = 'vda' AND status = 0
) AS b CROSS JOIN disk
WHERE my_reads <> reads OR my_read_sectors <> read_sectors OR my_writes <> writes OR my_write_sectors <> write_sectors
    OR my_flushes <> flushes OR reads <> 215 OR writes < 101 OR flushes < 1;
-- its times begin a little earlier and end a little later
SELECT * FROM (
    SELECT
        sum(total_ns) FILTER (WHERE op = 'read') / 1e6 AS my_read_ms,
        sum(total_ns) FILTER (WHERE op = 'write') / 1e6 AS my_write_ms
    FROM bios()
) AS b CROSS JOIN disk
WHERE NOT (my_read_ms > 0 AND my_read_ms <= read_ms + 1 AND my_write_ms > 0 AND my_write_ms <= write_ms + 1);
-- no request was done before it was issued, or issued before it was queued
SELECT * FROM bios() WHERE queue_ns < 0 OR device_ns < 0 OR total_ns < device_ns;
-- each process asked for what it is known to have asked for
SELECT t.phase, t.requests, t.bytes, b.comm, b.requests AS my_requests, b.bytes AS my_bytes FROM truth AS t
LEFT JOIN (SELECT pid, op, comm, requests, bytes, failed, max_ns FROM bio_top(top => 1000)) AS b ON b.pid = t.pid AND CAST(b.op AS VARCHAR) = t.op
WHERE (b.requests IS DISTINCT FROM t.requests) OR (b.bytes IS DISTINCT FROM t.bytes) OR b.failed <> 0 OR b.comm <> 'dd' OR (b.max_ns IS NULL);
-- the workload is whole
SELECT count(*) FROM truth HAVING count(*) <> 8;
-- sizes of reads: 205 of 4 KiB, 10 of 128 KiB
SELECT * FROM (
    SELECT requests, min_bytes, p50_bytes, max_bytes, log2_histogram FROM bio_sizes() WHERE comm = 'dd' AND op = 'read'
) AS s
RIGHT JOIN (SELECT 215 AS expected) AS e ON true
WHERE (requests IS DISTINCT FROM expected) OR min_bytes <> 4096 OR p50_bytes <> 4096 OR max_bytes <> 131072 OR log2_histogram <> '12:205 17:10';
-- reads are 199 and 9 in order, and 6 elsewhere
SELECT * FROM (SELECT requests, sequential, random FROM bio_pattern(by => 'op') WHERE op = 'read' AND disk_name = 'vda') AS p
RIGHT JOIN (SELECT 208 AS expected) AS e ON true
WHERE (sequential IS DISTINCT FROM expected) OR random <> 6 OR requests <> 215;
-- nothing was read and written but by whoever asked
SELECT * FROM (SELECT sum(requests) AS n, sum(bytes) AS bytes FROM bio_pattern()) AS p
CROSS JOIN (SELECT sum(requests) AS expected, sum(bytes) AS expected_bytes FROM bio_sizes()) AS s
WHERE n <> expected OR bytes <> expected_bytes OR n < 316;
-- each latency is there, by device and by program
SELECT * FROM (
    SELECT
        (SELECT sum(requests) FROM bio_latency(by => 'disk', of => 'device')) AS issued,
        (SELECT sum(requests) FROM bio_latency()) AS queued,
        (SELECT sum(requests) FROM bio_latency(by => 'process') WHERE what = 'dd') AS by_dd,
        (SELECT max(max_ns) FROM bio_latency(by => 'op')) AS max_ns,
        (SELECT count(*) FROM bios() WHERE device_ns IS NOT NULL) AS has_device,
        (SELECT count(*) FROM bios() WHERE total_ns IS NOT NULL) AS has_total,
        (SELECT max(total_ns) FROM bios()) AS max_total
) AS l
WHERE issued <> has_device OR queued <> has_total OR by_dd < 316 OR max_ns <> max_total;
-- reads of the device and writes of the file system have stacks that say so
SELECT * FROM (
    SELECT
        sum(requests) FILTER (WHERE op = 'read' AND stack LIKE '%submit_bio%blkdev%read%') AS device_reads,
        sum(requests) FILTER (WHERE op = 'write' AND stack LIKE '%submit_bio%ext4%write%') AS file_writes
    FROM bio_stacks(top => 1000) WHERE comm = 'dd'
) AS s
WHERE (device_reads IS DISTINCT FROM 215) OR coalesce(file_writes, 0) < 100;
