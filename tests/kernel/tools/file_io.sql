-- @tests filetop, dirtop, vfsstat, statsnoop
-- @tests fsdist, ext4dist, xfsdist, btrfsdist, nfsdist, zfsdist
-- @tests fsslower, fileslower, ext4slower, xfsslower, btrfsslower, f2fsslower, nfsslower, zfsslower
-- @tool statsnoop: statsnoop -x | recorder record 'stats=fn:vfs_statx{ dfd, path=filename->name:string[255], ret=retval }' -d 10 | analyze sql x.trace "SELECT ts, pid, comm, path, errno_name(ret) AS error FROM stats WHERE ret < 0 ORDER BY ts"
--     The programs for bcc and bpftrace do not see newfstatat, which stat() of glibc calls since 2.33. One function of the
--     kernel serves stat, lstat, newfstatat, statx, calls of 32-bit programs and io_uring.

-- the calls and bytes of the process are those of the kernel's account, which has the first look at itself but not the last, and no write to what is not open for that (EBADF)
SELECT * FROM (
    SELECT
        sum(CASE WHEN op IN ('read', 'readv') AND ret > 0 THEN ret END) AS my_rchar,
        sum(CASE WHEN op IN ('write', 'writev') AND ret > 0 THEN ret END) AS my_wchar,
        count(*) FILTER (WHERE op IN ('read', 'readv')) AS my_syscr,
        count(*) FILTER (WHERE op IN ('write', 'writev') AND ret <> -9) AS my_syscw
    FROM file_io
    WHERE pid = (SELECT max(pid) FROM io)
        AND ts >= (SELECT min(f.ts) FROM file_io AS f JOIN io USING (pid) WHERE f.op = 'read' AND f.name = 'io')
        AND ts < (SELECT max(f.ts) FROM file_io AS f JOIN io USING (pid) WHERE f.op = 'read' AND f.name = 'io')
) AS m CROSS JOIN io
WHERE my_rchar <> rchar OR my_wchar <> wchar OR my_syscr <> syscr OR my_syscw <> syscw OR rchar < 204800 OR syscr < 31 OR syscw < 52;
-- by file: reads at the end and by vectors count with what came
SELECT * FROM (VALUES
    ('near', 'in', 29, 103000, 1, 0, 1), ('far', 'in', 1, 102400, 0, 0, 0), ('near', 'out', 0, 0, 52, 50600, 0)
) AS w(dir, file, r, rb, w, wb, bad)
LEFT JOIN (SELECT f.* FROM file_top(top => 1000) AS f JOIN io USING (pid)) AS f ON f.dir_name = w.dir AND f.name = w.file
WHERE (f.reads IS DISTINCT FROM r) OR (f.read_bytes IS DISTINCT FROM rb) OR (f.write_bytes IS DISTINCT FROM wb)
    OR (f.writes IS DISTINCT FROM w) OR (f.failed IS DISTINCT FROM bad);
-- by directory
SELECT * FROM dirs AS d LEFT JOIN dir_top(top => 1000) AS t ON t.dir_ino = d.ino AND t.dir_name = d.name
WHERE (t.read_bytes IS DISTINCT FROM CASE d.name WHEN 'far' THEN 102400 ELSE 103000 END)
    OR (t.files IS DISTINCT FROM CASE d.name WHEN 'far' THEN 1 ELSE 2 END);
