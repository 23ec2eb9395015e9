-- @tests cachestat, cachetop

-- all phases are there
SELECT count(*) FROM truth WHERE pid > 0 HAVING count(*) <> 6;
-- each process read from disk what the kernel counts as its reads, and made dirty what it counts as its writes
SELECT t.phase, t.read_bytes, m.read_in, t.write_bytes, m.dirty
FROM truth AS t
LEFT JOIN (
    SELECT pid, ino, sum(read_in_pages) AS read_in, sum(dirty_pages) AS dirty
    FROM cache_misses(top => 100000)
    GROUP BY pid, ino
) AS m ON m.pid = t.pid AND m.ino = t.ino
WHERE (m.read_in * 4096 IS DISTINCT FROM t.read_bytes) OR (m.dirty * 4096 IS DISTINCT FROM t.write_bytes);
-- what was read is cold, warm, or half of it
SELECT * FROM (
    SELECT t.phase, m.asked_pages, t.pages, m.hit_percent
    FROM truth AS t LEFT JOIN cache_misses(top => 100000) AS m ON m.pid = t.pid AND m.ino = t.ino
    WHERE t.phase IN ('cold', 'warm', 'half', 'unaligned')
) AS reads
WHERE (asked_pages IS DISTINCT FROM pages)
   OR (hit_percent IS DISTINCT FROM CASE phase WHEN 'cold' THEN 0.0 WHEN 'half' THEN 50.0 ELSE 100.0 END);
-- a program that runs from disk faults its pages in
SELECT * FROM (
    SELECT count(*) AS faults FROM cache AS c JOIN truth AS t ON c.pid = t.pid AND c.ino = t.ino
    WHERE t.phase = 'program' AND c.kind = 'fault'
) AS found
WHERE faults = 0;
-- pages that are written are not read in
SELECT m.* FROM cache_misses(top => 100000) AS m JOIN truth AS t ON m.pid = t.pid AND m.ino = t.ino
WHERE t.phase = 'written' AND (m.written_pages <> 256 OR m.read_in_pages <> 0);
-- a file that is removed takes its pages along
SELECT * FROM (
    SELECT sum(written_pages) AS written, sum(removed_pages) AS removed
    FROM cache_misses(top => 100000) JOIN removed USING (ino)
) AS gone
WHERE (written IS DISTINCT FROM 1024) OR (removed IS DISTINCT FROM 1024);
-- the classic numbers are those of its formula: of the accesses to a cold file as many misses as were added
SELECT t.phase, c.misses, c.hits, c.read_pages
FROM truth AS t
LEFT JOIN (
    SELECT pid, sum(misses) AS misses, sum(hits) AS hits, sum(read_pages) AS read_pages
    FROM cachestat(by => 'process', interval_ns => '1h') WHERE comm = 'dd' GROUP BY pid
) AS c ON c.pid = t.pid
WHERE t.phase IN ('cold', 'warm', 'half')
  AND ((c.misses IS DISTINCT FROM t.read_bytes / 4096) OR (c.read_pages IS DISTINCT FROM t.pages) OR coalesce(c.hits, -1) < c.read_pages - c.misses);
-- and intervals add up to the whole
SELECT * FROM (
    SELECT (SELECT sum(read_in_pages) FROM cachestat(interval_ns => '100ms')) AS parts,
        (SELECT sum(read_in_pages) FROM cachestat(by => 'process')) AS processes,
        (SELECT sum(coalesce(large_pages, 1)) FROM cache WHERE kind = 'add' AND by_writer IS NULL) AS whole
) AS sums
WHERE parts <> whole OR processes <> whole OR whole < 1500;
