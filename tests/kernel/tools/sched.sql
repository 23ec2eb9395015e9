-- @tests runqlat, runqslower, runqlen, cpuunclaimed, wakeuptime, offwaketime, cpudist, cpuwalk, offcputime, exitsnoop, pidpersec

-- (The virtual machine in which native tests ran first has an agent, and while a thread of it runs its Linux 6.18 fires no tracepoint on
-- that processor: perf, beside the recorder, lacks the same switches, 29 of 29. So natively one in twenty may be missing, in guests none.)

-- of each spinner there are at least as many waits as the kernel counted, and those waits took as long as it says (within 5 %)
SELECT s.pid, s.runs, s.wait_ns, count(w.nth) AS waits, sum(w.wait_ns) AS seen_ns
FROM spinners AS s
CROSS JOIN (SELECT CASE WHEN place = 'guest' THEN 1 ELSE 0.95 END AS part FROM place) AS p
LEFT JOIN (
    SELECT tid, wait_ns, row_number() OVER (PARTITION BY tid ORDER BY ts) AS nth
    FROM runq_waits(since => 'wakeup')
    WHERE ran
) AS w ON w.tid = s.pid AND w.nth <= s.runs
GROUP BY s.pid, s.runs, s.wait_ns, p.part
HAVING count(w.nth) < s.runs * p.part OR s.runs < 10 OR sum(w.wait_ns) NOT BETWEEN 0.95 * p.part * s.wait_ns AND 1.05 * s.wait_ns;

-- the wait after those is the one at the gate, for which the spinner was woken, and most of those before were preemptions (where some
-- are missing, a second waking at the gate may be among as many)
SELECT
    s.pid, s.runs, count(w.nth) FILTER (WHERE w.nth > s.runs * p.part AND w.why = 'woken') AS at_gate,
    count(w.nth) FILTER (WHERE w.why = 'preempted') AS preempted
FROM spinners AS s
CROSS JOIN (SELECT CASE WHEN place = 'guest' THEN 1 ELSE 0.95 END AS part FROM place) AS p
LEFT JOIN (
    SELECT tid, why, row_number() OVER (PARTITION BY tid ORDER BY ts) AS nth
    FROM runq_waits(since => 'wakeup')
) AS w ON w.tid = s.pid AND w.nth <= s.runs + 1
GROUP BY s.pid, s.runs, p.part
HAVING
    count(w.nth) FILTER (WHERE w.nth > s.runs * p.part AND w.why = 'woken') NOT BETWEEN 1 AND CASE WHEN p.part = 1 THEN 1 ELSE 2 END
    OR count(w.nth) FILTER (WHERE w.why = 'preempted') < s.runs / 2;

-- from the waking it is as long or longer, and there are as many
SELECT a.tid, a.waits, b.waits AS from_waking, a.wait_ns, b.wait_ns AS from_waking_ns
FROM runq_latency(by => 'thread', since => 'wakeup', top => 100000) AS a
LEFT JOIN runq_latency(by => 'thread', top => 100000) AS b ON a.tid = b.tid AND a.pid = b.pid AND a.comm = b.comm
WHERE a.tid IN (SELECT pid FROM spinners) AND (b.waits IS NULL OR b.waits <> a.waits OR b.wait_ns < a.wait_ns OR a.max_ns < a.p99_ns);

-- runq_latency has the three spinners
SELECT count(*) FROM runq_latency(by => 'thread', top => 100000) WHERE tid IN (SELECT pid FROM spinners) HAVING count(*) < 3;

-- each ran as long as the kernel says, and after the gate no longer than that took
SELECT s.pid, s.run_ns, g.gate_s, c.time_ns, c.stretches, s.runs
FROM spinners AS s
CROSS JOIN gate AS g
CROSS JOIN (SELECT CASE WHEN place = 'guest' THEN 1 ELSE 0.95 END AS part FROM place) AS p
LEFT JOIN (
    SELECT pid, sum(time_ns) AS time_ns, sum(stretches) AS stretches FROM cpu_dist(by => 'process', top => 100000) GROUP BY pid
) AS c ON c.pid = s.pid
WHERE c.pid IS NULL OR c.time_ns NOT BETWEEN 0.9 * s.run_ns AND 1.1 * s.run_ns + 1e9 * g.gate_s OR c.stretches < s.runs * p.part;

