-- @tests execsnoop

-- each process tried one program, and is there with its arguments as a shell would write them, or with the error it got
SELECT t.pid, t.program, t.error, t.args, e.pid AS seen, e.path, e.ret, e.args AS seen_args
FROM tried AS t
LEFT JOIN execs AS e ON e.pid = t.pid
WHERE e.pid IS NULL OR e.path <> t.program OR e.ret <> -t.error OR e.args IS DISTINCT FROM CASE WHEN t.error = 0 THEN t.args END;

-- three worked, five did not, and none is there twice
SELECT * FROM (
    SELECT count(*) FILTER (WHERE e.ret = 0) AS worked, count(*) FILTER (WHERE e.ret < 0) AS failed, count(DISTINCT e.pid) AS processes
    FROM tried AS t
    JOIN execs AS e ON e.pid = t.pid
) AS n
WHERE worked <> 3 OR failed <> 5 OR processes <> 8;

-- the one whose arguments are too long for the column says so, and no other
SELECT e.path, e.args, e.cuts FROM execs AS e JOIN tried AS t ON e.pid = t.pid
WHERE (e.cuts <> 0) <> (length(coalesce(e.args, '')) >= 500);

-- the names of the errors
SELECT t.program, x.error FROM tried AS t JOIN execs(only => 'failed') AS x ON x.pid = t.pid
WHERE x.error <> CASE t.error WHEN 2 THEN 'ENOENT' WHEN 13 THEN 'EACCES' WHEN 8 THEN 'ENOEXEC' WHEN 20 THEN 'ENOTDIR' WHEN 7 THEN 'E2BIG' END;

-- who tried is a child of the load, root, and has its name unless it became another program
SELECT e.pid, e.ppid, e.comm, e.uid FROM execs() AS e JOIN tried AS t ON e.pid = t.pid
WHERE e.uid <> 0 OR e.ppid IS NULL OR e.ppid <> (SELECT min(p.ppid) FROM processes AS p JOIN tried ON p.pid = tried.pid WHERE p.ev = 'fork') OR e.comm <> 'perl';
