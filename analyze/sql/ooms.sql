-- Which processes the kernel killed because memory was short, for whom and why.
--
-- A victim may be another process than the chosen one: one that shares its memory, or is killed with its cgroup
-- (memory.oom.group). Why is only known where the kernel has the function oom_kill_process, and if the thread that asked
-- for memory did not end before that (then it is its own victim).
--
-- @table ooms
-- @tool oomkill: oomkill | recorder record ooms -d 10 | analyze ooms x.trace
--     The number of pages of the original is the size of all that was short of memory, not of the victim, and the cgroup
--     that it shows is that of the thread that asked.
-- @column ts time: when it was killed
-- @column victim_pid s32: process
-- @column victim_comm text: its name
-- @column victim_uid u32: its user
-- @column chosen bool: it is the one that was chosen; NULL if that is not known
-- @column comm char[16]: thread that asked for memory
-- @column pid u32: its process
-- @column anon_rss_bytes u64 [bytes]: memory of the victim that belongs to no file; NULL on older kernels
-- @column points s64: how much the chosen one weighed, in pages
-- @column order s32: 2^order pages were asked for; -1: by SysRq
-- @column gfp x32: flags of what was asked for
-- @column memcg_id u64: cgroup whose limit was reached; NULL: none, or not known
-- @column memcg text: its path
-- @loss victims are missing
WITH numbered AS (
    SELECT
        v.ts,
        v.victim_pid,
        coalesce(CAST(v.victim_comm AS VARCHAR), CASE WHEN c.victim_pid = v.victim_pid THEN CAST(c.victim_comm AS VARCHAR) END) AS victim_comm,
        coalesce(v.victim_uid, CASE WHEN c.victim_pid = v.victim_pid THEN c.victim_uid END) AS victim_uid,
        c.victim_pid = v.victim_pid AS chosen,
        v.comm, v.pid, v.cpu, v.seq, v.probe, v.anon_rss_bytes,
        c.points, c."order", c.gfp, c.memcg_id,
        row_number() OVER (PARTITION BY v.ts, v.cpu, v.probe, v.seq ORDER BY c.ts DESC NULLS LAST) AS nth
    FROM (SELECT * FROM ooms WHERE ev = 'victim') AS v
    LEFT JOIN (SELECT * FROM ooms WHERE ev = 'choice') AS c
        ON c.tid = v.tid AND c.ts <= v.ts AND (c.victim_pid = v.victim_pid OR v.victim_pid <> v.pid)
)
SELECT
    n.ts, n.victim_pid, n.victim_comm, n.victim_uid, n.chosen, n.comm, n.pid, n.anon_rss_bytes, n.points, n."order", n.gfp, n.memcg_id,
    g.path AS memcg
FROM numbered AS n
LEFT JOIN cgroups AS g ON g.cgroup_id = n.memcg_id
WHERE n.nth = 1
ORDER BY n.ts, n.victim_pid
