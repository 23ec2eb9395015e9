-- @tests mountsnoop

-- strace saw the whole workload
SELECT * FROM (SELECT count(*) AS calls, count(DISTINCT syscall) AS syscalls, count(DISTINCT error) AS errors FROM truth) AS t
WHERE calls <> 22 OR syscalls <> 10 OR errors < 4;
-- each call that strace saw has its row with its texts, and each row of that process its call
SELECT t.syscall, t.first, t.second, t.calls, m.syscall AS my_syscall, m.first AS my_first, m.second AS my_second, m.calls AS my_calls
FROM (
    SELECT pid, syscall, coalesce(first, '') AS first, coalesce(second, '') AS second, coalesce(error, '') AS error, CASE WHEN ret >= 0 THEN ret ELSE -1 END AS ret, count(*) AS calls
    FROM truth GROUP BY 1, 2, 3, 4, 5, 6
) AS t
FULL JOIN (
    SELECT
        pid, CAST(syscall AS VARCHAR) AS syscall,
        coalesce(CASE WHEN syscall = 'fsconfig' THEN key WHEN syscall = 'fsopen' THEN fstype ELSE coalesce(source, target) END, '') AS first,
        coalesce(CASE WHEN syscall = 'fsconfig' THEN options WHEN source IS NOT NULL THEN target END, '') AS second,
        coalesce(errno_name(ret), '') AS error, CASE WHEN ret >= 0 THEN ret ELSE -1 END AS ret, count(*) AS calls
    FROM mounts WHERE pid IN (SELECT pid FROM truth) GROUP BY 1, 2, 3, 4, 5, 6
) AS m
ON t.pid = m.pid AND t.syscall = m.syscall AND t.first = m.first AND t.second = m.second AND t.error = m.error AND t.ret = m.ret
WHERE t.calls IS DISTINCT FROM m.calls;
-- all of it was in the namespace that was made for it
SELECT * FROM mounts WHERE pid IN (SELECT pid FROM truth) AND mntns <> (SELECT max(mntns) FROM namespace);
-- what is mounted in the end is what the calls that worked left: there, and other by move_mount
SELECT * FROM (
    SELECT
        count(*) FILTER (WHERE syscall IN ('mount', 'move_mount') AND error IS NULL AND coalesce(flags, '') NOT LIKE '%REMOUNT%')
        - count(*) FILTER (WHERE syscall = 'umount' AND error IS NULL) AS mounted
    FROM mounts() WHERE pid IN (SELECT pid FROM truth)
) AS m CROSS JOIN kept
WHERE mounted <> mounts;
-- flags, options and descriptors are told
SELECT * FROM (
    SELECT
        count(*) FILTER (WHERE flags = 'MS_NOSUID,MS_NODEV' AND options = 'size=64k') AS first_mount,
        count(*) FILTER (WHERE flags = 'MNT_DETACH') AS detached,
        count(*) FILTER (WHERE options = 'set_string size=128k') AS sized,
        count(*) FILTER (WHERE options = 'create') AS created,
        count(*) FILTER (WHERE syscall = 'fsmount' AND new_fd > fd) AS fsmounts
    FROM mounts() WHERE pid IN (SELECT pid FROM truth)
) AS m
WHERE first_mount <> 1 OR detached <> 1 OR sized <> 1 OR created <> 1 OR fsmounts <> 1;
-- attributes of fsmount and mount_setattr
SELECT * FROM (
    SELECT
        count(*) FILTER (WHERE syscall = 'fsmount' AND attrs = 8) AS noexec,
        count(*) FILTER (WHERE syscall = 'mount_setattr' AND attrs = 2 AND attrs_cleared = 1) AS nosuid
    FROM mounts
) AS m
WHERE noexec <> 1 OR nosuid <> 1;
