-- How long kernel memory lives, by call site: from each allocation to its free.
--
-- @table kmem
-- @param top count = 10: rows at most
-- @column site text: code that allocated
-- @column cache text: slab cache; NULL for kmalloc
-- @column freed s64: allocations that were freed
-- @column min_ns s64 [ns]: shortest life
-- @column p50_ns s64 [ns]: half of them lived at most this long
-- @column p90_ns s64 [ns]: 90 in 100 lived at most this long
-- @column p99_ns s64 [ns]: 99 in 100 lived at most this long
-- @column max_ns s64 [ns]: longest life
-- @loss a life is missing for each free or allocation that was lost, and for those of processes that were not followed;
--     where a free and the next allocation of the same pointer were both lost, two lives look like one that is too long
-- @note
--     SELECT
--         CASE WHEN allocs_known AND frees_known
--             THEN 'at most ' || CAST(allocs + frees AS VARCHAR) || ' lives are missing, and at most '
--                 || CAST(least(allocs, frees) AS VARCHAR) || ' look too long'
--             ELSE 'nobody knows how many lives are missing or look too long: a kernel cannot tell for one of the probes'
--         END AS note
--     FROM (
--         SELECT
--             coalesce(CAST(sum(CASE WHEN is_free THEN 0 ELSE count END) AS BIGINT), 0) AS allocs,
--             coalesce(CAST(sum(CASE WHEN is_free THEN count ELSE 0 END) AS BIGINT), 0) AS frees,
--             count(*) FILTER (WHERE count IS NULL AND NOT is_free) = 0 AS allocs_known,
--             count(*) FILTER (WHERE count IS NULL AND is_free) = 0 AS frees_known,
--             count(*) AS n
--         FROM (
--             SELECT l.count, strpos(p.source, 'free') > 0 AS is_free
--             FROM losses AS l
--             JOIN probes AS p ON l.probe = p.probe AND l.event = p.event
--             JOIN loss_reasons AS r ON r.reason = l.reason
--             WHERE p.event = 'kmem' AND p.attached AND r.loses_event AND l.reason <> 'pids_full'
--         ) AS lost
--     ) AS counted
--     WHERE n > 0
SELECT
    symbol(call_site) AS site,
    cache,
    count(*) AS freed,
    min(ns(end_ts) - ns(ts)) AS min_ns,
    percentile(ns(end_ts) - ns(ts), 0.5) AS p50_ns,
    percentile(ns(end_ts) - ns(ts), 0.9) AS p90_ns,
    percentile(ns(end_ts) - ns(ts), 0.99) AS p99_ns,
    max(ns(end_ts) - ns(ts)) AS max_ns
FROM kmem_pairs()
WHERE class = 'paired'
GROUP BY call_site, cache
ORDER BY freed DESC, site, cache
LIMIT $top
