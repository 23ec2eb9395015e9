-- @tests profile

-- (In the virtual machine in which native tests ran first, no perf event comes while a certain thread runs on a processor: see sched.sql; and
-- a guest whose processors have to wait for those of its host misses many. What is missed is known for all processes together.)

-- of each process there are as many samples as the time that it ran has room for, but for those that are known to be missed; what ran
-- may be an interrupt
SELECT u.*, s.of_99, s.of_77, m.missed_99, m.missed_77
FROM used AS u
CROSS JOIN (
    SELECT
        coalesce(sum(count) FILTER (WHERE event = 'samples'), 0) AS missed_99,
        coalesce(sum(count) FILTER (WHERE event = 'other'), 0) AS missed_77
    FROM losses WHERE reason = 'sample_missed'
) AS m
LEFT JOIN (
    SELECT pid, count(*) FILTER (WHERE rate = 99) AS of_99, count(*) FILTER (WHERE rate = 77) AS of_77
    FROM (SELECT pid, 99 AS rate FROM samples UNION ALL SELECT pid, 77 FROM other) AS both_rates
    GROUP BY pid
) AS s ON s.pid = u.pid
WHERE
    s.pid IS NULL OR u.run_ns < 500000000 OR s.of_99 < 0.1 * u.run_ns / 10101010.0
    OR s.of_99 > u.run_ns / 10101010.0 * 1.05 + 5 * sqrt(u.run_ns / 10101010.0)
    OR s.of_99 + m.missed_99 < u.run_ns / 10101010.0 * 0.95 - 5 * sqrt(u.run_ns / 10101010.0)
    OR s.of_77 > u.run_ns / 13000000.0 * 1.05 + 5 * sqrt(u.run_ns / 13000000.0)
    OR s.of_77 + m.missed_77 < u.run_ns / 13000000.0 * 0.95 - 5 * sqrt(u.run_ns / 13000000.0);

-- there are three of these processes
SELECT count(*) FROM used HAVING count(*) <> 3 OR count(DISTINCT pid) <> 3;

-- two share a processor as the kernel says (75 to 25), within five standard deviations
SELECT f.part, t.part AS true_part, f.samples
FROM (
    SELECT avg(CASE WHEN name = 'heavy' THEN 1.0 ELSE 0.0 END) AS part, count(*) AS samples
    FROM other JOIN used ON other.pid = used.pid WHERE name IN ('heavy', 'light')
) AS f
CROSS JOIN (
    SELECT sum(CASE WHEN name = 'heavy' THEN 1.0 * run_ns ELSE 0 END) / sum(run_ns) AS part FROM used WHERE name IN ('heavy', 'light')
) AS t
WHERE t.part NOT BETWEEN 0.6 AND 0.9 OR abs(f.part - t.part) > 5 * sqrt(t.part * (1 - t.part) / f.samples) OR f.samples < 100;

-- cpu_profile has the same of them, under whichever names, with times and percentages that fit
SELECT u.pid, p.samples, p.cpu_ns, p.percent, s.samples AS counted, s.of_all
FROM used AS u
LEFT JOIN (
    SELECT pid, sum(samples) AS samples, sum(cpu_ns) AS cpu_ns, sum(percent) AS percent, count(*) AS names
    FROM cpu_profile(by => 'process', stacks => 'no', top => 100000)
    GROUP BY pid
) AS p ON p.pid = u.pid
LEFT JOIN (
    SELECT pid, count(*) AS samples, sum(count(*)) OVER () AS of_all
    FROM samples WHERE pid IS NULL OR pid <> 0
    GROUP BY pid
) AS s ON s.pid = u.pid
WHERE
    p.pid IS NULL OR p.samples <> s.samples OR p.cpu_ns <> 10101010 * p.samples
    OR abs(p.percent - 100.0 * s.samples / s.of_all) > 0.01 * p.names;