-- it was off the processor in between
SELECT s.pid, s.runs, c.stretches, c.time_ns
FROM spinners AS s
CROSS JOIN (SELECT CASE WHEN place = 'guest' THEN 1 ELSE 0.95 END AS part FROM place) AS p
LEFT JOIN (
    SELECT pid, sum(time_ns) AS time_ns, sum(stretches) AS stretches FROM cpu_dist(of => 'off', by => 'process', top => 100000) GROUP BY pid
) AS c ON c.pid = s.pid
WHERE c.pid IS NULL OR c.stretches < (s.runs - 1) * p.part OR c.time_ns < 0.95 * s.wait_ns;

-- while the load slept for a second, one of the three ran on processor 0 and two waited
SELECT sum(time_ns) FROM runq_length() WHERE cpu = 0 AND length >= 2 HAVING coalesce(sum(time_ns), 0) < 980000000;

-- all lengths of a processor together are the recording
SELECT cpu, sum(share) FROM runq_length() GROUP BY cpu HAVING sum(share) NOT BETWEEN 0.999 AND 1.001 OR min(time_ns) < 0;

-- what waits in queues is what threads waited
SELECT q.thread_ns, s.wait_ns
FROM (SELECT sum(length * time_ns) AS thread_ns FROM runq_length()) AS q, (SELECT sum(wait_ns) AS wait_ns FROM spinners) AS s
WHERE q.thread_ns IS NULL OR q.thread_ns < 0.98 * s.wait_ns;

-- in a guest two waited for as long as processor 1 was idle, and of a recording of some processes nobody knows
SELECT u.unclaimed_ns, t.idle_ns, p.place
FROM
    (SELECT coalesce(sum(unclaimed_ns), 0) AS unclaimed_ns FROM unclaimed()) AS u,
    (SELECT 10000000 * (max(idle_ticks) - min(idle_ticks)) AS idle_ns FROM ticks WHERE cpu = 1) AS t,
    place AS p
WHERE CASE WHEN p.place = 'guest' THEN u.unclaimed_ns < 0.9 * t.idle_ns - 50000000 ELSE u.unclaimed_ns <> 0 END;

-- processor 0 was busy at least while the spinners ran
SELECT b.busy_ns, s.run_ns
FROM (SELECT max(busy_ns) AS busy_ns FROM cpu_busy() WHERE cpu = 0) AS b, (SELECT sum(run_ns) AS run_ns FROM spinners) AS s
WHERE b.busy_ns IS NULL OR b.busy_ns < 0.98 * s.run_ns;

-- and no processor was busy while the kernel found it idle
SELECT b.cpu, b.busy_ns, b.share, t.idle_ns
FROM cpu_busy() AS b
JOIN (SELECT cpu, 10000000 * (max(idle_ticks) - min(idle_ticks)) AS idle_ns FROM ticks GROUP BY cpu) AS t ON t.cpu = b.cpu
WHERE b.busy_ns / b.share - b.busy_ns < 0.95 * t.idle_ns - 50000000 OR b.share > 1.001;

-- each slept as often as the kernel counts, and the other woke it no more often; besides one waits for the other's report and end
SELECT p.tid, p.voluntary, sum(w.wakeups) AS wakeups, sum(w.wakeups) FILTER (WHERE w.waker_tid = p.other) AS by_other
FROM pingpong AS p
LEFT JOIN wakers(by => 'thread', top => 100000) AS w ON w.tid = p.tid
GROUP BY p.tid, p.voluntary
HAVING coalesce(sum(w.wakeups), 0) < p.voluntary OR sum(w.wakeups) FILTER (WHERE w.waker_tid = p.other) > p.voluntary + 4;

