-- @tests hardirqs, softirqs, softirqslower, wqlat, oomkill

-- the handlers of each interrupt began as often as the kernel counted interrupts between the beginning and the end
SELECT c.nr, c.least, i.calls, c.most
FROM (
    SELECT
        nr,
        max(CASE WHEN at = 2 THEN count END) - max(CASE WHEN at = 1 THEN count END) AS least,
        max(CASE WHEN at = 3 THEN count END) - max(CASE WHEN at = 0 THEN count END) AS most
    FROM irq_counts
    GROUP BY nr
) AS c
LEFT JOIN (
    SELECT nr, max(calls) AS calls FROM irq_time(kind => 'hard') GROUP BY nr
) AS i ON i.nr = c.nr
WHERE coalesce(i.calls, 0) NOT BETWEEN c.least AND c.most;

-- that of the serial line interrupted, and has its name
SELECT sum(i.calls)
FROM irq_time(kind => 'hard') AS i
JOIN (SELECT DISTINCT nr, name FROM irq_counts WHERE at = 0) AS c ON c.nr = i.nr AND c.name = i.name
WHERE i.name = 'ttyS0'
HAVING coalesce(sum(i.calls), 0) = 0;

-- softirqs began as often as the kernel counted them
SELECT c.name, c.least, i.calls, c.most
FROM (
    SELECT
        name,
        max(CASE WHEN at = 2 THEN count END) - max(CASE WHEN at = 1 THEN count END) AS least,
        max(CASE WHEN at = 3 THEN count END) - max(CASE WHEN at = 0 THEN count END) AS most
    FROM softirq_counts
    GROUP BY name
) AS c
LEFT JOIN irq_time(kind => 'soft') AS i ON i.name = c.name
WHERE coalesce(i.calls, 0) NOT BETWEEN c.least AND c.most;

-- packets and timers made some
SELECT count(*) FROM irq_time(kind => 'soft') WHERE name IN ('TIMER', 'NET_RX', 'RCU', 'SCHED') AND calls > 0 HAVING count(*) < 3;

-- on each processor together they are all, and none takes longer than the recording
SELECT a.name, a.calls, b.calls AS of_cpus, a.p50_ns, a.max_ns, t.length_ns
FROM irq_time() AS a
JOIN (SELECT kind, nr, name, sum(calls) AS calls FROM irq_time(by => 'cpu') GROUP BY kind, nr, name) AS b
    ON b.kind = a.kind AND b.nr = a.nr AND b.name = a.name,
    (SELECT ns(end_ts) - ns(start_ts) AS length_ns FROM traces) AS t
WHERE a.calls <> b.calls OR a.max_ns > t.length_ns OR a.max_ns < a.p50_ns;

-- a softirq waits at most once for each time that it runs, not longer than the recording takes, and not at all is impossible
SELECT d.name, d.waits, c.calls, d.max_ns
FROM (SELECT name, count(*) AS waits, min(delay_ns) AS min_ns, max(delay_ns) AS max_ns FROM softirq_delay(top => 10000000) GROUP BY name) AS d
JOIN irq_time(kind => 'soft') AS c ON c.name = d.name,
    (SELECT ns(end_ts) - ns(start_ts) AS length_ns FROM traces) AS t
WHERE d.waits > c.calls OR d.min_ns <= 0 OR d.max_ns > t.length_ns;

-- that of timers nearly always waits (it is raised by the timer's interrupt)
SELECT c.name, c.calls, d.waits
FROM irq_time(kind => 'soft') AS c
LEFT JOIN (SELECT name, count(*) AS waits FROM softirq_delay(top => 10000000) GROUP BY name) AS d ON d.name = c.name
WHERE c.name = 'TIMER' AND coalesce(d.waits, 0) < 0.8 * c.calls;

-- the kernel called its helper as often as the helper was called, each time by a work
SELECT w.works, h.calls
FROM helped AS h
LEFT JOIN (SELECT sum(works) AS works FROM work_latency(top => 100000) WHERE function LIKE 'call_usermodehelper_exec_work%') AS w ON true
WHERE (w.works IS DISTINCT FROM h.calls) OR h.calls < 5;

-- no work waited or ran for no time, and the same works are counted by queue
SELECT f.works, q.works AS of_queues, f.low_ns, f.low_run_ns
FROM
    (SELECT sum(works) AS works, min(wait_p50_ns) AS low_ns, min(run_max_ns) AS low_run_ns FROM work_latency(top => 100000)) AS f,
    (SELECT sum(works) AS works FROM work_latency(by => 'workqueue', top => 100000)) AS q
WHERE f.works <> q.works OR f.low_ns <= 0 OR f.low_run_ns <= 0;

-- whom the kernel says to have killed is the victim
SELECT k.pid, k.comm, k.anon_kb, o.victim_comm, o.anon_rss_bytes
FROM killed AS k
LEFT JOIN ooms() AS o ON o.victim_pid = k.pid
WHERE o.victim_pid IS NULL OR (o.victim_comm IS DISTINCT FROM k.comm) OR NOT o.chosen OR o.points <= 0 OR o."order" <> 0
    OR coalesce(o.pid, 0) = k.pid;

-- from Linux 6.8 on with the size that it says, and before with that or none (a moment later, while it still runs)
SELECT k.pid, k.anon_kb, o.anon_rss_bytes, v.major, v.minor
FROM killed AS k
JOIN ooms() AS o ON o.victim_pid = k.pid, kernel AS v
WHERE abs(coalesce(CAST(o.anon_rss_bytes AS BIGINT), CASE WHEN v.major = 6 AND v.minor < 8 THEN 1024 * k.anon_kb ELSE 0 END) - 1024 * k.anon_kb) > 1048576;

-- there is one, in the cgroup that counts one
SELECT o.victims, o.paths, c.path, c.kills
FROM cgroup AS c, (SELECT count(*) AS victims, min(memcg) AS path, count(memcg) AS paths FROM ooms()) AS o
WHERE o.victims <> c.kills OR c.kills <> 1 OR (o.path IS DISTINCT FROM c.path);
