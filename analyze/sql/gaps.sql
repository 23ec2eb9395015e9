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
WITH gap AS (
    SELECT netns, netns_cookie, source, gap_ns FROM packet_gaps(by => $by) WHERE gap_ns IS NOT NULL
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY netns, netns_cookie, source ORDER BY gap_ns) AS nth,
        count(*) OVER (PARTITION BY netns, netns_cookie, source) AS n
    FROM gap
),
quantiles AS (
    SELECT
        netns,
        netns_cookie,
        source,
        count(*) AS gaps,
        min(gap_ns) AS min_ns,
        min(gap_ns) FILTER (WHERE nth * 1000 >= n * 500) AS p50_ns,
        min(gap_ns) FILTER (WHERE nth * 1000 >= n * 900) AS p90_ns,
        min(gap_ns) FILTER (WHERE nth * 1000 >= n * 990) AS p99_ns,
        min(gap_ns) FILTER (WHERE nth * 1000 >= n * 999) AS p999_ns,
        max(gap_ns) AS max_ns
    FROM ranked
    GROUP BY netns, netns_cookie, source
),
histogram AS (
    SELECT netns, netns_cookie, source, string_agg(concat(e, ':', gaps), ' ' ORDER BY e) AS log2_histogram
    FROM (
        SELECT netns, netns_cookie, source, log2_floor(gap_ns) AS e, count(*) AS gaps
        FROM gap
        GROUP BY netns, netns_cookie, source, log2_floor(gap_ns)
    ) AS buckets
    GROUP BY netns, netns_cookie, source
)
SELECT
    q.netns, q.source, gaps + 1 AS packets, gaps, min_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, log2_histogram,
    q.netns_cookie
FROM quantiles AS q
JOIN histogram AS h
    ON (q.netns IS NOT DISTINCT FROM h.netns) AND (q.netns_cookie IS NOT DISTINCT FROM h.netns_cookie)
    AND (q.source IS NOT DISTINCT FROM h.source)
ORDER BY gaps DESC, q.netns, q.netns_cookie, q.source
