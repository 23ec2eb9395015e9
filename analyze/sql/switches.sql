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
SELECT
    end_prev_comm AS comm,
    end_prev_pid AS pid,
    end_prev_tid AS tid,
    count(*) AS switches,
    count(*) FILTER (WHERE end_preempt OR end_prev_state = 0) AS preempted,
    count(*) FILTER (WHERE NOT (end_preempt OR end_prev_state = 0)) AS voluntary,
    count(*) FILTER (WHERE next_tid = end_prev_tid) AS runs,
    CAST(coalesce(sum(ns(end_ts) - ns(ts)) FILTER (WHERE next_tid = end_prev_tid), 0) AS BIGINT) AS run_ns,
    max(ns(end_ts) - ns(ts)) FILTER (WHERE next_tid = end_prev_tid) AS max_run_ns
-- Each switch on a processor ends the stretch that the one before began.
FROM pairs(switches, begin => true, end => true, key => cpu)
WHERE end_prev_tid <> 0
GROUP BY end_prev_comm, end_prev_pid, end_prev_tid
ORDER BY switches DESC, pid, tid, comm
LIMIT $top
