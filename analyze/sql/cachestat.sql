-- Page cache hits and misses as cachestat and cachetop work them out, beside what was really read and added.
--
-- The classic numbers are a guess from four counters: total = accesses - buffers made dirty, misses = additions - folios
-- made dirty, hits = total - misses, none of them below 0, and misses = total if there are more. They are here because
-- dashboards and books speak of them. read_pages and read_in_pages count what the guess is about: pages that programs
-- read, and pages that came from disk because of it.
--
-- @tool cachestat: cachestat 1 | recorder record cache -d 10 | analyze cachestat x.trace
--     The ratio is a guess: a write that fills new pages counts as misses until they are made dirty, a file system with
--     blocks of 1 KiB makes four buffers of a page dirty and so takes three hits away, a large folio of many pages
--     is one addition, and reads of tmpfs are hits. read_pages and read_in_pages count pages, and cache_misses files.
-- @tool cachetop: cachetop 5 | recorder record cache -d 10 | analyze cachestat x.trace --by process --interval 5s
--     cachetop divides accesses by accesses and additions together, so that a file read cold shows 50 % hits.
-- @table cache(kind enum(read,fault,add,remove,dirty,access,buffer_dirty), pos s64, bytes s64, large_pages u32, by_writer bool)
-- @param interval_ns duration = 1s: length of the intervals
-- @param by choice(all|process) = all: one row for each interval, or for each process in it
-- @column start time: begin of the interval, a multiple of its length since 1970
-- @column pid u32: process; NULL if by => 'all'
-- @column comm char[16]: its name
-- @column hits s64: as cachestat works them out
-- @column misses s64: likewise
-- @column dirties s64: buffers made dirty, which cachestat shows as dirties
-- @column hit_percent f64 [%]: 100 * hits / (hits + misses), likewise; NULL if there are none
-- @column read_pages s64 [pages]: pages of 4096 bytes that programs read, each time they are read
-- @column fault_pages s64 [pages]: faults on pages that were not mapped
-- @column read_in_pages s64 [pages]: pages that were added to be read, with those read ahead
-- @column written_pages s64 [pages]: pages that were added to be written
-- @column dirty_pages s64 [pages]: pages that became dirty
-- @loss the numbers are wrong, hits and misses in either direction
SELECT
    start,
    pid,
    comm,
    total - misses AS hits,
    misses,
    buffers AS dirties,
    CASE WHEN total > 0 THEN round(100.0 * (total - misses) / total, 1) END AS hit_percent,
    read_pages,
    fault_pages,
    read_in_pages,
    written_pages,
    dirty_pages
FROM (
    SELECT *, least(greatest(additions - dirtied, 0), total) AS misses
    FROM (
        SELECT *, greatest(accesses - buffers, 0) AS total
        FROM (
            SELECT
                start, pid, comm,
                count(*) FILTER (WHERE kind = 'access') AS accesses,
                count(*) FILTER (WHERE kind = 'buffer_dirty') AS buffers,
                count(*) FILTER (WHERE kind = 'add') AS additions,
                count(*) FILTER (WHERE kind = 'dirty') AS dirtied,
                CAST(coalesce(sum(((pos + bytes - 1) >> 12) - (pos >> 12) + 1) FILTER (WHERE kind = 'read'), 0) AS BIGINT) AS read_pages,
                count(*) FILTER (WHERE kind = 'fault') AS fault_pages,
                CAST(coalesce(sum(pages) FILTER (WHERE kind = 'add' AND by_writer IS NULL), 0) AS BIGINT) AS read_in_pages,
                CAST(coalesce(sum(pages) FILTER (WHERE kind = 'add' AND by_writer), 0) AS BIGINT) AS written_pages,
                CAST(coalesce(sum(pages) FILTER (WHERE kind = 'dirty'), 0) AS BIGINT) AS dirty_pages
            FROM (
                SELECT
                    utc(ns(ts) - ns(ts) % $interval_ns) AS start,
                    CASE WHEN $by = 'process' THEN pid END AS pid,
                    CASE WHEN $by = 'process' THEN comm END AS comm,
                    kind, pos, bytes, by_writer,
                    CAST(coalesce(large_pages, 1) AS BIGINT) AS pages
                FROM cache
            ) AS each_row
            GROUP BY start, pid, comm
        ) AS counted
    ) AS summed
) AS guessed
ORDER BY start, hits DESC, misses DESC, pid, comm
