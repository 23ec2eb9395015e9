-- @tests trace, argdist, stackcount, funcinterval, ksnoop
-- @tool trace: trace 'r::vfs_read "%d", retval' | recorder record 'reads=fn:vfs_read{ name=file->f_path.dentry->d_name.name:string, count, retval }' | analyze sql x.trace "SELECT ts, pid, comm, name, count, retval FROM reads"
--     Arguments and the result are in one row, typed by the running kernel; nothing is compiled on the machine that is recorded.
-- @tool argdist: argdist -H 'r::vfs_read(struct file *f, char *b, size_t n):u64:$retval' | recorder record 'reads=fn:vfs_read{ count, retval }' | analyze sql x.trace "SELECT log2_floor(retval) AS log2, count(*) AS n FROM reads WHERE retval > 0 GROUP BY log2 ORDER BY log2"
--     Every value is a row, so that other ranges, percentiles and conditions can be asked afterwards.
-- @tool stackcount: stackcount vfs_read | recorder record --stacks kernel 'reads=fn:vfs_read{ retval }' | analyze sql x.trace "SELECT stack_text(kstack) AS stack, count(*) AS n FROM reads GROUP BY stack ORDER BY n DESC"
--     Stacks do not collide, and none is dropped silently where a map is full.
-- @tool funcinterval: funcinterval vfs_rmdir | recorder record 'gone=fn:vfs_rmdir{ retval }' | analyze sql x.trace "SELECT ns(ts) - lag(ns(ts)) OVER (ORDER BY ts) AS interval_ns FROM gone"
--     One start time for all processors and threads there; here choose with PARTITION BY whose calls follow each other.
-- @tool ksnoop: ksnoop trace 'vfs_read(file, count, return)' | recorder record 'reads=fn:vfs_read{ inode=file->f_inode->i_ino, count, retval }' | analyze sql x.trace "SELECT inode, count, retval FROM reads"

-- each read of the file is a row with what was asked and what came
SELECT f.name, r.calls, r.bytes, r.asked
FROM files f
LEFT JOIN (
    SELECT name, count(*) AS calls, sum(retval) AS bytes, max(count) AS asked FROM reads WHERE name = 'known' GROUP BY name
) r ON r.name = f.name
WHERE r.name IS NULL OR r.calls <> f.calls OR r.bytes <> f.bytes OR r.asked <> f.asked;

-- the distribution has them in one class
SELECT log2_floor(retval) AS log2, count(*) AS n FROM reads WHERE name = 'known' GROUP BY log2
HAVING NOT (log2_floor(4096) = log2_floor(max(retval)) AND count(*) = (SELECT calls FROM files));

-- one path leads to these reads, and it begins with the function
SELECT 'stacks' AS what, count(*) AS stacks
FROM (SELECT DISTINCT kstack, stack_text(kstack) AS stack FROM reads WHERE name = 'known')
HAVING count(*) <> count(*) FILTER (WHERE stack LIKE '%vfs_read%') OR count(*) = 0;

-- each directory went once
SELECT d.name, count(g.name) AS times
FROM dirs d LEFT JOIN gone g ON g.name = d.name AND g.retval = 0
GROUP BY d.name HAVING count(g.name) <> 1;

-- between two of them lies a sleep of 50 ms
SELECT * FROM (SELECT name, ns(ts) - lag(ns(ts)) OVER (ORDER BY ts) AS interval_ns FROM gone WHERE name LIKE 'interval-%')
WHERE interval_ns < 50000000;
