-- How long threads ran on a processor at a stretch, or how long they were off it.
--
-- The idle thread is left out. A stretch that was under way when the recording began or ended is not known. Where the
-- recording was limited to some processes, only their threads are rows.
--
-- @table switches(preempt bool, prev_tid s32, prev_pid s32, prev_comm char[16], prev_state x32, next_tid s32, next_pid s32, next_comm char[16])
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @param of choice(on|off) = on: stretches on a processor, or off it, waiting for one included
-- @param by choice(all|comm|process|thread|cpu) = comm: one row for all, or one for each
-- @param top count = 20: rows at most
-- @tool cpudist: cpudist 10 1 | recorder record switches -d 10 | analyze cpu_dist x.trace --by all
--     Older ones take the idle threads of all processors, which share the number 0, for one, and their times are wrong.
-- @column comm char[16]: name of the threads; NULL unless by comm, process or thread
-- @column pid s32: process; NULL unless by process or thread
-- @column tid s32: thread; NULL unless by thread
-- @column cpu s32: processor, of a stretch off it the one on which it ended; NULL unless by cpu
-- @column stretches s64: how many
-- @column time_ns s64 [ns]: their sum
-- @column p50_ns s64 [ns]: half of them are at most so long
-- @column p90_ns s64 [ns]: 90 % are
-- @column p99_ns s64 [ns]: 99 % are
-- @column max_ns s64 [ns]: the longest
-- @column log2_ns text: how many are from 2^N to 2^(N+1) - 1 ns long, as N:COUNT
-- @loss stretches are missing, and one across the loss may be wrong
SELECT
    CASE WHEN $by IN ('comm', 'process', 'thread') THEN comm END AS comm,
    CASE WHEN $by IN ('process', 'thread') THEN pid END AS pid,
    CASE WHEN $by = 'thread' THEN tid END AS tid,
    CASE WHEN $by = 'cpu' THEN cpu END AS cpu,
    count(*) AS stretches,
    CAST(sum(time_ns) AS BIGINT) AS time_ns,
    percentile(time_ns, 0.5) AS p50_ns,
    percentile(time_ns, 0.9) AS p90_ns,
    percentile(time_ns, 0.99) AS p99_ns,
    max(time_ns) AS max_ns,
    log2_histogram(time_ns) AS log2_ns
FROM (
    -- Each switch on a processor ends the stretch that the one before began.
    SELECT
        end_prev_comm AS comm, end_prev_pid AS pid, end_prev_tid AS tid, CAST(cpu AS INTEGER) AS cpu,
        ns(end_ts) - ns(ts) AS time_ns
    FROM pairs(switches, begin => true, end => true, key => cpu)
    WHERE $of = 'on' AND next_tid = end_prev_tid AND next_tid <> 0
    UNION ALL
    SELECT end_comm, end_pid, tid, end_on_cpu, ns(end_ts) - ns(ts)
    FROM pairs((
        SELECT
            ts, prev_tid AS tid, prev_pid AS pid, CAST(prev_comm AS VARCHAR) AS comm, CAST(cpu AS INTEGER) AS on_cpu, false AS comes
        FROM switches
        -- One that has ended (TASK_DEAD) does not come back: the next with its number is another.
        WHERE prev_tid <> 0 AND (preempt OR (prev_state & 128) = 0)
        UNION ALL
        SELECT ts, next_tid, next_pid, CAST(next_comm AS VARCHAR), CAST(cpu AS INTEGER), true
        FROM switches
        WHERE next_tid <> 0
    ), begin => NOT comes, end => comes, key => tid)
    WHERE $of = 'off' AND class = 'paired'
) AS both_kinds
WHERE pid IN (SELECT pid FROM processes)
GROUP BY 1, 2, 3, 4
ORDER BY time_ns DESC, comm, pid, tid, cpu
LIMIT $top
