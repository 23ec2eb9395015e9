-- @tests dcsnoop, dcstat, writeback
-- @tool dcsnoop: dcsnoop | recorder record 'lookups=fn:lookup_fast{ name=nd->last.name:string[63], len=nd->last.len, retval } if retval == NULL' -d 10 | analyze sql x.trace "SELECT ts, pid, comm, left(name, len) AS name FROM lookups WHERE coalesce(retval, 0) = 0 ORDER BY ts"
--     A miss is told there when another function finds nothing, which is asked for some of the names only: stat of a name that is
--     not in the cache is no miss. A name is shown with all that comes after it in the path.
-- @tool dcstat: dcstat 1 | recorder record 'lookups=fn:lookup_fast{ retval }' -d 10 | analyze sql x.trace "SELECT date_trunc('second', ts) AS second, count(*) AS lookups, count(*) FILTER (WHERE coalesce(retval, 0) = 0) AS misses FROM lookups GROUP BY second ORDER BY second"
--     Likewise. It happens for each part of each path: record it with a command, or for a short time.
-- @tool writeback: writeback.bt | recorder record 'begun=tp:writeback:writeback_start{ item=work, device=wb->bdi->dev_name:string[31], pages=work->nr_pages, reason=work->reason:enum(kernel wb_reason) }' 'written=tp:writeback:writeback_written{ item=work, pages=work->nr_pages }' -d 60 | analyze sql x.trace "SELECT ts, device, CAST(reason AS VARCHAR) AS reason, ns(end_ts) - ns(ts) AS took_ns, pages - end_pages AS pages FROM pairs((SELECT ts, item, device, pages, CAST(reason AS VARCHAR) AS reason, true AS begins FROM begun UNION ALL SELECT ts, item, NULL, pages, NULL, false FROM written), begin => begins, end => NOT begins, key => item) WHERE class = 'paired' ORDER BY ts"
--     Flushers at work at the same time take each other's time there, and its names of reasons are those of one kernel.

-- each name was looked up as often, and was in the cache or not
SELECT n.name, n.misses, l.misses AS seen, n.hits, l.hits AS seen_hits
FROM names AS n
LEFT JOIN (
    SELECT left(name, len) AS name, count(*) FILTER (WHERE coalesce(retval, 0) = 0) AS misses, count(*) FILTER (WHERE coalesce(retval, 0) <> 0) AS hits
    FROM lookups WHERE comm = 'lookuper' GROUP BY 1
) AS l ON l.name = n.name
WHERE l.name IS NULL OR l.misses < n.misses OR l.hits < n.hits OR n.misses = 0 AND l.misses > 0 OR n.hits = 0 AND l.hits > 0;

-- all hundred of them
SELECT count(*) FROM names HAVING count(*) <> 100;

-- the flushers wrote the 256 pages of the file to its disk, because of the sync, and no more than the kernel counts
SELECT f.device, f.pages, w.pages AS seen, w.reasons, w.least_ns
FROM flushed AS f
LEFT JOIN (
    SELECT device, sum(pages - end_pages) AS pages, string_agg(DISTINCT reason, ' ') AS reasons, min(ns(end_ts) - ns(ts)) AS least_ns
    FROM pairs((
        SELECT ts, item, device, pages, CAST(reason AS VARCHAR) AS reason, true AS begins FROM begun UNION ALL SELECT ts, item, NULL, pages, NULL, false FROM written
    ), begin => begins, end => NOT begins, key => item)
    WHERE class = 'paired'
    GROUP BY device
) AS w ON w.device = f.device
WHERE w.device IS NULL OR w.pages < 256 OR w.pages > f.pages OR w.reasons NOT LIKE '%SYNC%' OR w.least_ns < 0;
