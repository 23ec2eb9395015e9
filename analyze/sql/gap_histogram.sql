-- How many gaps between packets fall into each power of two.
--
-- @table packets(netns u32, netns_cookie u64, saddr ip)
-- @param by choice(all|netns|source) = all: all packets as one stream, one per network namespace, or one per namespace and source address
-- @column netns u32: network namespace; NULL if by => 'all'
-- @column source ip: source address; NULL unless by => 'source'
-- @column from_ns s64 [ns]: shortest gap of the row; 0 for the first, which goes to 1
-- @column to_ns s64 [ns]: longest gap of the row
-- @column gaps s64: how many
-- @column bar text: the same as a bar, 40 wide for the largest number
-- @column netns_cookie u64: number of that namespace that is never used again; NULL as netns, and in older recordings
-- @loss a gap with a lost packet in it is too long
WITH bucket AS (
    SELECT netns, netns_cookie, source, log2_floor(gap_ns) AS e, count(*) AS gaps
    FROM gaps((
        SELECT
            ts, cpu, probe, seq,
            CASE WHEN $by <> 'all' THEN netns END AS netns,
            CASE WHEN $by <> 'all' THEN netns_cookie END AS netns_cookie,
            CASE WHEN $by = 'source' THEN saddr END AS source
        FROM packets
    ), key => (netns, netns_cookie, source))
    WHERE gap_ns IS NOT NULL
    GROUP BY netns, netns_cookie, source, log2_floor(gap_ns)
)
SELECT
    netns,
    source,
    CASE WHEN e = 0 THEN 0 ELSE CAST(power(2, e) AS BIGINT) END AS from_ns,
    CAST(power(2, e + 1) AS BIGINT) - 1 AS to_ns,
    gaps,
    repeat('#', CAST(ceil(40.0 * gaps / max(gaps) OVER ()) AS BIGINT)) AS bar,
    netns_cookie
FROM bucket
ORDER BY netns, netns_cookie, source, e
