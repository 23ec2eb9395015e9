-- Which threads had to free memory or move it together themselves, how long that took, and what came of it.
--
-- A stall that had begun before the recording, or has not ended with it, is not here.
--
-- @tool drsnoop: drsnoop | recorder record reclaims -d 10 | analyze memory_stalls x.trace --kind reclaim
--     Shortage of memory for all only, there: a cgroup at its limit is not seen. The number of free pages is read from a table of
--     the kernel at the end, and has nothing to do with the stall.
-- @tool compactsnoop: compactsnoop | recorder record reclaims -d 10 | analyze memory_stalls x.trace --kind compaction
--     Names of results are those of one kernel; columns were wrong until 2023-12; needs a function that may be inlined.
-- @table reclaims(ev enum(begin,end), kind enum(direct,memcg,compaction), order s32, zone string[15], node s32, sync bool, reclaimed_pages u64, status enum(kernel compact_result))
-- @param kind choice(all|reclaim|compaction) = all: everything, or only memory that was freed, or moved
-- @param min_ns duration = 0ms: those that took less are left out
-- @param top count = 100: rows at most
-- @column ts time: when it began
-- @column pid u32: process
-- @column tid u32: its thread
-- @column comm char[16]: name of the thread
-- @column kind enum: direct, memcg or compaction
-- @column took_ns s64 [ns]: how long it took
-- @column order s32: size that was wanted, 2^order pages; -1: all of the zone is compacted
-- @column reclaimed_pages u64: pages that were freed; NULL for compaction
-- @column zone string[15]: zone that was compacted
-- @column node s32: its NUMA node
-- @column sync bool: it waited for pages that were just written or locked
-- @column status text: what came of a compaction, as the recorded kernel names it
-- @loss a stall may be missing, and one across the loss may look too long
SELECT
    ts,
    pid,
    tid,
    comm,
    kind,
    ns(end_ts) - ns(ts) AS took_ns,
    "order",
    end_reclaimed_pages AS reclaimed_pages,
    zone,
    node,
    sync,
    CAST(end_status AS VARCHAR) AS status
FROM pairs(reclaims, begin => ev = 'begin', end => ev = 'end', key => (tid, kind))
WHERE class = 'paired'
    AND ns(end_ts) - ns(ts) >= $min_ns
    AND CASE $kind WHEN 'all' THEN true WHEN 'compaction' THEN kind = 'compaction' ELSE kind <> 'compaction' END
ORDER BY took_ns DESC, ts, tid, kind
LIMIT $top
