-- Who woke threads that slept, and how long they had slept.
--
-- A thread sleeps from its switch away, in a state in which it cannot run, until somebody wakes it (waking). Time that it
-- then waits for a processor is in runq_latency. If an interrupt wakes it, there is no waker, and column stack says which
-- code it was. Where the recording was limited to some processes, only their threads are rows.
--
-- @table switches(preempt bool, prev_tid s32, prev_pid s32, prev_state x32, kstack kstack[32], ustack ustack[32])
-- @table wakeups(kstack kstack[32], ustack ustack[32])
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @param by choice(comm|process|thread) = comm: group by names, by processes, or by threads
-- @param stacks choice(no|waker|both) = no: group by the kernel stack of the waker as well, or by that and the sleeper's
-- @param top count = 20: rows at most
-- @tool wakeuptime: wakeuptime 10 | recorder record switches wakeups --stacks kernel -d 10 | analyze wakers x.trace --stacks waker
--     The original shows the thread that an interrupt happened to interrupt as the waker: here it is NULL. Times of 2^64
--     (a wakeup without its sleep) cannot be.
-- @tool offwaketime: offwaketime 10 | recorder record switches wakeups --stacks both -d 10 | analyze wakers x.trace --stacks both
--     Likewise; and stacks are whole rows of the recording, not numbers in a table of fixed size that collide.
-- @column comm char[16]: thread that slept
-- @column pid s32: its process; NULL if by comm
-- @column tid s32: its id; NULL unless by thread
-- @column waker_comm char[16]: thread that woke it; NULL: an interrupt did
-- @column waker_pid u32: its process; NULL if by comm
-- @column waker_tid u32: its id; NULL unless by thread
-- @column waker_stack text: kernel stack of the waker, innermost first; NULL if stacks is no or none was recorded
-- @column stack text: kernel stack in which it slept; NULL unless stacks is both
-- @column user_stack text: its user stack; NULL unless stacks is both
-- @column wakeups s64: how often
-- @column slept_ns s64 [ns]: how long it slept until then, in sum
-- @column max_ns s64 [ns]: the longest time
-- @loss a sleep may be missing, and one across the loss may look too long; threads of processes whose beginning was lost are left out
SELECT
    comm, pid, tid, waker_comm, waker_pid, waker_tid,
    stack_text(waker_kstack) AS waker_stack,
    stack_text(kstack) AS stack,
    stack_text(ustack) AS user_stack,
    wakeups, slept_ns, max_ns
FROM (
    SELECT
        end_comm AS comm,
        CASE WHEN $by <> 'comm' THEN end_pid END AS pid,
        CASE WHEN $by = 'thread' THEN tid END AS tid,
        end_waker_comm AS waker_comm,
        CASE WHEN $by <> 'comm' THEN end_waker_pid END AS waker_pid,
        CASE WHEN $by = 'thread' THEN end_waker_tid END AS waker_tid,
        CASE WHEN $stacks <> 'no' THEN end_kstack END AS waker_kstack,
        CASE WHEN $stacks = 'both' THEN kstack END AS kstack,
        CASE WHEN $stacks = 'both' THEN ustack END AS ustack,
        count(*) AS wakeups,
        CAST(sum(ns(end_ts) - ns(ts)) AS BIGINT) AS slept_ns,
        max(ns(end_ts) - ns(ts)) AS max_ns
    -- A waking that comes while the thread is about to leave is before the row of its leaving: then the row of its wakeup
    -- ends the sleep, on whichever processor, and who woke it is not known.
    FROM pairs((
        SELECT
            ts, cpu, probe, seq, prev_tid AS tid, prev_pid AS pid, CAST(prev_comm AS VARCHAR) AS comm, kstack, ustack, 'sleeps' AS ev,
            CAST(NULL AS VARCHAR) AS waker_comm, nullif(pid, pid) AS waker_pid, nullif(tid, tid) AS waker_tid
        FROM switches
        WHERE prev_tid <> 0 AND NOT (preempt OR prev_state = 0)
        UNION ALL
        SELECT
            ts, cpu, probe, seq, target_tid, target_pid, CAST(target_comm AS VARCHAR), kstack, ustack, CAST(ev AS VARCHAR),
            CAST(comm AS VARCHAR), pid, tid
        FROM wakeups
        WHERE ev IN ('waking', 'wakeup') AND target_tid <> 0
    ), begin => ev = 'sleeps', end => ev <> 'sleeps', key => tid)
    WHERE class = 'paired' AND end_ev = 'waking' AND end_pid IN (SELECT pid FROM processes)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
) AS grouped
ORDER BY slept_ns DESC, comm, pid, tid, waker_comm, waker_pid, waker_tid, waker_stack, stack, user_stack
LIMIT $top
