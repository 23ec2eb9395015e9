-- How long each processor was busy, and with how many threads: whether work is spread evenly.
--
-- A processor is busy while a thread other than the idle one is on it. Interrupts that come while it is idle are not
-- counted, and those that come while a thread runs count as that thread's time; irq_time has them. Where the recording was
-- limited to some processes, only their threads count. A processor that did not switch at all has no row.
--
-- @table switches(prev_tid s32, prev_pid s32, next_tid s32, next_pid s32)
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @tool cpuwalk: cpuwalk.bt | recorder record switches -d 10 | analyze cpu_busy x.trace
--     The original asks 99 times a second which processors are busy, so it does not see short bursts, and work that keeps
--     step with the timer not at all. Here it is every stretch.
-- @column cpu s32: processor
-- @column busy_ns s64 [ns]: how long it was busy
-- @column share number: part of the recording
-- @column stretches s64: how often a thread came on, those counted that were there already
-- @column threads s64: how many different ones
-- @loss the numbers may be wrong
WITH span AS (
    SELECT min(ns(start_ts)) AS from_ns, max(ns(end_ts)) AS to_ns FROM traces
),
-- What was on when the recording began and what is when it ends is known by the other end. Rows from before its begin are
-- those of probes that were attached earlier than others.
stretches AS (
    SELECT
        cpu,
        coalesce(next_tid, end_prev_tid) AS tid,
        coalesce(next_pid, end_prev_pid) AS pid,
        greatest(coalesce(ns(ts), (SELECT from_ns FROM span)), (SELECT from_ns FROM span)) AS from_ns,
        coalesce(ns(end_ts), (SELECT to_ns FROM span)) AS to_ns
    FROM pairs(switches, begin => true, end => true, key => cpu)
    WHERE next_tid IS NULL OR end_prev_tid IS NULL OR next_tid = end_prev_tid
)
SELECT
    CAST(cpu AS INTEGER) AS cpu,
    CAST(sum(to_ns - from_ns) AS BIGINT) AS busy_ns,
    CAST(sum(to_ns - from_ns) AS DOUBLE) / (SELECT to_ns - from_ns FROM span) AS share,
    count(*) AS stretches,
    count(DISTINCT tid) AS threads
FROM stretches
WHERE tid <> 0 AND to_ns > from_ns AND pid IN (SELECT pid FROM processes)
GROUP BY cpu
ORDER BY cpu
