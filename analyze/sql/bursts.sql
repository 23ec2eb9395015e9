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
WITH runs AS (
    SELECT
        netns, netns_cookie, source, run,
        min(ts) AS start,
        max(ns(ts)) - min(ns(ts)) AS duration_ns,
        count(*) AS skbs,
        CAST(sum(packets) AS BIGINT) AS packets,
        CAST(sum(skb_bytes) AS BIGINT) AS skb_bytes,
        count(*) - CASE WHEN run = 1 THEN 0 ELSE 1 END AS counter
    FROM packet_gaps(threshold_ns => $threshold_ns, by => $by)
    GROUP BY netns, netns_cookie, source, run
)
SELECT
    start, duration_ns, netns, source, skbs, packets, skb_bytes,
    CASE WHEN $count < 0 THEN skbs ELSE counter - $count END AS alerts,
    CASE WHEN duration_ns > 0 THEN round(packets * 1e9 / duration_ns, 1) END AS packets_per_s,
    netns_cookie
FROM runs
WHERE counter > $count
ORDER BY start, netns, source
