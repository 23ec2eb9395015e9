-- Memory that was allocated and not freed, by call site or stack.
--
-- Outstanding is an allocation older than min_age_ns at the end that no free followed. It is unknown, a part of
-- outstanding, if its free may have escaped: events of a probe that sees frees were lost after the allocation; or one
-- of the ways to free could not be observed (probes has the reason), and no free of that site was seen at all or one has
-- escaped. A pointer that was allocated again without a free between is free_missed: its free escaped. Allocations made before the recording
-- and never freed are not known at all.
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
-- @column unknown s64: how many of them may have been freed unseen
-- @column unknown_bytes s64 [bytes]: their size
-- @column paired s64: allocations of the same group that were freed
-- @column free_missed s64: allocations of the same group whose free escaped
-- @column oldest_age_ns s64 [ns]: age of the oldest outstanding allocation at the end
-- @loss a lost free makes an allocation look outstanding (column unknown counts these); a lost allocation is not seen at all
WITH trace_end AS (
    SELECT max(end_ts) AS end_ts FROM traces
),
lost_frees AS (
    SELECT max(l.ts) AS lost_ts
    FROM losses AS l
    JOIN probes AS p ON l.probe = p.probe AND l.event = p.event
    JOIN loss_reasons AS r ON r.reason = l.reason
    WHERE p.event = 'kmem' AND p.attached AND strpos(p.source, 'free') > 0 AND r.loses_event AND l.count > 0
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
        call_site, cache, CASE WHEN $by = 'stack' THEN kstack END AS stack_id, class, bytes_alloc,
        ns(end_ts) - ns(ts) AS age_ns,
        class = 'outstanding' AND ns(end_ts) - ns(ts) >= $min_age_ns AS is_out,
        class = 'outstanding' AND ns(end_ts) - ns(ts) >= $min_age_ns AND ts <= lost_ts AS is_doubtful
    FROM (
        SELECT k.ts, k.call_site, k.cache, k.kstack, k.class, k.bytes_alloc, t.end_ts, l.lost_ts
        FROM trace_end AS t CROSS JOIN lost_frees AS l CROSS JOIN kmem_pairs AS k
        WHERE k.class IN ('outstanding', 'paired', 'free_missed')
    ) AS timed
),
sites AS (
    SELECT
        call_site, cache, stack_id,
        count(*) FILTER (WHERE is_out) AS outstanding,
        coalesce(sum(bytes_alloc) FILTER (WHERE is_out), 0) AS outstanding_bytes,
        count(*) FILTER (WHERE is_doubtful) AS doubtful,
        coalesce(sum(bytes_alloc) FILTER (WHERE is_doubtful), 0) AS doubtful_bytes,
        count(*) FILTER (WHERE class = 'paired') AS paired,
        count(*) FILTER (WHERE class = 'free_missed') AS free_missed,
        max(age_ns) FILTER (WHERE is_out) AS oldest_age_ns
    FROM pairs
    GROUP BY call_site, cache, stack_id
)
SELECT
    symbol(call_site) AS site, cache, stack_text(stack_id) AS stack, outstanding,
    CAST(outstanding_bytes AS BIGINT) AS outstanding_bytes,
    CASE WHEN sources > 0 AND (paired = 0 OR free_missed > 0) THEN outstanding ELSE doubtful END AS unknown,
    CAST(CASE WHEN sources > 0 AND (paired = 0 OR free_missed > 0) THEN outstanding_bytes ELSE doubtful_bytes END AS BIGINT) AS unknown_bytes,
    paired, free_missed, oldest_age_ns
FROM unseen_frees CROSS JOIN sites
WHERE outstanding > 0
ORDER BY outstanding_bytes DESC, outstanding DESC, site, cache, stack
LIMIT $top
