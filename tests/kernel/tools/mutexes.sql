-- @tests deadlock
-- @tool deadlock: deadlock PID | recorder record 'wants=uprobe:libc:pthread_mutex_lock{ mutex=$arg1 }' 'locks=uretprobe:libc:pthread_mutex_lock{ mutex=$arg1, ret=retval:s32 }' 'trylocks=uretprobe:libc:pthread_mutex_trylock{ mutex=$arg1, ret=retval:s32 }' 'unlocks=uprobe:libc:pthread_mutex_unlock{ mutex=$arg1 }' 'inits=uprobe:libc:pthread_mutex_init{ mutex=$arg1 }' 'destroys=uprobe:libc:pthread_mutex_destroy{ mutex=$arg1 }' --stacks user -d 10 | analyze sql x.trace "WITH RECURSIVE calls AS (SELECT *, sum(CASE WHEN what = 'new' THEN 1 ELSE 0 END) OVER (PARTITION BY pid, mutex ORDER BY ts) AS nth FROM (SELECT ts, pid, tid, comm, ustack, mutex, 'want' AS what FROM wants UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'got' FROM locks WHERE ret IN (0, 130) UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'got' FROM trylocks WHERE ret IN (0, 130) UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'left' FROM unlocks UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'new' FROM inits UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'new' FROM destroys) AS rows), levels AS (SELECT *, depth - least(0, min(depth) OVER (PARTITION BY pid, tid, mutex, nth ORDER BY ts)) AS level FROM (SELECT *, sum(CASE WHEN what = 'got' THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid, mutex, nth ORDER BY ts) AS depth FROM calls WHERE what IN ('got', 'left')) AS depths), held AS (SELECT * FROM pairs((SELECT * FROM levels), begin => what = 'got' AND level = 1, end => what = 'left' AND level = 0, key => (pid, tid, mutex, nth)) WHERE class IN ('paired', 'outstanding')), edges AS (SELECT w.pid, concat('0x', to_hex(h.mutex), '.', h.nth) AS had, concat('0x', to_hex(w.mutex), '.', w.nth) AS wanted, count(*) AS times, min(w.tid) AS tid, min(w.comm) AS comm, min(w.ustack) AS stack FROM calls AS w JOIN held AS h ON h.pid = w.pid AND h.tid = w.tid AND h.ts < w.ts AND (h.end_ts IS NULL OR h.end_ts > w.ts) AND (h.mutex <> w.mutex OR h.nth <> w.nth) WHERE w.what = 'want' GROUP BY 1, 2, 3), chains AS (SELECT pid, had AS first, wanted AS last, concat(' ', had, ' ', wanted, ' ') AS chain FROM edges WHERE wanted > had UNION ALL SELECT c.pid, c.first, e.wanted, concat(c.chain, e.wanted, ' ') FROM chains AS c JOIN edges AS e ON e.pid = c.pid AND e.had = c.last WHERE c.last <> c.first AND length(c.chain) < 200 AND (e.wanted = c.first OR e.wanted > c.first AND strpos(c.chain, concat(' ', e.wanted, ' ')) = 0)) SELECT c.pid, trim(c.chain) AS cycle, e.had, e.wanted, e.times, e.tid, e.comm, stack_text(e.stack) AS stack FROM chains AS c JOIN edges AS e ON e.pid = c.pid AND strpos(c.chain, concat(' ', e.had, ' ', e.wanted, ' ')) > 0 WHERE c.last = c.first ORDER BY c.pid, length(c.chain), cycle, strpos(c.chain, concat(' ', e.had, ' ', e.wanted, ' '))"
--     A lock counts as had there when it is asked for, also if that fails, and trylock and mutexes that are made anew in the same
--     place are not told apart or not seen. Here it counts from the return until it is given back, one by trylock too, and one
--     that is taken several times until all are given back; only who waits for a lock wants it. ADDRESS.NUMBER is a mutex, by how
--     often one was made or destroyed there; a cycle has a row for each step: who had the first and wanted the second, and where.
--     One thread alone, or a third lock around both, makes a cycle that cannot come true. Up to about ten mutexes in a cycle.
--     Every call of every program costs about 2 us: say -p PID. Locks of rwlocks and of other libraries are not seen.

