-- Where threads were off their processor, and how long: by name, state and stacks.
--
-- The time is from the switch away to the switch back, so what the thread waited for a processor after it had been woken is
-- in it; runq_latency has that alone. A stretch that was under way when the recording began or ended is not known. Where the
-- recording was limited to some processes, only their threads are rows. Stacks are those of the thread that leaves;
-- a user stack ends where a library was built without frame pointers.
--
-- @table switches(preempt bool, prev_tid s32, prev_pid s32, prev_comm char[16], prev_state x32, next_tid s32, kstack kstack[32], ustack ustack[32])
-- @table processes(ev enum(snapshot,fork,exec,exit,rename))
-- @param state choice(all|sleeping|blocked|preempted) = all: only stretches of this state
-- @param by choice(comm|process|thread) = comm: group by names, by processes, or by threads
-- @param min_ns duration = 0s: shorter stretches are left out
-- @param top count = 20: rows at most
-- @tool offcputime: offcputime -df 10 | recorder record switches --stacks both -d 10 | analyze off_cpu x.trace
--     The original keeps stacks in a table of fixed size, where some collide or are dropped without a word; needs a function
--     (finish_task_switch) whose name changes with the compiler; and does not tell a thread that sleeps from one that had to
--     leave (column state).
-- @column comm char[16]: thread
-- @column pid s32: its process; NULL if by comm
-- @column tid s32: its id; NULL unless by thread
-- @column state text: sleeping (S: interruptible, or idle), blocked (D: not interruptible, as for I/O) or preempted (could run)
-- @column stack text: kernel stack, innermost first; NULL if none was recorded
-- @column user_stack text: user stack, likewise
-- @column stretches s64: how often
-- @column off_ns s64 [ns]: how long in sum
-- @column max_ns s64 [ns]: the longest
-- @loss stretches are missing, and one across the loss may look too long; threads of processes whose beginning was lost are left out
SELECT
    comm, pid, tid, state, stack_text(kstack) AS stack, stack_text(ustack) AS user_stack, stretches, off_ns, max_ns
FROM (
    SELECT
        comm,
        CASE WHEN $by <> 'comm' THEN pid END AS pid,
        CASE WHEN $by = 'thread' THEN tid END AS tid,
        state,
        kstack,
        ustack,
        count(*) AS stretches,
        CAST(sum(ns(end_ts) - ns(ts)) AS BIGINT) AS off_ns,
        max(ns(end_ts) - ns(ts)) AS max_ns
    FROM pairs((
        SELECT
            ts, prev_tid AS tid, prev_pid AS pid, CAST(prev_comm AS VARCHAR) AS comm, kstack, ustack, false AS comes,
            -- TASK_NOLOAD (0x400) marks kernel threads that are idle: they are in the state of sleep that nothing interrupts.
            CASE
                WHEN preempt OR prev_state = 0 THEN 'preempted'
                WHEN (prev_state & 1026) = 2 THEN 'blocked'
                ELSE 'sleeping'
            END AS state
        FROM switches
        -- One that has ended (TASK_DEAD) does not come back: the next with its number is another.
        WHERE prev_tid <> 0 AND (preempt OR (prev_state & 128) = 0)
        UNION ALL
        SELECT
            ts, next_tid, CAST(NULL AS INTEGER), CAST(NULL AS VARCHAR), nullif(kstack, kstack), nullif(ustack, ustack), true,
            CAST(NULL AS VARCHAR)
        FROM switches
        WHERE next_tid <> 0
    ), begin => NOT comes, end => comes, key => tid)
    WHERE
        class = 'paired' AND pid IN (SELECT pid FROM processes) AND ($state = 'all' OR state = $state)
        AND ns(end_ts) - ns(ts) >= $min_ns
    GROUP BY 1, 2, 3, 4, 5, 6
) AS grouped
ORDER BY off_ns DESC, comm, pid, tid, state, stack, user_stack
LIMIT $top
