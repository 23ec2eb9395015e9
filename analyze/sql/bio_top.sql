-- Which processes ask most of which block devices.
--
-- Counts requests that were done. Of writes that the kernel does later the process is a thread of the kernel.
--
-- @tool biotop: biotop 10 | recorder record block_io -d 10 | analyze bio_top x.trace
--     Counts by who issued the request, which may be a kworker that had nothing to do with it.
-- @table block_io
-- @param top count = 20: rows at most
-- @column pid u32: process that asked; NULL where it is not known (bios says which)
-- @column comm char[16]: its name
-- @column disk_name string[32]: device
-- @column op enum: what was asked for
-- @column requests s64: requests that were done
-- @column bytes s64 [bytes]: their size
-- @column failed s64: requests that were done with an error
-- @column mean_ns s64 [ns]: mean time from queued to done; NULL where the former is not known
-- @column max_ns s64 [ns]: longest
-- @loss counts and bytes may be too low, and a request across a loss may look too long
SELECT
    pid,
    comm,
    disk_name,
    op,
    count(*) AS requests,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    count(*) FILTER (WHERE status <> 0) AS failed,
    CAST(round(sum(total_ns) / CAST(nullif(count(total_ns), 0) AS DOUBLE)) AS BIGINT) AS mean_ns,
    max(total_ns) AS max_ns
FROM bios()
WHERE done_ts IS NOT NULL
GROUP BY pid, comm, disk_name, op
ORDER BY bytes DESC, requests DESC, pid, comm, disk_name, op
LIMIT $top
