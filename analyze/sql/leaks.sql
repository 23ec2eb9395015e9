-- Memory that was allocated and not freed, by call site or stack.
--
-- Outstanding is an allocation older than min_age_ns at the end that no free followed. Its free may have escaped: each
-- free that was lost after it (lost_frees) may have been its own, but of one allocation only. So of a site at most
-- unknown were freed, and at least leaked_at_least were not; of all sites together no more were freed than frees were
-- lost. There is no such bound, and all of a site is unknown, where a kernel cannot tell how many frees it skipped; where
-- more frees of the site have escaped than were lost; or where one of the ways to free could not be observed (probes has
-- the reason), and no free of the site was seen at all or one has escaped. A pointer that was allocated again without a
-- free between is end_missed: its free escaped. Allocations made before the recording and never freed are not known at
-- all.
--
-- @table kmem
-- @param min_age_ns duration = 500ms: younger allocations are left out of outstanding
-- @param top count = 10: rows at most
-- @param by choice(call_site|stack) = call_site: group by call site and cache, or by the whole stack as well
-- @column site text: code that allocated
-- @column cache text: slab cache; NULL for kmalloc
-- @column stack text: kernel stack, innermost first; NULL unless by => 'stack' and stacks were recorded
-- @column outstanding s64: allocations not freed
-- @column outstanding_bytes s64 [bytes]: their size
-- @column leaked_at_least s64: how many of them were certainly not freed: outstanding without unknown
-- @column leaked_at_least_bytes s64 [bytes]: their size, at least
-- @column unknown s64: how many of them, at most, may have been freed unseen
-- @column unknown_bytes s64 [bytes]: their size, at most
-- @column paired s64: allocations of the same group that were freed
-- @column free_missed s64: allocations of the same group whose free escaped
-- @column oldest_age_ns s64 [ns]: age of the oldest outstanding allocation at the end
-- @loss a lost free makes an allocation look outstanding (column unknown: at most so many of a site); a lost allocation
--     is not seen at all
-- @note
--     SELECT
--         CASE WHEN count(*) > count(frees)
--             THEN 'nobody knows how many frees escaped (' || min(CASE WHEN frees IS NULL THEN reason END)
--                 || ' is not counted by this kernel): all that is outstanding may have been freed'
--             ELSE 'of all sites together, at most ' || CAST(CAST(sum(frees) AS BIGINT) AS VARCHAR)
--                 || ' outstanding allocations may have been freed: that many frees were lost'
--         END AS note
--     FROM lost_frees()
--     HAVING count(*) > 0
WITH trace_end AS (
    SELECT max(end_ts) AS end_ts FROM traces
),
lost AS (
    SELECT max(ts) AS lost_ts, coalesce(sum(frees), 0) AS lost, count(*) > count(frees) AS unbounded FROM lost_frees()
),
unseen_frees AS (
    SELECT count(*) AS sources
    FROM (
        SELECT source, max(CASE WHEN attached THEN 1 ELSE 0 END) AS attached
        FROM probes
        WHERE event = 'kmem' AND strpos(source, 'free') > 0
        GROUP BY source
    ) AS free_sources
    WHERE attached = 0
),
pairs AS (
    SELECT
        call_site, cache, stack_id, class, bytes_alloc, age_ns, is_out,
        CASE WHEN is_out AND ts <= (SELECT lost_ts FROM lost) THEN ts END AS doubt_ts
    FROM (
        SELECT
            *,
            CASE WHEN $by = 'stack' THEN kstack END AS stack_id,
            class = 'outstanding' AND age_ns >= $min_age_ns AS is_out
        FROM (SELECT *, ns((SELECT end_ts FROM trace_end)) - ns(ts) AS age_ns FROM kmem_pairs()) AS aged
        WHERE class IN ('outstanding', 'paired', 'end_missed')
    ) AS judged
),
-- A row for each group, and one for each instant at which it made allocations whose frees may be among the lost ones.
grouped AS (
    SELECT
        call_site, cache, stack_id, doubt_ts,
        count(*) FILTER (WHERE is_out) AS outstanding,
        coalesce(sum(bytes_alloc) FILTER (WHERE is_out), 0) AS outstanding_bytes,
        max(bytes_alloc) FILTER (WHERE is_out) AS largest_bytes,
        min(bytes_alloc) FILTER (WHERE is_out) AS smallest_bytes,
        count(*) FILTER (WHERE class = 'paired') AS paired,
        count(*) FILTER (WHERE class = 'end_missed') AS free_missed,
        max(age_ns) FILTER (WHERE is_out) AS oldest_age_ns
    FROM pairs
    GROUP BY call_site, cache, stack_id, doubt_ts
),
-- How many frees were lost after each.
timed AS (
    SELECT *, sum(frees) OVER (ORDER BY doubt_ts DESC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS lost_after
    FROM (
        SELECT *, CAST(0 AS BIGINT) AS frees, true AS is_group FROM grouped
        UNION ALL
        SELECT
            NULL AS call_site, NULL AS cache, NULL AS stack_id, ts AS doubt_ts, 0 AS outstanding, 0 AS outstanding_bytes,
            NULL AS largest_bytes, NULL AS smallest_bytes, 0 AS paired, 0 AS free_missed, NULL AS oldest_age_ns, frees, false AS is_group
        FROM lost_frees()
        WHERE frees IS NOT NULL
    ) AS both_kinds
),
-- However old ones and young ones share the lost frees: all that are older than an instant, and of the rest no more than
-- frees were lost after it.
bounded AS (
    SELECT *, sum(outstanding) OVER (PARTITION BY call_site, cache, stack_id ORDER BY doubt_ts NULLS LAST ROWS UNBOUNDED PRECEDING) - outstanding + lost_after AS bound
    FROM timed
    WHERE is_group
),
sites AS (
    SELECT
        call_site, cache, stack_id,
        sum(outstanding) AS outstanding,
        sum(outstanding_bytes) AS outstanding_bytes,
        least(coalesce(sum(outstanding) FILTER (WHERE doubt_ts IS NOT NULL), 0), coalesce(min(bound) FILTER (WHERE doubt_ts IS NOT NULL), 0)) AS freed,
        coalesce(sum(outstanding) FILTER (WHERE doubt_ts IS NOT NULL), 0) AS doubtful,
        coalesce(sum(outstanding_bytes) FILTER (WHERE doubt_ts IS NOT NULL), 0) AS doubtful_bytes,
        coalesce(max(largest_bytes) FILTER (WHERE doubt_ts IS NOT NULL), 0) AS largest_bytes,
        coalesce(min(smallest_bytes) FILTER (WHERE doubt_ts IS NOT NULL), 0) AS smallest_bytes,
        sum(paired) AS paired,
        sum(free_missed) AS free_missed,
        max(oldest_age_ns) AS oldest_age_ns
    FROM bounded
    GROUP BY call_site, cache, stack_id
),
known AS (
    SELECT
        *,
        CASE WHEN has_bound THEN freed ELSE outstanding END AS unknown,
        CASE
            WHEN has_bound THEN least(doubtful_bytes - (doubtful - freed) * smallest_bytes, freed * largest_bytes)
            ELSE outstanding_bytes
        END AS unknown_bytes
    FROM (
        SELECT *, NOT unbounded AND free_missed <= lost AND (sources = 0 OR (paired > 0 AND free_missed = 0)) AS has_bound
        FROM lost CROSS JOIN unseen_frees CROSS JOIN sites
        WHERE outstanding > 0
    ) AS judged
)
SELECT
    symbol(call_site) AS site,
    cache,
    stack_text(stack_id) AS stack,
    CAST(outstanding AS BIGINT) AS outstanding,
    CAST(outstanding_bytes AS BIGINT) AS outstanding_bytes,
    CAST(outstanding - unknown AS BIGINT) AS leaked_at_least,
    CAST(outstanding_bytes - unknown_bytes AS BIGINT) AS leaked_at_least_bytes,
    CAST(unknown AS BIGINT) AS unknown,
    CAST(unknown_bytes AS BIGINT) AS unknown_bytes,
    CAST(paired AS BIGINT) AS paired,
    CAST(free_missed AS BIGINT) AS free_missed,
    oldest_age_ns
FROM known
ORDER BY outstanding_bytes DESC, outstanding DESC, site, cache, stack
LIMIT $top
