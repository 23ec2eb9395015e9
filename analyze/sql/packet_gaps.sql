-- Every packet with the time since the one before it, and the run of quick packets that it belongs to.
--
-- A run goes on as long as each packet follows the one before in less than threshold_ns. The first packet of a stream
-- begins run 1.
--
-- @table packets(netns u32, netns_cookie u64, saddr ip, gso_segs u16, skb_bytes u32)
-- @param threshold_ns duration = 100us: gaps shorter than this are fast
-- @param by choice(all|netns|source) = all: all packets as one stream, one per network namespace, or one per namespace and source address
-- @column ts time: time of the packet
-- @column netns u32: network namespace; NULL if by => 'all'
-- @column source ip: source address; NULL unless by => 'source'
-- @column gap_ns s64 [ns]: time since the packet before it in the stream; NULL for the first
-- @column nth s64: number in the stream, from 1
-- @column run s64: number of the run in the stream, from 1
-- @column packets s64: packets in this socket buffer: those merged into one count each
-- @column skb_bytes s64 [bytes]: bytes in it
-- @column netns_cookie u64: number of that namespace that is never used again; NULL as netns, and in older recordings
-- @loss a gap with a lost packet in it is too long, and a run may be cut in two
SELECT ts, netns, source, gap_ns, nth, run, packets, skb_bytes, netns_cookie
FROM gaps((
    SELECT
        ts, cpu, probe, seq,
        CASE WHEN $by <> 'all' THEN netns END AS netns,
        CASE WHEN $by <> 'all' THEN netns_cookie END AS netns_cookie,
        CASE WHEN $by = 'source' THEN saddr END AS source,
        CASE WHEN gso_segs > 1 THEN CAST(gso_segs AS BIGINT) ELSE 1 END AS packets,
        CAST(skb_bytes AS BIGINT) AS skb_bytes
    FROM packets
), key => (netns, netns_cookie, source), max_gap => $threshold_ns - 1)
ORDER BY ts, netns, source, nth