-- who only makes system calls is found in the kernel, who only counts in its program, as the kernel tells. (It looks at each tick, and an
-- interrupt that the tick finds is time of the process in the kernel there, and nobody's here: so a process may be found in its program more.)
SELECT u.name, u.user_ticks, u.kernel_ticks, f.user_part
FROM used AS u
LEFT JOIN (SELECT pid, avg(CASE WHEN in_user THEN 1.0 ELSE 0.0 END) AS user_part FROM other GROUP BY pid) AS f ON f.pid = u.pid
WHERE
    f.pid IS NULL OR f.user_part < 1.0 * u.user_ticks / (u.user_ticks + u.kernel_ticks) - 0.1
    OR (u.name = 'calls' AND f.user_part > 1.0 * u.user_ticks / (u.user_ticks + u.kernel_ticks) + 0.15)
    OR (u.name = 'calls') <> (f.user_part < 0.5);

-- the address, the register of the mode and the stack agree, and the stack begins where the processor was
SELECT in_user, ip, kernel_ip, kstack, stack_text(kstack) AS stack, symbol(kernel_ip) AS place
FROM samples
WHERE
    in_user <> (ip < 9223372036854775808) OR in_user <> (kernel_ip IS NULL) OR in_user <> (kstack IS NULL)
    OR kernel_ip <> ip OR period <> 10101010
    OR (kstack IS NOT NULL AND stack_text(kstack) <> symbol(kernel_ip) AND NOT starts_with(stack_text(kstack), symbol(kernel_ip) || ' <- '));

-- the stack of a system call leads to its function
SELECT count(*), count(*) FILTER (WHERE stack_text(kstack) LIKE '%vfs_read%' OR stack_text(kstack) LIKE '%vfs_write%') AS of_calls
FROM samples JOIN used ON samples.pid = used.pid
WHERE name = 'calls' AND NOT in_user
HAVING count(*) < 50 OR 2 * count(*) FILTER (WHERE stack_text(kstack) LIKE '%vfs_read%' OR stack_text(kstack) LIKE '%vfs_write%') < count(*);

-- each sample has a process, unless it found an interrupt
SELECT ctx, pid, tid, comm FROM samples
WHERE ctx IS NULL OR (ctx = 'task') <> (pid IS NOT NULL) OR (pid IS NULL) <> (comm IS NULL) OR (in_user AND ctx <> 'task');

-- what is counted in the kernel is what is recorded, but for samples at the ends and what one of two timers has missed
SELECT c.comm, c.in_user, c.n, s.n AS recorded, m.missed
FROM (SELECT comm, in_user, sum(count) AS n FROM by_comm GROUP BY comm, in_user) AS c
FULL JOIN (SELECT comm, in_user, count(*) AS n FROM samples GROUP BY comm, in_user) AS s ON s.comm = c.comm AND s.in_user = c.in_user
CROSS JOIN (SELECT coalesce(sum(count), 0) AS missed FROM losses WHERE reason = 'sample_missed' AND event IN ('samples', 'by_comm')) AS m
WHERE
    (c.comm IS NOT NULL OR s.comm IS NOT NULL)
    AND abs(coalesce(c.n, 0) - coalesce(s.n, 0)) > 10 + m.missed + 5 * sqrt(coalesce(s.n, 0) + coalesce(c.n, 0));

-- each page fault and each time that the process left its processor is a sample of it. What it does when it is killed comes on top; the
-- kernel counts some faults for the process (of the arguments of a new program) that are no perf event
SELECT u.name, u.faults, f.faults AS seen_faults, u.switches, l.switches AS seen_switches
FROM used AS u
CROSS JOIN (SELECT CASE WHEN place = 'guest' THEN 1 ELSE 0.95 END AS part FROM place) AS p
LEFT JOIN (SELECT pid, count(*) AS faults FROM faults GROUP BY pid) AS f ON f.pid = u.pid
LEFT JOIN (SELECT pid, count(*) AS switches FROM leaving GROUP BY pid) AS l ON l.pid = u.pid
WHERE
    u.faults < 30 OR coalesce(f.faults, 0) NOT BETWEEN p.part * u.faults - 10 AND 1.05 * u.faults + 10
    OR u.switches < 1 OR coalesce(l.switches, 0) NOT BETWEEN p.part * u.switches AND u.switches + 5;

-- in a guest all is recorded: an idle processor is found idle for at least as long as the kernel says, but for a tenth, half a second and
-- what was missed, and at most while it was not busy: in emulation the interrupts of the samples themselves take a good part of that
SELECT i.idle_ticks, i.busy_ticks, s.idle_s, s.of_idle, m.missed_s, r.took_s
FROM idle AS i
CROSS JOIN place
CROSS JOIN (
    SELECT coalesce(sum(period) FILTER (WHERE cpu = 1), 0) / 1e9 AS idle_s, count(*) AS of_idle FROM samples WHERE pid = 0
) AS s
CROSS JOIN (
    SELECT coalesce(sum(count), 0) * 0.010101010 AS missed_s FROM losses WHERE reason = 'sample_missed' AND event = 'samples'
) AS m
CROSS JOIN (SELECT (ns(max(end_ts)) - ns(min(start_ts))) / 1e9 AS took_s FROM traces) AS r
WHERE
    place = 'guest'
    AND (
        s.of_idle = 0 OR s.idle_s + i.busy_ticks / 100.0 > 1.1 * r.took_s + 0.5
        OR s.idle_s + m.missed_s < 0.9 * i.idle_ticks / 100.0 - 0.5
    );

-- all that was seen is recorded or lost, and lost to nothing but missed samples
SELECT event, reason, count FROM losses WHERE event IN ('samples', 'other', 'by_comm', 'faults', 'leaving') AND reason <> 'sample_missed' AND count > 0
UNION ALL
SELECT c.event, 'seen', sum(c.seen - c.recorded - c.lost) FROM counts AS c GROUP BY c.event HAVING sum(c.seen - c.recorded - c.lost) <> 0
UNION ALL
SELECT 'samples', 'rows', abs(r.n - c.n)
FROM (SELECT count(*) AS n FROM samples) AS r CROSS JOIN (SELECT sum(recorded) AS n FROM counts WHERE event = 'samples') AS c
WHERE r.n <> c.n;
