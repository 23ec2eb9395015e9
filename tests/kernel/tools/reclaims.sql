-- @tests drsnoop, compactsnoop

-- the reader of the cgroup freed as many pages as the cgroup counts, and perhaps objects that are not counted there
SELECT c.freed_pages, s.stalls, s.pages, s.least_ns
FROM cgroup AS c
LEFT JOIN (
    SELECT pid, count(*) AS stalls, sum(reclaimed_pages) AS pages, min(took_ns) AS least_ns
    FROM memory_stalls(kind => 'reclaim', top => 1000000) WHERE kind = 'memcg' GROUP BY pid
) AS s ON s.pid = c.pid
WHERE s.pid IS NULL OR s.pages < c.freed_pages OR s.pages > 1.2 * c.freed_pages + 1000 OR c.freed_pages < 5000 OR s.least_ns <= 0;

-- as often as the kernel counts did somebody have to free memory for all
SELECT c.least, r.begins, c.most
FROM (
    SELECT
        max(CASE WHEN at = 2 THEN stalls END) - max(CASE WHEN at = 1 THEN stalls END) AS least,
        max(CASE WHEN at = 3 THEN stalls END) - max(CASE WHEN at = 0 THEN stalls END) AS most
    FROM stalls
) AS c, (SELECT count(*) AS begins FROM reclaims WHERE kind = 'direct' AND ev = 'begin') AS r
WHERE r.begins NOT BETWEEN c.least AND c.most;

-- who compacts memory by hand does so in each zone that there is, once, and all of it
SELECT z.node, z.zone, s."order", s.status
FROM zones AS z
FULL JOIN (
    SELECT s.* FROM memory_stalls(kind => 'compaction', top => 1000000) AS s WHERE s.pid IN (SELECT pid FROM zones)
) AS s ON s.node = z.node AND s.zone = z.zone
WHERE z.zone IS NULL OR s.zone IS NULL OR s."order" <> -1 OR NOT s.sync OR s.status NOT LIKE 'COMPACT_%' OR s.reclaimed_pages IS NOT NULL OR s.took_ns <= 0;

-- each zone is there once
SELECT * FROM
    (SELECT count(*) AS zones FROM zones) AS z,
    (SELECT count(*) AS stalls FROM memory_stalls(kind => 'compaction', top => 1000000) WHERE pid IN (SELECT pid FROM zones)) AS s
WHERE zones <> stalls OR zones < 1;

-- a thread is in one of these at a time, and for no longer than the recording
SELECT * FROM memory_stalls(top => 1000000) AS s, (SELECT ns(end_ts) - ns(start_ts) AS length_ns FROM traces) AS t WHERE s.took_ns > t.length_ns;
