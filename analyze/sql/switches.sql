-- How often each thread left its processor, whether it had to, and how long it ran.
--
-- Idle threads (tid 0) are left out. Running time is known between a switch to the thread and the next one away from it
-- on the same processor, both recorded.
--
-- @table switches(preempt bool, prev_tid s32, prev_pid s32, prev_comm char[16], prev_state x32, next_tid s32)
-- @param top count = 20: rows at most
-- @column comm char[16]: thread
-- @column pid s32: its process
-- @column tid s32: its id
-- @column switches s64: times it left a processor
-- @column preempted s64: of these, while it could still run
-- @column voluntary s64: of these, because it waited or ended
-- @column runs s64: stretches of running that were seen whole
-- @column run_ns s64 [ns]: their sum
-- @column max_run_ns s64 [ns]: the longest
-- @loss switches are missing, and a stretch across the loss may be wrong
WITH stretch AS (
    SELECT
        prev_comm, prev_pid, prev_tid, preempt, prev_state,
        lag(next_tid) OVER (PARTITION BY cpu ORDER BY ts, seq) AS came_tid,
        ns(ts) - lag(ns(ts)) OVER (PARTITION BY cpu ORDER BY ts, seq) AS run_ns
    FROM switches
)
SELECT
    prev_comm AS comm,
    prev_pid AS pid,
    prev_tid AS tid,
    count(*) AS switches,
    count(*) FILTER (WHERE preempt OR prev_state = 0) AS preempted,
    count(*) FILTER (WHERE NOT (preempt OR prev_state = 0)) AS voluntary,
    count(*) FILTER (WHERE came_tid = prev_tid) AS runs,
    CAST(coalesce(sum(run_ns) FILTER (WHERE came_tid = prev_tid), 0) AS BIGINT) AS run_ns,
    max(run_ns) FILTER (WHERE came_tid = prev_tid) AS max_run_ns
FROM stretch
WHERE prev_tid <> 0
GROUP BY prev_comm, prev_pid, prev_tid
ORDER BY switches DESC, pid, tid, comm
LIMIT $top
