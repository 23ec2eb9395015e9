-- How long requests to block devices take: exact percentiles and a histogram.
--
-- A percentile is the smallest time that is not exceeded by that share of the requests (nearest rank). Requests that
-- were not done are left out, and of total and queue those of which nobody knows when they were queued (bios says which).
--
-- @tool biolatency: biolatency -Q -D | recorder record block_io -d 10 | analyze bio_latency x.trace --by disk
--     Where the accounting functions are inlined (from 5.17) it loses the times in the queue or shows nonsense.
--     Histograms without -D put all devices together. Here percentiles are exact, not those of a power of two.
-- @tool biolatency-kp: biolatency-kp.bt | recorder record block_io -d 10 | analyze bio_latency x.trace
--     It pairs by device-wide sector alone, so that two devices with a request at the same sector are mixed up, and its
--     functions no longer exist on many kernels. Here a request is known by its address until it is done.
-- @tool biolatpcts: biolatpcts 254:0 | recorder record block_io -d 10 | analyze bio_latency x.trace --by op --of device
--     Percentiles are interpolated in a histogram there.
-- @table block_io
-- @param by choice(all|disk|op|process) = all: one row, or one for each device, operation, or process that asked
-- @param of choice(total|queue|device) = total: from queued to done, to issued, or from issued to done
-- @column what text: name of the device, operation, or program; NULL if by => 'all' or not known
-- @column pid u32: process that asked, if by => 'process'; NULL where it is not known
-- @column requests s64: requests that were done, with the time asked for
-- @column failed s64: of these, with an error
-- @column bytes s64 [bytes]: their size
-- @column min_ns s64 [ns]: shortest time
-- @column p50_ns s64 [ns]: half of them took at most this long
-- @column p90_ns s64 [ns]: 90 in 100
-- @column p99_ns s64 [ns]: 99 in 100
-- @column p999_ns s64 [ns]: 999 in 1000
-- @column max_ns s64 [ns]: longest
-- @column log2_histogram text: e:n for each exponent, n requests that took from 2^e to 2^(e+1)-1 ns; 0 holds 0 too
-- @loss requests are missing, and where an end and the next request of the same address were lost, two look like one that is too long
SELECT
    what,
    pid,
    count(*) AS requests,
    count(*) FILTER (WHERE status <> 0) AS failed,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    min(took_ns) AS min_ns,
    percentile(took_ns, 0.5) AS p50_ns,
    percentile(took_ns, 0.9) AS p90_ns,
    percentile(took_ns, 0.99) AS p99_ns,
    percentile(took_ns, 0.999) AS p999_ns,
    max(took_ns) AS max_ns,
    log2_histogram(took_ns) AS log2_histogram
FROM (
    SELECT
        CASE $by
            WHEN 'disk' THEN disk_name
            WHEN 'op' THEN CAST(op AS VARCHAR)
            WHEN 'process' THEN comm
        END AS what,
        CASE WHEN $by = 'process' THEN pid END AS pid,
        status,
        bytes,
        CASE $of WHEN 'total' THEN total_ns WHEN 'queue' THEN queue_ns ELSE device_ns END AS took_ns
    FROM bios()
    WHERE done_ts IS NOT NULL
) AS done
WHERE took_ns IS NOT NULL
GROUP BY what, pid
ORDER BY requests DESC, what, pid
