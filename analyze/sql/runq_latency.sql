-- How long threads that could run waited for a processor.
--
-- A thread waits from the moment somebody wakes it, or it had to leave a processor while it could run, until it runs. The
-- idle thread never waits. The kernel's own number (second field of /proc/PID/schedstat) is that of since => 'wakeup'.
--
-- @table switches(prev_tid s32, prev_comm char[16], next_tid s32, next_pid s32, next_comm char[16])
-- @table wakeups
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @param by choice(all|comm|process|thread|cpu) = comm: one row for all, or one for each
-- @param since choice(waking|wakeup) = waking: where the wait of a woken thread begins (see became_runnable)
-- @param top count = 20: rows at most
-- @tool runqlat: runqlat 10 1 | recorder record switches wakeups -d 10 | analyze runq_latency x.trace --by all
--     The original begins when the thread is in the queue (since => 'wakeup'), so the time that the wakeup itself takes to
--     get to another processor is missing, and older ones count the idle thread.
-- @column comm char[16]: name of the threads; NULL unless by comm, process or thread
-- @column pid s32: process; NULL unless by process or thread
-- @column tid s32: thread; NULL unless by thread
-- @column cpu s32: processor on which they ran then; NULL unless by cpu
-- @column waits s64: how often they waited
-- @column preempted s64: of these, after they had to leave a processor
-- @column wait_ns s64 [ns]: sum of the waits
-- @column p50_ns s64 [ns]: half of the waits are at most so long
-- @column p90_ns s64 [ns]: 90 % are
-- @column p99_ns s64 [ns]: 99 % are
-- @column max_ns s64 [ns]: the longest
-- @column log2_ns text: how many are from 2^N to 2^(N+1) - 1 ns long, as N:COUNT
-- @loss a wait may be missing or begin too late or too early
SELECT
    CASE WHEN $by IN ('comm', 'process', 'thread') THEN comm END AS comm,
    CASE WHEN $by IN ('process', 'thread') THEN pid END AS pid,
    CASE WHEN $by = 'thread' THEN tid END AS tid,
    CASE WHEN $by = 'cpu' THEN cpu END AS cpu,
    count(*) AS waits,
    count(*) FILTER (WHERE why = 'preempted') AS preempted,
    CAST(sum(wait_ns) AS BIGINT) AS wait_ns,
    percentile(wait_ns, 0.5) AS p50_ns,
    percentile(wait_ns, 0.9) AS p90_ns,
    percentile(wait_ns, 0.99) AS p99_ns,
    max(wait_ns) AS max_ns,
    log2_histogram(wait_ns) AS log2_ns
FROM runq_waits(since => $since)
WHERE ran
GROUP BY 1, 2, 3, 4
ORDER BY wait_ns DESC, comm, pid, tid, cpu
LIMIT $top
