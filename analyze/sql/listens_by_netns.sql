-- How many listens each network namespace saw.
--
-- The kernel gives the inode of a namespace that is gone to another one: their cookies differ.
--
-- @table listens(ev enum(listen,stop,snapshot), ret s32, netns u32, netns_cookie u64, port u16, inode u64)
-- @column netns u32: network namespace
-- @column listens s64: calls of listen that succeeded
-- @column failed s64: calls that failed
-- @column stops s64: sockets that stopped listening
-- @column snapshot s64: sockets that listened before the recording
-- @column ports s64: different ports listened on
-- @column first time: first of these events
-- @column last time: last of them
-- @column netns_cookie u64: number of that namespace that is never used again; NULL in older recordings
-- @loss the numbers may be too low
SELECT
    netns,
    count(*) FILTER (WHERE ev = 'listen' AND ret = 0) AS listens,
    count(*) FILTER (WHERE ev = 'listen' AND ret < 0) AS failed,
    count(*) FILTER (WHERE ev = 'stop') AS stops,
    count(DISTINCT inode) FILTER (WHERE ev = 'snapshot') AS snapshot,
    count(DISTINCT port) FILTER (WHERE ev = 'snapshot' OR (ev = 'listen' AND ret = 0)) AS ports,
    min(ts) AS first,
    max(ts) AS last,
    netns_cookie
FROM listens
GROUP BY netns, netns_cookie
ORDER BY netns, netns_cookie