-- rates add up, with the syncs of all three, and the file that was made
SELECT * FROM (
    SELECT sum(fsyncs) AS fsyncs, sum(reads) AS reads, sum(creates) AS creates, sum(getattrs) AS getattrs FROM vfs_rates(interval_ns => '100ms')
) AS v
CROSS JOIN (SELECT
    (SELECT count(*) FROM file_io WHERE op IN ('read', 'readv')) AS all_reads,
    (SELECT count(*) FROM file_io WHERE op = 'open' AND name = 'out' AND created) AS out_made,
    (SELECT count(*) FROM stats_truth WHERE error IS NULL) AS stats_done
) AS w
WHERE fsyncs <> 12 OR reads <> all_reads OR out_made <> 1 OR creates < 2 OR getattrs < stats_done;
-- each stat that strace saw has its row
SELECT t.*, s.n FROM (
    SELECT path, coalesce(error, '') AS error, count(*) AS calls FROM stats_truth GROUP BY 1, 2
) AS t
LEFT JOIN (
    SELECT path, coalesce(errno_name(ret), '') AS error, count(*) AS n FROM stats WHERE comm = 'perl' GROUP BY 1, 2
) AS s ON s.path = t.path AND s.error = t.error
WHERE t.path LIKE 'missing%' AND (s.n IS DISTINCT FROM t.calls) OR t.path = 'near' AND (s.n < 51);
-- strace saw them all
SELECT count(*) FROM stats_truth WHERE path LIKE 'missing-%' AND error = 'ENOENT' HAVING count(*) <> 100;

-- each process did on its file system as much as it was to do
SELECT t.comm, t.fstype, t.op, t.calls, l.calls AS seen, t.failed, l.failed AS seen_failed, t.bytes, l.bytes AS seen_bytes
FROM work AS t
LEFT JOIN file_latency(by => 'process') AS l ON l.comm = t.comm AND l.fstype = t.fstype AND l.op = t.op
WHERE (l.calls IS DISTINCT FROM t.calls) OR (l.failed IS DISTINCT FROM t.failed) OR (l.bytes IS DISTINCT FROM t.bytes) OR (SELECT count(*) FROM work) <> 8;

-- of its file system only, and not of the other one
SELECT * FROM file_latency(by => 'process') WHERE comm = 'disk_io' AND fstype = 'tmpfs' OR comm = 'memory_io' AND fstype = 'ext4';

-- a write of a file system that stands still for 0.3 s takes so long, and not longer than all of it
SELECT * FROM took AS t
LEFT JOIN (SELECT calls, bytes, min_ns, max_ns FROM file_latency(by => 'process', fstype => 'ext4') WHERE comm = 'frozen_io' AND op = 'write') AS l ON true
WHERE l.calls IS NULL OR l.calls <> 1 OR l.bytes <> 4096 OR l.min_ns < 300000000 OR l.max_ns > t.took_s * 1e9;

-- it is among the slow ones, with its file
SELECT count(*) FROM file_slow(min_ns => '300ms', ops => 'data', top => 100000)
WHERE comm = 'frozen_io' AND op = 'write' AND fstype = 'ext4' AND name = 'file' AND dir_name = '/' AND pos = 122880 AND bytes = 4096 AND error IS NULL
HAVING count(*) <> 1;

-- a process does one call after the other, so that all of them took no longer than it ran; and each took some time
SELECT l.comm, sum(l.sum_ns) AS sum_ns, min(l.min_ns) AS min_ns, t.took_s
FROM file_latency(by => 'process') AS l CROSS JOIN took AS t
WHERE l.comm IN ('disk_io', 'memory_io')
GROUP BY l.comm, t.took_s
HAVING sum(l.sum_ns) > t.took_s * 1e9 OR min(l.min_ns) <= 0;

-- calls that were slower than all are none, and all are slower than nothing
SELECT * FROM
    (SELECT sum(calls) AS all_calls FROM file_latency(files => 'all')) AS a,
    (SELECT count(*) AS none FROM file_slow(files => 'all', min_ns => '1h')) AS b,
    (SELECT count(*) AS rows FROM file_io) AS c
WHERE all_calls <> rows OR none <> 0 OR rows < 140;

-- where the kernel chooses by file system and time, it chooses the calls that were so slow there
SELECT * FROM
    (SELECT count(*) AS chosen FROM slow_writes WHERE fstype = 'ext4' AND dur_ns >= 200000000) AS a,
    (SELECT count(*) AS others FROM slow_writes WHERE NOT (fstype = 'ext4' AND dur_ns >= 200000000)) AS b,
    (SELECT count(*) AS frozen FROM slow_writes WHERE comm = 'frozen_io') AS c
WHERE chosen NOT BETWEEN 1 AND 20 OR others <> 0 OR frozen <> 1;
