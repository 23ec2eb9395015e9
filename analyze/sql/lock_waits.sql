-- Which locks of the kernel threads waited for, and how long.
--
-- A wait is from the first time that a thread cannot have the lock until it has it or gives up; a mutex for which it spins and
-- sleeps by turns is one wait. Locks have addresses only; the stack says which code wants it, so record with --stacks kernel.
-- How long a lock is held is not known.
--
-- @tool klockstat: klockstat -d 10 | recorder record lock_waits --stacks kernel -d 10 | analyze lock_waits x.trace --by stack
--     Probes the functions of mutexes, whose names change (nested, killable, from 6.16 on others); a lock whose begin it has not
--     seen has a time of hundreds of hours. Here it is every kind of lock that is waited for, spinlocks too. It also tells how
--     long locks are held: for that record the two functions, as 'fn:mutex_lock' and 'fn:mutex_unlock'.
-- @table lock_waits(ev enum(begin,end), lock x64, flags x32, ret s32, kstack kstack[32])
-- @param by choice(kind|process|lock|stack) = kind: one row for each kind of lock, program, lock, or stack
-- @param top count = 20: rows at most
-- @column kind text: mutex, rwsem, rwlock, percpu-rwsem, rtmutex, spinlock/semaphore (the kernel does not tell these two apart)
-- @column access text: reading or writing; NULL for locks that make no difference
-- @column comm char[16]: program that waited, if by => 'process'; NULL: interrupts
-- @column lock x64: address of the lock, if by => 'lock'
-- @column stack text: kernel stack that wanted it, innermost first, if by => 'stack' and stacks were recorded
-- @column waits s64: how often
-- @column failed s64: of these, ended without the lock
-- @column wait_ns s64 [ns]: how long all of them took
-- @column p50_ns s64 [ns]: half of them took at most this long
-- @column p99_ns s64 [ns]: 99 in 100
-- @column max_ns s64 [ns]: longest
-- @loss a wait may be missing, and one across the loss may look too long
SELECT kind, access, comm, lock, stack_text(kstack) AS stack, waits, failed, wait_ns, p50_ns, p99_ns, max_ns
FROM (
    SELECT
        kind, access, comm, lock, kstack,
        count(*) AS waits,
        count(*) FILTER (WHERE ret <> 0) AS failed,
        CAST(sum(took_ns) AS BIGINT) AS wait_ns,
        percentile(took_ns, 0.5) AS p50_ns,
        percentile(took_ns, 0.99) AS p99_ns,
        max(took_ns) AS max_ns
    FROM (
        SELECT
            CASE
                WHEN (flags & 32) <> 0 THEN 'mutex'
                WHEN (flags & 16) <> 0 THEN 'percpu-rwsem'
                WHEN (flags & 8) <> 0 THEN 'rtmutex'
                WHEN (flags & 6) = 0 THEN 'spinlock/semaphore'
                WHEN (flags & 1) <> 0 THEN 'rwlock'
                ELSE 'rwsem'
            END AS kind,
            CASE WHEN (flags & 2) <> 0 THEN 'reading' WHEN (flags & 4) <> 0 THEN 'writing' END AS access,
            CASE WHEN $by = 'process' THEN comm END AS comm,
            CASE WHEN $by = 'lock' THEN lock END AS lock,
            CASE WHEN $by = 'stack' THEN kstack END AS kstack,
            end_ret AS ret,
            ns(end_ts) - ns(ts) AS took_ns
        FROM pairs((
            -- The first begin after each end, and the very first one.
            SELECT end_ts AS ts, end_cpu AS cpu, end_comm AS comm, lock, waiter, end_flags AS flags, end_ret AS ret, end_kstack AS kstack, false AS ends
            FROM pairs((
                SELECT *, CASE WHEN coalesce(tid, 0) = 0 THEN -1 - CAST(cpu AS BIGINT) ELSE CAST(tid AS BIGINT) END AS waiter FROM lock_waits
            ), begin => ev = 'end', end => ev = 'begin', key => (lock, waiter))
            WHERE class IN ('paired', 'before_recording')
            UNION ALL
            SELECT ts, cpu, comm, lock, CASE WHEN coalesce(tid, 0) = 0 THEN -1 - CAST(cpu AS BIGINT) ELSE CAST(tid AS BIGINT) END, flags, ret, kstack, true
            FROM lock_waits
            WHERE ev = 'end'
        ), begin => NOT ends, end => ends, key => (lock, waiter))
        WHERE class = 'paired'
    ) AS timed
    GROUP BY kind, access, comm, lock, kstack
) AS grouped
ORDER BY wait_ns DESC, waits DESC, kind, access, comm, lock, stack
LIMIT $top