-- mutexes that are taken in a circle are found, also those of a trylock and those in which threads are stuck, and no others
SELECT e.names, e.cycle, f.cycle AS found, f.steps, f.times
FROM expected AS e
FULL JOIN (
    WITH RECURSIVE
        calls AS (
            SELECT *, sum(CASE WHEN what = 'new' THEN 1 ELSE 0 END) OVER (PARTITION BY pid, mutex ORDER BY ts) AS nth
            FROM (
                SELECT ts, pid, tid, comm, ustack, mutex, 'want' AS what FROM wants
                UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'got' FROM locks WHERE ret IN (0, 130)
                UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'got' FROM trylocks WHERE ret IN (0, 130)
                UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'left' FROM unlocks
                UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'new' FROM inits
                UNION ALL SELECT ts, pid, tid, comm, ustack, mutex, 'new' FROM destroys
            ) AS rows
        ),
        levels AS (
            SELECT *, depth - least(0, min(depth) OVER (PARTITION BY pid, tid, mutex, nth ORDER BY ts)) AS level
            FROM (
                SELECT *, sum(CASE WHEN what = 'got' THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid, mutex, nth ORDER BY ts) AS depth
                FROM calls WHERE what IN ('got', 'left')
            ) AS depths
        ),
        held AS (
            SELECT * FROM pairs((SELECT * FROM levels), begin => what = 'got' AND level = 1, end => what = 'left' AND level = 0, key => (pid, tid, mutex, nth))
            WHERE class IN ('paired', 'outstanding')
        ),
        edges AS (
            SELECT w.pid, concat('0x', to_hex(h.mutex), '.', h.nth) AS had, concat('0x', to_hex(w.mutex), '.', w.nth) AS wanted, count(*) AS times, min(w.tid) AS tid, min(w.comm) AS comm, min(w.ustack) AS stack
            FROM calls AS w
            JOIN held AS h ON h.pid = w.pid AND h.tid = w.tid AND h.ts < w.ts AND (h.end_ts IS NULL OR h.end_ts > w.ts) AND (h.mutex <> w.mutex OR h.nth <> w.nth)
            WHERE w.what = 'want'
            GROUP BY 1, 2, 3
        ),
        chains AS (
            SELECT pid, had AS first, wanted AS last, concat(' ', had, ' ', wanted, ' ') AS chain FROM edges WHERE wanted > had
            UNION ALL
            SELECT c.pid, c.first, e.wanted, concat(c.chain, e.wanted, ' ')
            FROM chains AS c JOIN edges AS e ON e.pid = c.pid AND e.had = c.last
            WHERE c.last <> c.first AND length(c.chain) < 200 AND (e.wanted = c.first OR e.wanted > c.first AND strpos(c.chain, concat(' ', e.wanted, ' ')) = 0)
        )
    SELECT trim(c.chain) AS cycle, count(*) AS steps, sum(e.times) AS times
    FROM chains AS c JOIN edges AS e ON e.pid = c.pid AND strpos(c.chain, concat(' ', e.had, ' ', e.wanted, ' ')) > 0
    WHERE c.last = c.first
    GROUP BY c.chain
) AS f ON f.cycle = e.cycle
WHERE (f.cycle IS DISTINCT FROM e.cycle) OR f.steps <> length(e.names) OR f.times <> length(e.names) + CASE WHEN e.names = 'CDE' THEN 1 ELSE 0 END;

-- there are six, of two and of three mutexes
SELECT count(*) AS n FROM expected HAVING count(*) <> 6 OR sum(length(names)) <> 14;

-- each call was seen, and two did not return
SELECT * FROM (
    SELECT (SELECT count(*) FROM wants) AS wanted, (SELECT count(*) FROM locks) AS returned, (SELECT count(*) FROM trylocks) AS tried,
        (SELECT count(*) FROM locks WHERE ret <> 0) AS failed, (SELECT count(*) FROM trylocks WHERE ret <> 0) AS busy
) AS n
WHERE wanted - returned <> 2 OR tried <> 3 OR failed <> 1 OR busy <> 1;
