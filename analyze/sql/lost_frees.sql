-- Frees of kernel memory that were lost: how many and until when, by reason.
--
-- Each may have freed one allocation that looks outstanding, if that was made before ts. What was counted before a filter
-- looked at it is an upper bound. A way to free that was not observed at all is not in this list: table probes has it.
--
-- @table kmem
-- @column ts time: end of the interval in which they were lost; NULL where frees is NULL
-- @column reason text: as in table losses
-- @column frees s64: how many at most; NULL: no bound in the whole recording, because this kernel cannot tell
-- @loss this is a list of losses
SELECT
    CASE WHEN l.count IS NOT NULL THEN l.ts END AS ts,
    l.reason,
    CAST(sum(l.count) AS BIGINT) AS frees
FROM losses AS l
JOIN probes AS p ON l.probe = p.probe AND l.event = p.event
JOIN loss_reasons AS r ON r.reason = l.reason
WHERE p.event = 'kmem' AND p.attached AND strpos(p.source, 'free') > 0
    -- A process that was not followed hides no free of what others allocated.
    AND r.loses_event AND l.reason <> 'pids_full' AND (l.count > 0 OR l.count IS NULL)
GROUP BY 1, l.reason
ORDER BY 1, l.reason
