-- How large the requests to block devices are, by the program that asked.
--
-- A request counts once, with the size that it had when it was issued, after merges. Requests without data (flushes) are
-- left out.
--
-- @tool bitesize: bitesize | recorder record block_io -d 10 | analyze bio_sizes x.trace
--     Takes the task that issues a request, which may be a kworker, and counts a request that was put back once more.
-- @table block_io
-- @column comm char[16]: program that asked; NULL where it is not known
-- @column op enum: what was asked for
-- @column requests s64: requests that were issued
-- @column bytes s64 [bytes]: their size together
-- @column min_bytes s64 [bytes]: the smallest
-- @column p50_bytes s64 [bytes]: half of them are at most so large
-- @column p90_bytes s64 [bytes]: 90 in 100
-- @column max_bytes s64 [bytes]: the largest
-- @column log2_histogram text: e:n for each exponent, n requests of 2^e to 2^(e+1)-1 bytes
-- @loss requests are missing
SELECT
    comm,
    op,
    count(*) AS requests,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    min(bytes) AS min_bytes,
    percentile(bytes, 0.5) AS p50_bytes,
    percentile(bytes, 0.9) AS p90_bytes,
    max(bytes) AS max_bytes,
    log2_histogram(bytes) AS log2_histogram
FROM bios()
WHERE bytes > 0 AND issue_ts IS NOT NULL
GROUP BY comm, op
ORDER BY requests DESC, comm, op
