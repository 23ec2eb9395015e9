-- For how long processors were idle while threads waited for one.
--
-- One row for each number of idle processors with each number of waiting threads. A thread may have waited because it is
-- not allowed to run on the idle processor (affinity, cpusets): the recording does not say. A processor that was idle all
-- the time has no rows in switches, and is not known. Of a recording that was limited to some processes there is no
-- answer, because it does not know what the other processors did.
--
-- Of a part of the recording (--from, --to) threads that wait when it begins are known from their next wait on only, so that
-- queues look shorter in its first moments: take a part that is long against the waits.
--
-- @table switches(prev_tid s32, next_tid s32)
-- @table wakeups
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @tool cpuunclaimed: cpuunclaimed 10 1 | recorder record switches wakeups -d 10 | analyze unclaimed x.trace
--     The original compares samples that processors take at different moments, 99 times a second, and guesses which belong
--     together; an imbalance that is shorter is not seen. Here it is every stretch of time, to the nanosecond.
-- @column idle s64: processors that were idle
-- @column waiting s64: threads that waited
-- @column time_ns s64 [ns]: for how long in sum
-- @column unclaimed_ns s64 [ns]: processor time that waiting threads could have used: time_ns times the smaller number
-- @column first time: when it began for the first time
-- @loss the numbers may be wrong
SELECT
    other_idle AS idle,
    waiting,
    CAST(sum(ns(overlap_end_ts) - ns(overlap_ts)) AS BIGINT) AS time_ns,
    CAST(sum((ns(overlap_end_ts) - ns(overlap_ts)) * least(waiting, other_idle)) AS BIGINT) AS unclaimed_ns,
    min(overlap_ts) AS first
FROM overlaps(
    (SELECT ts, end_ts, open AS waiting FROM concurrency((SELECT ts, end_ts FROM runq_stays()))),
    (
        SELECT ts, end_ts, open AS idle
        FROM concurrency((
            SELECT ts, end_ts
            FROM (
                SELECT
                    coalesce(ts, (SELECT min(start_ts) FROM traces)) AS ts,
                    coalesce(end_ts, (SELECT max(end_ts) FROM traces)) AS end_ts
                FROM pairs(switches, begin => true, end => true, key => cpu)
                WHERE coalesce(next_tid, 0) = 0 AND coalesce(end_prev_tid, 0) = 0
            ) AS stretches
            WHERE ts < end_ts
        ))
    )
)
-- Process 2 is the kernel's own (kthreadd), and in the snapshot with which every recording of all processes begins.
WHERE EXISTS (SELECT 1 FROM processes WHERE pid = 2)
GROUP BY other_idle, waiting
ORDER BY unclaimed_ns DESC, idle, waiting
