-- Which programs entered other namespaces with setns, and where they went.
--
-- A call counts as entering a kind of namespace if the thread was in another one of that kind before. Namespaces are
-- numbers as in /proc/PID/ns. A pid namespace is entered by future children only.
--
-- @table netns_joins(comm char[16], ret s32, net_before u32, net_after u32, mnt_before u32, mnt_after u32, pid_before u32, pid_after u32, user_before u32, user_after u32)
-- @column comm char[16]: program
-- @column net_before u32: network namespace before
-- @column net_after u32: and after
-- @column calls s64: calls of setns
-- @column failed s64: calls that failed
-- @column net s64: calls that entered another network namespace
-- @column mnt s64: another mount namespace
-- @column pid s64: another pid namespace
-- @column user s64: another user namespace
-- @column pids s64: different processes that called
-- @column first time: first call
-- @column last time: last call
-- @loss the numbers may be too low
SELECT
    comm,
    net_before,
    net_after,
    count(*) AS calls,
    count(*) FILTER (WHERE ret < 0) AS failed,
    count(*) FILTER (WHERE ret = 0 AND net_after <> net_before) AS net,
    count(*) FILTER (WHERE ret = 0 AND mnt_after <> mnt_before) AS mnt,
    count(*) FILTER (WHERE ret = 0 AND pid_after <> pid_before) AS pid,
    count(*) FILTER (WHERE ret = 0 AND user_after <> user_before) AS "user",
    count(DISTINCT pid) AS pids,
    min(ts) AS first,
    max(ts) AS last
FROM netns_joins
GROUP BY comm, net_before, net_after
ORDER BY first, comm, net_before, net_after
