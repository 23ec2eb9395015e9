-- @tests funclatency, funcslower
-- @tool funclatency: funclatency hrtimer_nanosleep | recorder record 'sleeps=fn:hrtimer_nanosleep{ dur }' | analyze sql x.trace "SELECT log2_floor(dur_ns) AS log2, count(*) AS n FROM sleeps GROUP BY log2 ORDER BY log2"
--     A function that calls itself, or several functions, overwrite the one start time of a thread there; here each call has its own. A return whose
--     entry was not seen is counted (table losses), and makes no time of 2^64 ns.
-- @tool funcslower: funcslower -m 1000 hrtimer_nanosleep | recorder record 'slow=fn:hrtimer_nanosleep{ retval, dur } if dur > 1s' | analyze sql x.trace "SELECT ts, pid, comm, dur_ns FROM slow ORDER BY ts"
--     The kernel decides, so that fast calls cost no ring space. Calls that have not returned at all when the recording ends are in table unfinished_calls.

-- no call took less than the shortest sleep, and the long one took as long as it had to
SELECT 'short' AS what, count(*) AS n FROM sleeps WHERE retval = 0 AND dur_ns < 20000000 HAVING count(*) > 0
UNION ALL SELECT 'all', count(*) FROM sleeps WHERE retval = 0 HAVING count(*) < 7
UNION ALL SELECT 'long', count(*) FROM sleeps WHERE retval = 0 AND dur_ns >= 2000000000 HAVING count(*) <> 1;

-- those that came one after the other took no longer than the recorder ran
SELECT s.total_ns, k.uptime_end - k.uptime_begin AS ran_s
FROM (SELECT sum(dur_ns) AS total_ns FROM sleeps WHERE retval = 0) s CROSS JOIN known k
WHERE s.total_ns > (k.uptime_end - k.uptime_begin + 0.02) * 1e9;

-- a call that a signal ends has a row
SELECT p.killed, count(s.pid) AS rows_of_it
FROM processes_of_work p LEFT JOIN sleeps s ON s.pid = p.killed AND s.retval < 0
GROUP BY p.killed HAVING count(s.pid) <> 1;

-- the kernel decides by the duration that the row has
SELECT 'slow' AS event, dur_ns FROM slow WHERE dur_ns <= 1000000000
UNION ALL SELECT 'not_slow', dur_ns FROM not_slow WHERE dur_ns > 1000000000;

-- of the same calls either condition held, but for those that took a second nearly to the millisecond
SELECT * FROM (
    SELECT (SELECT count(*) FROM sleeps) AS calls, (SELECT count(*) FROM slow) AS slow, (SELECT count(*) FROM not_slow) AS others,
        (SELECT count(*) FROM sleeps WHERE dur_ns BETWEEN 999000000 AND 1001000000) AS unclear
)
WHERE abs(calls - slow - others) > unclear OR slow = 0 OR others = 0;

-- the function inside the system call takes part of its time, whichever way it is probed
SELECT w.kind, s.tid, s.dur_ns, w.dur_ns AS within_ns
FROM sleeps s
CROSS JOIN known k
LEFT JOIN (
    SELECT 'fexit' AS kind, ts, tid, dur_ns FROM within_fexit
    UNION ALL SELECT 'kretprobe', ts, tid, dur_ns FROM within_kretprobe
) w ON w.tid = s.tid AND w.ts <= s.ts AND ns(w.ts) >= ns(s.ts) - s.dur_ns
WHERE k.place = 'guest' AND (w.kind IS NULL OR w.dur_ns > s.dur_ns OR w.dur_ns < 20000000);

-- as many of them as of system calls
SELECT * FROM (
    SELECT (SELECT count(*) FROM sleeps) AS calls, (SELECT count(*) FROM within_fexit) AS fexits, (SELECT count(*) FROM within_kretprobe) AS kretprobes
)
WHERE fexits <> calls OR kretprobes <> calls;

-- no entry was missed
SELECT event, reason, count FROM losses WHERE reason IN ('no_entry', 'map_full', 'no_return');

-- the call that did not end is told by each event that would have seen its return
SELECT p.hung, count(u.event) AS events, min(u.dur_ns) AS least_ns
FROM processes_of_work p LEFT JOIN unfinished_calls u ON u.pid = p.hung
GROUP BY p.hung
HAVING count(u.event) <> 5 OR count(DISTINCT u.event) <> 5 OR min(u.dur_ns) < 20000000;

-- it began when its process had been started, and no other call is left
SELECT u.event, u.pid, u.dur_ns
FROM unfinished_calls u CROSS JOIN processes_of_work p CROSS JOIN known k
WHERE u.pid <> p.hung OR u.dur_ns > (k.uptime_end - k.uptime_begin + 0.02) * 1e9;

-- the trigger was set off by a duration, and by no other calls than those that were as long
SELECT 'snapshots' AS what, count(*) AS n FROM snapshots HAVING count(*) NOT BETWEEN 1 AND (SELECT count(*) FROM slow);