-- at least one of the two had to sleep for most bytes: which one is up to the scheduler
SELECT sum(voluntary) FROM pingpong HAVING coalesce(sum(voluntary), 0) < 150;

-- nearly all these sleeps were in a read of a pipe, and the other ended them by a write
SELECT * FROM
    (SELECT sum(voluntary) AS voluntary FROM pingpong) AS p,
    (
        SELECT sum(w.wakeups) AS wakeups
        FROM pingpong AS p
        JOIN wakers(by => 'thread', stacks => 'both', top => 100000) AS w
            ON w.tid = p.tid AND w.waker_tid = p.other AND w.stack LIKE '%pipe_read%' AND w.waker_stack LIKE '%pipe_write%'
    ) AS w
WHERE w.wakeups IS NULL OR w.wakeups < 0.9 * p.voluntary;

-- a timer wakes who sleeps for a time, which is no thread (the timer runs already when the thread leaves its processor)
SELECT s.pid, w.waker_comm, w.max_ns
FROM sleeps AS s
JOIN wakers(by => 'process', stacks => 'both', top => 100000) AS w ON w.pid = s.pid AND w.stack LIKE '%nanosleep%'
WHERE w.waker_pid IS NOT NULL OR w.waker_comm IS NOT NULL OR w.wakeups <> 1 OR w.max_ns < 0.9 * s.asked_ns;

-- each of them is told in a guest; natively some are not, as above (perf, beside it, lacks the same ones)
SELECT p.place, count(w.pid) AS told
FROM place AS p
CROSS JOIN sleeps AS s
LEFT JOIN wakers(by => 'process', stacks => 'both', top => 100000) AS w ON w.pid = s.pid AND w.stack LIKE '%nanosleep%'
GROUP BY p.place
HAVING count(w.pid) < CASE WHEN p.place = 'guest' THEN 10 ELSE 5 END;

-- each of these sleeps is a stretch off the processor (the call may be preempted besides)
SELECT s.pid, o.stretches, o.off_ns
FROM sleeps AS s
JOIN off_cpu(by => 'process', state => 'sleeping', top => 100000) AS o ON o.pid = s.pid AND o.stack LIKE '%nanosleep%'
WHERE o.stretches <> 1 OR o.off_ns < 0.9 * s.asked_ns;

-- and there are ten, natively those of which the end is told
SELECT p.place, count(o.pid) AS told
FROM place AS p
CROSS JOIN sleeps AS s
LEFT JOIN off_cpu(by => 'process', state => 'sleeping', min_ns => 90000000, top => 100000) AS o ON o.pid = s.pid
GROUP BY p.place
HAVING count(o.pid) NOT BETWEEN CASE WHEN p.place = 'guest' THEN 10 ELSE 5 END AND 10;

-- children ended as they did
SELECT c.pid, c.code, c.signal, e.code AS seen_code, e.signal AS seen_signal, e.age_ns
FROM children AS c
LEFT JOIN exits() AS e ON e.pid = c.pid
WHERE e.pid IS NULL OR (e.code IS DISTINCT FROM c.code) OR (e.signal IS DISTINCT FROM c.signal) OR e.core_dumped OR coalesce(e.age_ns, 0) <= 0;

-- all fifteen are there, and those that slept lived at least so long
SELECT count(*), min(slept_ns)
FROM (
    SELECT e.pid, e.age_ns - s.asked_ns AS slept_ns
    FROM exits() AS e
    JOIN (SELECT pid, NULL AS asked_ns FROM children UNION ALL SELECT pid, asked_ns FROM sleeps) AS s ON s.pid = e.pid
) AS known
HAVING count(*) <> 15 OR min(slept_ns) < 0;

-- fifty processes were started by one of that name
SELECT sum(forks) FROM forks(by => 'comm') WHERE comm = 'forker' HAVING coalesce(sum(forks), 0) <> 50;
