-- @tests funccount, vfscount
-- @tool funccount: funccount 'vfs_*' | recorder record 'calls=fentry:vfs_* --count probe' -d 10 | analyze sql x.trace "SELECT target AS function, sum(count) AS calls FROM calls JOIN probes USING (probe) GROUP BY target ORDER BY calls DESC"
--     A call that comes while the probe runs on that processor is missed there without a word. Here each function is counted by itself, and
--     each second, and those that cannot be observed are named.
-- @tool vfscount: vfscount.bt | recorder record 'calls=fentry:vfs_* --count probe' -d 10 | analyze sql x.trace "SELECT target AS function, sum(count) AS calls FROM calls JOIN probes USING (probe) GROUP BY target ORDER BY calls DESC"

-- each function was called as often as the load did
SELECT c.what, c.calls, f.calls AS seen
FROM called AS c
LEFT JOIN (SELECT target, sum(count) AS calls FROM calls JOIN probes USING (probe) GROUP BY target) AS f ON f.target LIKE '%\_' || c.what
WHERE f.calls IS DISTINCT FROM c.calls;

-- each probe is a function or tracepoint of its own that matches, and there are some
SELECT count(*) AS probes, count(DISTINCT target) AS targets FROM probes
WHERE event = 'calls' AND attached AND regexp_like(target, '(vfs|sys_enter)_[mr].*dir$')
HAVING count(*) < 2 OR count(DISTINCT target) <> count(*) OR count(*) <> (SELECT count(*) FROM probes WHERE event = 'calls' AND attached);

-- as many programs were executed as processes say, and as many ended
SELECT e.execs, p.execs AS of_processes, p.exits FROM
    (SELECT sum(count) FILTER (WHERE target LIKE '%exec') AS execs FROM ends JOIN probes USING (probe)) AS e,
    (SELECT count(*) FILTER (WHERE ev = 'exec') AS execs, count(*) FILTER (WHERE ev = 'exit') AS exits FROM processes) AS p
WHERE e.execs <> p.execs OR e.execs IS NULL OR p.exits = 0;
