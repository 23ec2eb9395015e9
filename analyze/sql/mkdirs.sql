-- How many directories each program made or failed to make.
--
-- @table mkdirs(comm char[16], ret s32)
-- @column comm char[16]: program
-- @column calls s64: calls of mkdir and mkdirat, and requests of io_uring, whose result may be unknown
-- @column made s64: directories made
-- @column existed s64: calls that failed because it was there (EEXIST)
-- @column failed s64: calls that failed otherwise
-- @column min_interval_ns s64 [ns]: shortest time between two calls of one process
-- @column first time: first call
-- @column last time: last call
-- @loss the numbers may be too low
SELECT
    comm,
    count(*) AS calls,
    count(*) FILTER (WHERE ret = 0) AS made,
    count(*) FILTER (WHERE ret = -17) AS existed,
    count(*) FILTER (WHERE ret < 0 AND ret <> -17) AS failed,
    min(gap_ns) AS min_interval_ns,
    min(ts) AS first,
    max(ts) AS last
FROM gaps(mkdirs, key => pid)
GROUP BY comm
ORDER BY calls DESC, comm
