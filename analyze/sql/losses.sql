-- What the recording lost or could not complete, why, and what to do about it.
--
-- Losses are counted in intervals of about a second, longer while the recorder was held up. A number is at least so many
-- where unknown is true: there, a kernel cannot tell for one of the probes.
--
-- @table losses
-- @param until time = end: only what may have been lost before
-- @column event text: event table
-- @column source text: source of the event; NULL if it differs between the traces that are open
-- @column target text: function or tracepoint, likewise
-- @column reason text: why
-- @column severity text: event missing; event missing, as asked for; or event there, incomplete
-- @column loses_event bool: true: rows are missing; false: rows are there and values are incomplete
-- @column events s64: how many are known of; NULL: none
-- @column unknown bool: true: there may be more, or some at all, because a kernel cannot tell
-- @column first time: beginning of the first interval with a loss
-- @column last time: end of the last
-- @column meaning text: what happened
-- @column remedy text: what to do about it
-- @loss this is the list itself
-- @answer losses
SELECT
    l.event,
    p.source,
    p.target,
    l.reason,
    r.severity,
    r.loses_event,
    CAST(sum(l.count) AS BIGINT) AS events,
    bool_or(l.count IS NULL) AS unknown,
    min(coalesce(l.since_ts, utc(ns(l.ts) - 1000000000))) AS first,
    max(l.ts) AS last,
    r.meaning,
    r.remedy
FROM losses AS l
LEFT JOIN (
    SELECT
        event,
        probe,
        CASE WHEN min(source) = max(source) THEN min(source) END AS source,
        CASE WHEN min(target) = max(target) THEN min(target) END AS target
    FROM probes
    GROUP BY event, probe
) AS p ON p.probe = l.probe AND p.event = l.event
LEFT JOIN loss_reasons AS r ON r.reason = l.reason
WHERE (l.count IS NULL OR l.count > 0)
    AND ($until IS NULL OR coalesce(l.since_ts, utc(ns(l.ts) - 1000000000)) < utc($until))
GROUP BY l.event, p.source, p.target, l.reason, r.severity, r.loses_event, r.meaning, r.remedy
ORDER BY l.event, p.source, l.reason
