-- @tests klockstat

-- who wanted the file's lock waited for as long as another had it, once
SELECT t.least_ns, t.most_ns, l.kind, l.access, l.waits, l.wait_ns
FROM waiter AS t
LEFT JOIN (SELECT * FROM lock_waits(by => 'process', top => 100000) WHERE comm = 'lock_waiter' AND max_ns >= 300000000) AS l ON true
WHERE l.kind IS NULL OR l.kind <> 'rwsem' OR l.access <> 'writing' OR l.failed <> 0 OR l.max_ns NOT BETWEEN t.least_ns AND t.most_ns;

-- by lock it is one lock, and by stack it wanted to write to a file
SELECT * FROM
    (SELECT count(*) AS locks FROM lock_waits(by => 'lock', top => 100000) WHERE max_ns >= 300000000 AND lock IS NOT NULL) AS a,
    (SELECT count(*) AS stacks FROM lock_waits(by => 'stack', top => 100000) WHERE max_ns >= 300000000 AND stack LIKE '%down_write%vfs_write%') AS b
WHERE locks <> 1 OR stacks <> 1;

-- however they are counted, they are the same
SELECT * FROM
    (SELECT sum(waits) AS kinds, sum(wait_ns) AS kinds_ns FROM lock_waits(top => 100000)) AS a,
    (SELECT sum(waits) AS processes, sum(wait_ns) AS processes_ns FROM lock_waits(by => 'process', top => 100000)) AS b,
    (SELECT sum(waits) AS locks, sum(wait_ns) AS locks_ns FROM lock_waits(by => 'lock', top => 100000)) AS c
WHERE kinds <> processes OR kinds <> locks OR kinds_ns <> processes_ns OR kinds_ns <> locks_ns OR kinds < 1;

-- no wait is longer than the recording
SELECT l.* FROM lock_waits(top => 100000) AS l, (SELECT ns(end_ts) - ns(start_ts) AS length_ns FROM traces) AS t WHERE l.max_ns > t.length_ns OR l.p50_ns <= 0;
