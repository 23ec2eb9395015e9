-- @tests opensnoop

-- strace saw the calls of the workload, and all of its lines were understood
SELECT * FROM (SELECT (SELECT count(*) FROM truth) AS understood, (SELECT min(calls) FROM calls) AS calls) AS lines
WHERE understood <> calls OR understood < 130;
-- each call that strace saw has its row, and each row of these processes its call
SELECT t.pid, t.syscall, t.path, t.error, t.calls, o.pid AS o_pid, o.path AS o_path, o.error AS o_error, o.calls AS o_calls FROM (
    SELECT pid, syscall, path, error, CASE WHEN ret >= 0 THEN ret END AS fd, count(*) AS calls FROM truth GROUP BY 1, 2, 3, 4, 5
) AS t
FULL JOIN (
    SELECT pid, syscall, path, errno_name(ret) AS error, CASE WHEN ret >= 0 THEN ret END AS fd, count(*) AS calls
    FROM opens WHERE pid IN (SELECT pid FROM truth) AND via = 'native' GROUP BY 1, 2, 3, 4, 5
) AS o
ON t.pid = o.pid AND t.syscall = CAST(o.syscall AS VARCHAR) AND coalesce(t.path, '') = coalesce(o.path, '')
    AND coalesce(t.error, '') = coalesce(o.error, '') AND coalesce(t.fd, -1) = coalesce(o.fd, -1)
WHERE t.calls IS DISTINCT FROM o.calls;
-- every call of the four and seven kinds of error were there
SELECT * FROM (
    SELECT count(DISTINCT syscall) AS syscalls, count(DISTINCT error) AS errors FROM truth
) AS kinds
WHERE syscalls <> 4 OR errors < 7;
-- 32-bit calls are told too
SELECT w.path, w.is_open, o.via, o.flags, o.ret FROM ways AS w LEFT JOIN opens AS o ON o.path = w.path AND o.syscall = 'openat' AND o.via = 'ia32'
WHERE (o.flags IS DISTINCT FROM w.flags) OR ((o.ret >= 0) IS DISTINCT FROM (CAST(w.is_open AS VARCHAR) = 'true'));
-- which are there in guests
SELECT * FROM place WHERE place = 'guest' AND (SELECT count(*) FROM ways) <> 2;
-- the analysis tells the failures
SELECT * FROM (SELECT sum(opens) AS failed FROM opens(only => 'failed', top => 100000) WHERE path LIKE 'files/%') AS a
CROSS JOIN (SELECT count(*) AS expected FROM truth WHERE ret < 0 AND path LIKE 'files/%') AS t
WHERE failed <> expected OR expected < 100;
