-- How long the queue of each processor was, and for how long: threads that could run and waited.
--
-- The thread that runs does not count. Where the recording was limited to some processes, only their threads count.
--
-- Of a part of the recording (--from, --to) threads that wait when it begins are known from their next wait on only, so that
-- queues look shorter in its first moments: take a part that is long against the waits.
--
-- @table switches(next_tid s32)
-- @table wakeups
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @tool runqlen: runqlen 10 1 | recorder record switches wakeups -d 10 | analyze runq_length x.trace
--     The original looks 99 times a second, never on idle processors, and at the queue of the running thread's own cgroup,
--     without real-time threads. Here it is each change, of all threads.
-- @column cpu s32: processor
-- @column length s64: threads that waited
-- @column time_ns s64 [ns]: for how long in sum
-- @column share number: part of the recording
-- @loss a queue may look shorter, or longer where a thread's end of waiting was lost
WITH span AS (
    SELECT min(ns(start_ts)) AS from_ns, max(ns(end_ts)) AS to_ns FROM traces
),
waiting AS (
    SELECT cpu, length, CAST(sum(to_ns - from_ns) AS BIGINT) AS time_ns
    FROM (
        -- Rows from before the begin are those of probes that were attached earlier than others.
        SELECT cpu, open AS length, greatest(ns(ts), (SELECT from_ns FROM span)) AS from_ns, ns(end_ts) AS to_ns
        FROM concurrency((SELECT ts, end_ts, cpu FROM runq_stays()), key => cpu)
    ) AS lengths
    WHERE to_ns > from_ns
    GROUP BY cpu, length
),
none AS (
    SELECT
        c.cpu,
        CAST(0 AS BIGINT) AS length,
        (SELECT to_ns - from_ns FROM span) - coalesce((SELECT sum(w.time_ns) FROM waiting AS w WHERE w.cpu = c.cpu), 0) AS time_ns
    FROM (SELECT DISTINCT CAST(cpu AS INTEGER) AS cpu FROM pairs(switches, begin => true, end => true, key => cpu)) AS c
)
SELECT
    cpu,
    length,
    CAST(time_ns AS BIGINT) AS time_ns,
    CAST(time_ns AS DOUBLE) / (SELECT to_ns - from_ns FROM span) AS share
FROM (SELECT * FROM waiting UNION ALL SELECT * FROM none) AS both_kinds
ORDER BY cpu, length
