-- Every stay of a thread that waits in the queue of a processor: a wait is several of them if it is moved meanwhile.
--
-- @as table
-- @table switches(next_tid s32)
-- @table wakeups
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @column ts time: since when it is in the queue
-- @column end_ts time: when it ran or was moved; the end of the recording for one that still waits then
-- @column cpu s32: processor whose queue it is
-- @column tid s32: thread
-- @column pid s32: its process
-- @column comm char[16]: its name
-- @column ran bool: it ran then; false: it was moved, or the recording ended
-- @loss a stay may be missing, or begin too late or end too late
SELECT
    ts,
    coalesce(end_ts, (SELECT max(end_ts) FROM traces)) AS end_ts,
    cpu,
    tid,
    pid,
    comm,
    coalesce(end_ev = 'comes', false) AS ran
-- A woken thread may be moved before it gets into a queue: what is between is end_missed.
FROM pairs((
    SELECT ts, cpu, tid, pid, comm, slept, 'waits' AS ev FROM became_runnable(since => 'wakeup')
    UNION ALL
    SELECT ts, target_cpu, target_tid, target_pid, CAST(target_comm AS VARCHAR), false, 'moves' FROM wakeups WHERE ev = 'migrate'
    UNION ALL
    SELECT ts, CAST(cpu AS INTEGER), next_tid, next_pid, CAST(next_comm AS VARCHAR), false, 'comes' FROM switches WHERE next_tid <> 0
), begin => ev <> 'comes', end => ev <> 'waits', key => tid)
WHERE (class = 'paired' OR (class = 'outstanding' AND slept)) AND pid IN (SELECT pid FROM processes)
