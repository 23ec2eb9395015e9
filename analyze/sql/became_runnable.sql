-- When each thread began to wait for a processor: because it was woken or is new, or had to leave one while it could run.
--
-- A thread that is woken while it still runs waits for nothing, and is no row. The wait of a woken thread begins when
-- somebody wakes it (waking), or when it has come into the queue of a processor (wakeup), from when on the kernel counts
-- (/proc/PID/schedstat). Between the two is the time that the interrupt takes to get to the other processor.
--
-- Where the recording was limited to some processes, only their threads are rows, because of others it has but a part.
--
-- @as table
-- @table switches(preempt bool, prev_tid s32, prev_pid s32, prev_comm char[16], prev_state x32)
-- @table wakeups
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @param since choice(waking|wakeup) = waking: where the wait of a woken thread begins
-- @column ts time: since when it can run
-- @column tid s32: thread
-- @column pid s32: its process
-- @column comm char[16]: its name
-- @column cpu s32: processor in whose queue it is; of waking the one where it was last
-- @column why text: woken, new or preempted
-- @column slept bool: it was seen to leave its processor before; false where it did so before the recording, if it did
-- @loss a wait may be missing or begin too late
SELECT
    end_ts AS ts,
    tid,
    end_pid AS pid,
    end_comm AS comm,
    end_queue AS cpu,
    CASE WHEN end_ev = 'new' THEN 'new' ELSE 'woken' END AS why,
    class = 'paired' OR end_ev = 'new' AS slept
-- Of the rows of wakeups only the first after the thread has left is an end, the others are begin_missed. A waking that
-- comes before the thread has left, because that is under way, is one of these, and its wakeup is the end.
FROM pairs((
    SELECT
        ts, cpu, probe, seq, prev_tid AS tid, prev_pid AS pid, prev_comm AS comm, CAST(cpu AS INTEGER) AS queue,
        CAST('sleeps' AS VARCHAR) AS ev
    FROM switches
    WHERE prev_tid <> 0 AND NOT (preempt OR prev_state = 0)
    UNION ALL
    SELECT
        ts, cpu, probe, seq, target_tid AS tid, target_pid AS pid, target_comm AS comm, target_cpu AS queue,
        CAST(ev AS VARCHAR) AS ev
    FROM wakeups
    WHERE target_tid <> 0 AND (ev IN ('wakeup', 'new') OR (ev = 'waking' AND $since = 'waking'))
), begin => ev = 'sleeps', end => ev <> 'sleeps', key => tid)
WHERE class IN ('paired', 'before_recording') AND end_pid IN (SELECT pid FROM processes)
UNION ALL
SELECT ts, prev_tid, prev_pid, prev_comm, CAST(cpu AS INTEGER), 'preempted', true
FROM switches
WHERE prev_tid <> 0 AND (preempt OR prev_state = 0) AND prev_pid IN (SELECT pid FROM processes)
