-- @tests killsnoop, sigsnoop, capable

-- every signal that was sent is there once, as it was sent; natively perhaps not that of the timer, which comes in an interrupt (see
-- sched.sql)
SELECT t.who, t.signals, s.signals AS seen, t.ignored, s.ignored AS seen_ignored
FROM sent AS t
LEFT JOIN (
    SELECT target_pid, sig, code, sum(signals) AS signals, sum(ignored) AS ignored
    FROM signals(top => 100000)
    GROUP BY target_pid, sig, code
) AS s ON s.target_pid = t.target_pid AND s.sig = t.sig AND s.code = t.code
WHERE ((s.signals IS DISTINCT FROM t.signals) OR (s.ignored IS DISTINCT FROM t.ignored))
    AND (t.who <> 'timer' OR s.signals IS NOT NULL OR EXISTS (SELECT 1 FROM place WHERE place = 'guest'));

-- there are six kinds of them
SELECT count(*) FROM sent HAVING count(*) <> 6;

-- the load, whose child the target is, sent what it sent, a timer is nobody, and who writes into a pipe gets it from itself
SELECT t.who, s.comm, s.pid, p.ppid
FROM sent AS t
JOIN signals(top => 100000) AS s ON s.target_pid = t.target_pid AND s.sig = t.sig AND s.code = t.code
LEFT JOIN (SELECT pid, min(ppid) AS ppid FROM processes WHERE ev = 'fork' GROUP BY pid) AS p ON p.pid = t.target_pid
WHERE CASE t.who
    WHEN 'timer' THEN s.pid IS NOT NULL OR s.comm IS NOT NULL
    WHEN 'pipe' THEN s.pid <> t.target_pid
    WHEN 'queued' THEN s.comm <> 'kill'
    ELSE s.pid <> p.ppid
END;

-- nothing goes to a process that is not there, and nothing is signal 0
SELECT * FROM signals(top => 100000, chld => 'yes') WHERE target_pid = 4194303 OR sig = 0;

-- the target took each USR1 that did not wait already
SELECT t.target_pid, t.sig, d.taken, t.sent
FROM (
    SELECT target_pid, sig, sum(signals - ignored - merged) AS sent
    FROM signals(top => 100000)
    WHERE target_pid IN (SELECT target_pid FROM sent WHERE who = 'handled')
    GROUP BY target_pid, sig
) AS t
LEFT JOIN (
    SELECT target_pid, sig, count(*) AS taken FROM signals WHERE ev = 'deliver' GROUP BY target_pid, sig
) AS d ON d.target_pid = t.target_pid AND d.sig = t.sig
WHERE t.sig = 10 AND coalesce(d.taken, 0) <> t.sent;

-- its parent was told that it had ended, by itself
SELECT count(*) FROM signals(top => 100000, chld => 'yes')
WHERE name = 'SIGCHLD' AND code > 0 AND pid IN (SELECT target_pid FROM sent WHERE who = 'handled')
HAVING count(*) <> 1;

-- each chroot asked once for CAP_SYS_CHROOT: root has it, nobody has not
SELECT t.uid, t.granted, c.granted AS seen_granted, t.refused, c.refused AS seen_refused
FROM asked AS t
LEFT JOIN capabilities(top => 100000) AS c ON c.comm = 'chroot' AND c.uid = t.uid AND c.cap = t.cap
WHERE c.cap IS NULL OR c.granted <> t.granted OR c.refused <> t.refused OR c.name <> 'CAP_SYS_CHROOT';

-- five were granted and three refused
SELECT sum(granted), sum(refused) FROM asked HAVING sum(granted) <> 5 OR sum(refused) <> 3;
