-- @tests syscount

-- strace saw the same calls, each as often; the first execve is made while the program is still called strace
SELECT coalesce(s.name, o.name) AS name, s.calls AS strace, o.calls AS ours
FROM strace AS s
FULL JOIN (
    SELECT syscall_name(nr) AS name, count(*) AS calls FROM syscalls
    WHERE ev = 'enter' AND comm NOT IN ('strace', 'recorder') AND NOT compat GROUP BY name
) AS o ON o.name = s.name
WHERE coalesce(s.name, o.name) <> 'execve' AND coalesce(s.calls, 0) <> coalesce(o.calls, 0);

-- and as many of them failed
SELECT s.name, s.errors AS strace, o.errors AS ours
FROM strace AS s
JOIN (
    SELECT syscall_name(nr) AS name, count(*) FILTER (WHERE ret BETWEEN -511 AND -1) AS errors FROM syscalls
    WHERE ev = 'exit' AND comm NOT IN ('strace', 'recorder') GROUP BY name
) AS o ON o.name = s.name
WHERE s.errors <> o.errors;

-- ten of twenty attempts to make a directory failed
SELECT * FROM strace WHERE name = 'mkdir' AND NOT (calls = 20 AND errors = 10);

-- the analysis has them, too
SELECT * FROM syscalls(by => 'both', like => 'mkdir', top => 100) WHERE comm = 'mkdir' AND NOT (calls = 20 AND errors = 10 AND open = 0);

-- programs that ended did not return
SELECT sum(open) AS open, (SELECT calls FROM strace WHERE name = 'exit_group') AS ended
FROM syscalls(by => 'both', like => 'exit_group', top => 1000) WHERE comm NOT IN ('strace', 'recorder')
HAVING sum(open) <> (SELECT calls FROM strace WHERE name = 'exit_group');

-- two sleeps took at least the 50 ms that were asked for
SELECT count(*) AS sleeps, min(p50_ns) AS shortest
FROM syscalls(by => 'both', like => '%nanosleep', slower_ns => 1000000) WHERE comm = 'sleep'
HAVING coalesce(sum(calls), 0) <> 2 OR min(p50_ns) < 50000000;

-- there is no return without a call
SELECT class, count(*) AS n FROM pairs(syscalls, begin => ev = 'enter', end => ev = 'exit', key => tid)
WHERE comm = 'mkdir' AND class NOT IN ('paired', 'outstanding') GROUP BY class;
