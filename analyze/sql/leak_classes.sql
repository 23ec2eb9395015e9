-- How every allocation and free of kernel memory ended.
--
-- Where events were lost, an allocation that looks outstanding may have been freed, and a free that matches no allocation
-- may be of one that was made while recording: of no more than were lost. The other classes are certain: what is paired
-- was freed, though the free may be that of the next allocation of the same pointer where one and the free were lost.
--
-- @table kmem
-- @column class enum: paired, end_missed, outstanding, before_recording or begin_missed (see kmem_pairs)
-- @column events s64: allocations (the first three), or frees that match no allocation
-- @column unknown s64: how many of them, at most, are not what they seem, because events were lost or a way to free was not observed
-- @column bytes s64 [bytes]: size of those allocations; NULL for frees
-- @column meaning text: the class in words
-- @loss at most so many are of another class as column unknown says; what was lost is in no class
WITH lost AS (
    SELECT max(ts) AS lost_ts, coalesce(sum(frees), 0) AS lost, count(*) > count(frees) AS unbounded FROM lost_frees()
),
lost_allocs AS (
    SELECT coalesce(sum(l.count), 0) AS allocs, count(*) > count(l.count) AS allocs_unbounded
    FROM losses AS l
    JOIN probes AS p ON l.probe = p.probe AND l.event = p.event
    JOIN loss_reasons AS r ON r.reason = l.reason
    WHERE p.event = 'kmem' AND p.attached AND strpos(p.source, 'free') = 0 AND r.loses_event AND l.reason <> 'pids_full'
),
unseen AS (
    SELECT
        count(*) FILTER (WHERE attached = 0 AND strpos(source, 'free') > 0) AS frees_unseen,
        count(*) FILTER (WHERE attached = 0 AND strpos(source, 'free') = 0) AS allocs_unseen
    FROM (
        SELECT source, max(CASE WHEN attached THEN 1 ELSE 0 END) AS attached
        FROM probes
        WHERE event = 'kmem'
        GROUP BY source
    ) AS sources
),
-- As in leaks, with the classes for groups.
grouped AS (
    SELECT class, doubt_ts, count(*) AS events, sum(bytes_alloc) AS bytes
    FROM (
        SELECT class, bytes_alloc, CASE WHEN class = 'outstanding' AND ts <= (SELECT lost_ts FROM lost) THEN ts END AS doubt_ts
        FROM kmem_pairs()
    ) AS doubted
    GROUP BY class, doubt_ts
),
timed AS (
    SELECT *, sum(frees) OVER (ORDER BY doubt_ts DESC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS lost_after
    FROM (
        SELECT *, CAST(0 AS BIGINT) AS frees, true AS is_group FROM grouped
        UNION ALL
        SELECT NULL AS class, ts AS doubt_ts, 0 AS events, NULL AS bytes, frees, false AS is_group
        FROM lost_frees()
        WHERE frees IS NOT NULL
    ) AS both_kinds
),
bounded AS (
    SELECT *, sum(events) OVER (PARTITION BY class ORDER BY doubt_ts NULLS LAST ROWS UNBOUNDED PRECEDING) - events + lost_after AS bound
    FROM timed
    WHERE is_group
),
classes AS (
    SELECT
        class,
        sum(events) AS events,
        sum(bytes) AS bytes,
        least(coalesce(sum(events) FILTER (WHERE doubt_ts IS NOT NULL), 0), coalesce(min(bound) FILTER (WHERE doubt_ts IS NOT NULL), 0)) AS freed
    FROM bounded
    GROUP BY class
)
SELECT
    class,
    CAST(events AS BIGINT) AS events,
    CAST(CASE class
        WHEN 'outstanding' THEN CASE WHEN unbounded OR frees_unseen > 0 OR free_missed > lost THEN events ELSE freed END
        WHEN 'before_recording' THEN CASE WHEN allocs_unbounded OR allocs_unseen > 0 THEN events ELSE least(events, allocs) END
        ELSE 0
    END AS BIGINT) AS unknown,
    CAST(bytes AS BIGINT) AS bytes,
    CASE class
        WHEN 'paired' THEN 'allocated and freed'
        WHEN 'end_missed' THEN 'allocated, and allocated again without a free between: that free escaped'
        WHEN 'outstanding' THEN 'allocated and not freed until the end'
        WHEN 'before_recording' THEN 'freed, allocated before the recording began'
        ELSE 'freed twice without an allocation between: that allocation escaped'
    END AS meaning
FROM lost CROSS JOIN lost_allocs CROSS JOIN unseen CROSS JOIN (
    SELECT *, sum(CASE WHEN class = 'end_missed' THEN events ELSE 0 END) OVER () AS free_missed FROM classes
) AS seen
ORDER BY class
