-- How long kernel memory lives, by call site: from each allocation to its free.
--
-- @table kmem
-- @param top count = 10: rows at most
-- @column site text: code that allocated
-- @column cache text: slab cache; NULL for kmalloc
-- @column freed s64: allocations that were freed
-- @column min_ns s64 [ns]: shortest life
-- @column p50_ns s64 [ns]: half of them lived at most this long
-- @column p99_ns s64 [ns]: 99 in 100 lived at most this long
-- @column max_ns s64 [ns]: longest life
-- @loss lives are missing
WITH lives AS (
    SELECT call_site, cache, ns(end_ts) - ns(ts) AS life_ns FROM kmem_pairs WHERE class = 'paired'
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY call_site, cache ORDER BY life_ns) AS nth,
        count(*) OVER (PARTITION BY call_site, cache) AS n
    FROM lives
)
SELECT
    symbol(call_site) AS site,
    cache,
    count(*) AS freed,
    min(life_ns) AS min_ns,
    min(life_ns) FILTER (WHERE nth * 100 >= n * 50) AS p50_ns,
    min(life_ns) FILTER (WHERE nth * 100 >= n * 99) AS p99_ns,
    max(life_ns) AS max_ns
FROM ranked
GROUP BY call_site, cache
ORDER BY freed DESC, site, cache
LIMIT $top
