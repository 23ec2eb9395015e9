-- each block that dd wrote is counted once, with its bytes, over several intervals
SELECT d.comm, d.calls, d.bytes, b.calls AS counted, b.bytes AS added, b.intervals
FROM blocks_of_dd AS d
LEFT JOIN (
    SELECT comm, sum(count) AS calls, sum(sum_retval) AS bytes, count(DISTINCT ts) AS intervals
    FROM blocks WHERE fd = 1 GROUP BY comm
) AS b ON b.comm = d.comm
WHERE (b.calls IS DISTINCT FROM d.calls) OR (b.bytes IS DISTINCT FROM d.bytes) OR b.intervals < 2;

-- all of them have 7 bytes, which is from 4 to 7
SELECT s.from_retval, s.to_retval, sum(s.count) AS calls
FROM sizes AS s WHERE s.comm = 'dd' GROUP BY s.from_retval, s.to_retval
HAVING s.from_retval <> 4 OR s.to_retval <> 7 OR sum(s.count) <> (SELECT calls FROM blocks_of_dd);

-- and each took some time
SELECT t.comm, sum(t.count) AS calls, min(t.from_dur_ns) AS least FROM times AS t WHERE t.comm = 'dd' GROUP BY t.comm
HAVING sum(t.count) <> (SELECT calls FROM blocks_of_dd) OR min(t.from_dur_ns) < 1;

-- intervals follow each other: one begins where the one before ended
SELECT * FROM (
    SELECT ts, interval_ns, lag(ts) OVER (ORDER BY ts) AS before FROM (SELECT DISTINCT ts, interval_ns FROM blocks)
) AS i WHERE before IS NOT NULL AND ns(ts) - interval_ns < ns(before);

-- no table has more keys in an interval than it has room for, and the one of masks was full
SELECT ts, count(DISTINCT mask) AS keys FROM masks GROUP BY ts HAVING count(DISTINCT mask) > (SELECT most FROM keys)
UNION ALL SELECT NULL, max(n) FROM (SELECT count(DISTINCT mask) AS n FROM masks GROUP BY ts)
HAVING max(n) < (SELECT most FROM keys);

-- what found it full is lost and counted: seen = recorded + lost, on each processor, and recorded is what rows stand for
SELECT c.event, c.cpu, c.seen, c.recorded, c.lost, r.events
FROM (SELECT event, cpu, sum(seen) AS seen, sum(recorded) AS recorded, sum(lost) AS lost FROM counts
      WHERE event = 'masks' GROUP BY event, cpu) AS c
LEFT JOIN (SELECT cpu, sum(count) AS events FROM masks GROUP BY cpu) AS r ON r.cpu = c.cpu
WHERE c.seen <> c.recorded + c.lost OR c.recorded <> coalesce(r.events, 0);

-- for no other reason
SELECT event, reason, sum(count) AS lost FROM losses WHERE event <> 'one_by_one' AND count > 0 GROUP BY event, reason
HAVING event <> 'masks' OR reason <> 'keys_full';

-- as many were seen as were recorded one by one, and some were lost
SELECT m.seen, e.seen AS each_seen, m.lost
FROM (SELECT sum(seen) AS seen, sum(lost) AS lost FROM counts WHERE event = 'masks') AS m
CROSS JOIN (SELECT sum(seen) AS seen FROM counts WHERE event = 'one_by_one') AS e
WHERE m.seen <> e.seen OR m.lost = 0 OR m.seen < 128;

-- a mask that has a row in the table was recorded one by one as often, at least
SELECT m.mask, m.n AS counted, e.n AS recorded
FROM (SELECT mask, sum(count) AS n FROM masks GROUP BY mask) AS m
LEFT JOIN (SELECT mask, count(*) AS n FROM one_by_one GROUP BY mask) AS e ON e.mask = m.mask
WHERE e.n IS NULL OR e.n < m.n;
