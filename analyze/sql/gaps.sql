-- How much time passes between packets: exact percentiles and a histogram.
--
-- A percentile is the smallest gap that is not exceeded by that share of the gaps (nearest rank), no interpolation.
--
-- @table packets(netns u32, netns_cookie u64, saddr ip)
-- @param by choice(all|netns|source) = all: all packets as one stream, one per network namespace, or one per namespace and source address
-- @column netns u32: network namespace; NULL if by => 'all'
-- @column source ip: source address; NULL unless by => 'source'
-- @column packets s64: socket buffers seen, one more than gaps
-- @column gaps s64: times between one and the next
-- @column min_ns s64 [ns]: shortest
-- @column p50_ns s64 [ns]: median
-- @column p90_ns s64 [ns]: 90 in 100 are at most this
-- @column p99_ns s64 [ns]: 99 in 100
-- @column p999_ns s64 [ns]: 999 in 1000
-- @column max_ns s64 [ns]: longest
-- @column log2_histogram text: e:n for each exponent, n gaps from 2^e to 2^(e+1)-1 ns; 0 holds gap 0 too
-- @column netns_cookie u64: number of that namespace that is never used again; NULL as netns, and in older recordings
-- @loss a gap with a lost packet in it is too long
SELECT
    netns,
    source,
    count(*) AS packets,
    count(gap_ns) AS gaps,
    min(gap_ns) AS min_ns,
    percentile(gap_ns, 0.5) AS p50_ns,
    percentile(gap_ns, 0.9) AS p90_ns,
    percentile(gap_ns, 0.99) AS p99_ns,
    percentile(gap_ns, 0.999) AS p999_ns,
    max(gap_ns) AS max_ns,
    log2_histogram(gap_ns) AS log2_histogram,
    netns_cookie
FROM gaps((
    SELECT
        ts, cpu, probe, seq,
        CASE WHEN $by <> 'all' THEN netns END AS netns,
        CASE WHEN $by <> 'all' THEN netns_cookie END AS netns_cookie,
        CASE WHEN $by = 'source' THEN saddr END AS source
    FROM packets
), key => (netns, netns_cookie, source))
GROUP BY netns, netns_cookie, source
HAVING count(gap_ns) > 0
ORDER BY gaps DESC, netns, netns_cookie, source
