-- Every time that a thread waited for a processor although it could run, longest first.
--
-- @as table
-- @table switches(prev_tid s32, prev_comm char[16], next_tid s32, next_pid s32, next_comm char[16])
-- @table wakeups
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @param min_ns duration = 0s: shorter waits are left out
-- @param since choice(waking|wakeup) = waking: where the wait of a woken thread begins (see became_runnable)
-- @tool runqslower: runqslower 10000 | recorder record switches wakeups -d 10 | analyze runq_waits x.trace --min 10ms
--     The original shows another process with the wait than the one that waited where threads of several share a
--     queue entry, and misses a thread that has not run yet when it ends: here it is a row with ran = false.
-- @column ts time: since when it could run
-- @column wait_ns s64 [ns]: how long it waited; until the end of the recording if ran is false
-- @column tid s32: thread
-- @column pid s32: its process
-- @column comm char[16]: its name
-- @column why text: woken, new or preempted: how it came that it waited
-- @column ran bool: it came to run within the recording
-- @column cpu s32: processor on which it ran then; NULL if ran is false
-- @column after_tid s32: thread that left the processor for it, 0 = it was idle
-- @column after_comm char[16]: its name
-- @loss a wait may be missing, begin too late or too early or seem to last until the end
SELECT
    ts,
    coalesce(ns(end_ts), ns((SELECT max(end_ts) FROM traces))) - ns(ts) AS wait_ns,
    tid,
    pid,
    comm,
    why,
    class = 'paired' AS ran,
    end_cpu AS cpu,
    end_after_tid AS after_tid,
    end_after_comm AS after_comm
FROM pairs((
    SELECT
        ts, cpu, tid, pid, comm, why, slept, CAST(NULL AS INTEGER) AS after_tid, CAST(NULL AS VARCHAR) AS after_comm, false AS comes
    FROM became_runnable(since => $since)
    UNION ALL
    SELECT
        ts, CAST(cpu AS INTEGER), next_tid, next_pid, next_comm, CAST(NULL AS VARCHAR), CAST(NULL AS BOOLEAN), prev_tid, CAST(prev_comm AS VARCHAR), true
    FROM switches
    WHERE next_tid <> 0
), begin => NOT comes, end => comes, key => tid)
WHERE
    (class = 'paired' OR (class = 'outstanding' AND slept))
    AND coalesce(ns(end_ts), ns((SELECT max(end_ts) FROM traces))) - ns(ts) >= $min_ns
ORDER BY wait_ns DESC, ts, tid
