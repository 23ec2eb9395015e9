-- Round-trip times of TCP connections, as the kernel had smoothed them when each segment came.
--
-- A busy connection has more segments than others: it weighs more in a row of several connections, and not in one of its own
-- (by => 'connection'). Times before one was measured are left out.
--
-- @tool tcprtt: tcprtt -i 1 -d 10 | recorder record tcp_segments -d 10 | analyze tcp_rtt x.trace --by all
--     All segments of all connections are one histogram there, the zeros of those without a measured time among them; the
--     addresses of a libbpf port were turned around until 2021-11.
-- @table tcp_segments(ev enum(segment,read), netns u32, laddr ip, lport u16, raddr ip, rport u16, srtt_us u32, sk x64)
-- @param by choice(connection|peer|port|all) = connection: one row for each connection, peer address, local port, or for all
-- @param top count = 100: rows at most
-- @column netns u32: network namespace; NULL if by => 'all'
-- @column laddr text: local address; NULL unless by connection
-- @column lport u16: local port; NULL if by peer or all
-- @column raddr text: peer; NULL if by port or all
-- @column rport u16: its port; NULL unless by connection
-- @column segments s64: segments that came, with a time
-- @column min_us s64 [us]: shortest round-trip time
-- @column p50_us s64 [us]: half of them were at most this long
-- @column p99_us s64 [us]: 99 in 100
-- @column max_us s64 [us]: longest
-- @column log2_histogram text: e:n for each exponent, n segments with a time from 2^e to 2^(e+1)-1 us; 0 holds 0 too
-- @loss segments are missing
SELECT
    netns,
    laddr,
    lport,
    raddr,
    rport,
    count(*) AS segments,
    min(srtt_us) AS min_us,
    percentile(srtt_us, 0.5) AS p50_us,
    percentile(srtt_us, 0.99) AS p99_us,
    max(srtt_us) AS max_us,
    log2_histogram(srtt_us) AS log2_histogram
FROM (
    SELECT
        CASE WHEN $by <> 'all' THEN netns END AS netns,
        CASE WHEN $by = 'connection' THEN ip(laddr) END AS laddr,
        CASE WHEN $by IN ('connection', 'port') THEN lport END AS lport,
        CASE WHEN $by IN ('connection', 'peer') THEN ip(raddr) END AS raddr,
        CASE WHEN $by = 'connection' THEN rport END AS rport,
        CAST(srtt_us AS BIGINT) AS srtt_us
    FROM tcp_segments
    WHERE ev = 'segment' AND srtt_us > 0
) AS timed
GROUP BY netns, laddr, lport, raddr, rport
ORDER BY segments DESC, netns, laddr, lport, raddr, rport
LIMIT $top
