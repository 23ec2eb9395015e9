-- Every packet at which the burst detector raises its alarm.
--
-- The detector counts packets that follow the one before in less than threshold_ns; a longer gap, or an equal one, sets
-- the counter to 0. The very first packet of a stream sets it to 1. Above count, each packet is an alarm.
--
-- @table packets(netns u32, netns_cookie u64, saddr ip)
-- @param threshold_ns duration = 100us: gaps shorter than this are fast
-- @param count count = 10: the counter that is still no alarm
-- @param by choice(all|netns|source) = all: one detector for all packets, one per network namespace, or one per namespace and source address
-- @column ts time: time of the packet
-- @column netns u32: network namespace; NULL if by => 'all'
-- @column source ip: source address; NULL unless by => 'source'
-- @column counter s64: the detector's counter at that packet
-- @column netns_cookie u64: number of that namespace that is never used again; NULL as netns, and in older recordings
-- @loss lost packets make gaps longer, and alarms may be missing
SELECT ts, netns, source, counter, netns_cookie
FROM (
    SELECT *, nth_in_run - CASE WHEN run = 1 THEN 0 ELSE 1 END AS counter
    FROM gaps((
        SELECT
            ts, cpu, probe, seq,
            CASE WHEN $by <> 'all' THEN netns END AS netns,
            CASE WHEN $by <> 'all' THEN netns_cookie END AS netns_cookie,
            CASE WHEN $by = 'source' THEN saddr END AS source
        FROM packets
    ), key => (netns, netns_cookie, source), max_gap => $threshold_ns - 1)
) AS counted
WHERE counter > $count
ORDER BY ts, netns, source, counter
