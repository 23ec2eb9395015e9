-- Runs of packets that follow each other quickly enough to alarm the burst detector.
--
-- A run is a row of packets with gaps shorter than threshold_ns; it is a burst if the detector's counter (see
-- burst_alerts) goes above count in it.
--
-- @table packets(netns u32, netns_cookie u64, saddr ip, gso_segs u16, skb_bytes u32)
-- @param threshold_ns duration = 100us: gaps shorter than this are fast
-- @param count count = 10: the counter that is still no alarm
-- @param by choice(all|netns|source) = all: one detector for all packets, one per network namespace, or one per namespace and source address
-- @column start time: first packet of the burst
-- @column duration_ns s64 [ns]: from the first to the last packet
-- @column netns u32: network namespace; NULL if by => 'all'
-- @column source ip: source address; NULL unless by => 'source'
-- @column skbs s64: socket buffers in it
-- @column packets s64: packets in it: those merged into one buffer count each
-- @column skb_bytes s64 [bytes]: bytes in these buffers
-- @column alerts s64: alarms of the detector
-- @column packets_per_s f64 [1/s]: packets per second within the burst; NULL if it has no duration
-- @column netns_cookie u64: number of that namespace that is never used again; NULL as netns, and in older recordings
-- @loss lost packets make gaps longer: bursts may be missing, or cut in two
SELECT
    ts AS start,
    duration_ns,
    netns,
    source,
    row_count AS skbs,
    sum_packets AS packets,
    sum_skb_bytes AS skb_bytes,
    CASE WHEN $count < 0 THEN row_count ELSE counter - $count END AS alerts,
    CASE WHEN duration_ns > 0 THEN round(sum_packets * 1e9 / duration_ns, 1) END AS packets_per_s,
    netns_cookie
FROM (
    SELECT *, row_count - CASE WHEN run = 1 THEN 0 ELSE 1 END AS counter
    FROM runs((
        SELECT
            ts,
            CASE WHEN $by <> 'all' THEN netns END AS netns,
            CASE WHEN $by <> 'all' THEN netns_cookie END AS netns_cookie,
            CASE WHEN $by = 'source' THEN saddr END AS source,
            CASE WHEN gso_segs > 1 THEN CAST(gso_segs AS BIGINT) ELSE 1 END AS packets,
            CAST(skb_bytes AS BIGINT) AS skb_bytes
        FROM packets
    ), key => (netns, netns_cookie, source), max_gap => $threshold_ns - 1)
) AS counted
WHERE counter > $count
ORDER BY start, netns, source
