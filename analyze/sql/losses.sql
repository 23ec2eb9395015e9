-- What the recording lost or could not complete, why, and what to do about it.
--
-- @table losses
-- @column event text: event table
-- @column source text: source of the event
-- @column target text: function or tracepoint
-- @column reason text: why
-- @column loses_event bool: true: rows are missing; false: rows are there and values are incomplete
-- @column events s64: how many; NULL: the kernel cannot tell
-- @column first time: end of the first interval with a loss; intervals are about a second
-- @column last time: end of the last
-- @column meaning text: what happened
-- @column remedy text: what to do about it
-- @loss this is the list itself
SELECT
    l.event,
    p.source,
    p.target,
    l.reason,
    r.loses_event,
    CAST(sum(l.count) AS BIGINT) AS events,
    min(l.ts) AS "first",
    max(l.ts) AS "last",
    r.meaning,
    r.remedy
FROM losses AS l
LEFT JOIN probes AS p ON p.probe = l.probe AND p.event = l.event
LEFT JOIN loss_reasons AS r ON r.reason = l.reason
WHERE l.count IS NULL OR l.count > 0
GROUP BY l.event, p.source, p.target, l.reason, r.loses_event, r.meaning, r.remedy
ORDER BY l.event, p.source, l.reason
