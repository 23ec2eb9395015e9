-- @tests ucalls, uflow, ustat, ugc, javagc, uobjnew, uthreads, dbslower, dbstat, mysqld_qslower
-- @tool ucalls: ucalls -L -l java PID | recorder record 'calls=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:method__entry{ class=arg1:ustring[127], class_len=arg2, method=arg3:ustring[127], method_len=arg4 }' 'returns=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:method__return{ class=arg1:ustring[127], class_len=arg2, method=arg3:ustring[127], method_len=arg4 }' -d 10 | analyze sql x.trace "SELECT method, count(*) AS calls, count(*) FILTER (WHERE class <> 'paired') AS not_returned, sum(ns(end_ts) - ns(ts)) AS total_ns, max(ns(end_ts) - ns(ts)) AS max_ns FROM pairs((SELECT *, sum(CASE WHEN begins THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid ORDER BY ts) + CASE WHEN begins THEN 0 ELSE 1 END AS depth FROM (SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)) AS method, true AS begins FROM calls UNION ALL SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)), false FROM returns) AS marks), begin => begins, end => NOT begins, key => (pid, tid, depth, method)) WHERE ts IS NOT NULL GROUP BY method ORDER BY calls DESC, method"
--     With -L it has one start for each thread and method, so that only the innermost call of a method that calls itself counts. Here
--     calls are told apart by how deep they are, and total_ns has the time of each of them. Start Java with
--     -XX:+DTraceMethodProbes, which makes it many times slower; of one that runs the library is usdt:pid=4711/libjvm:hotspot:...
--     Python: usdt:python3:python:function__entry and function__return with file, function and line; CPython 3.11 comes past
--     function__entry only where C code calls a function, and past function__return always. System calls (-S): analyze syscalls.
-- @tool uflow: uflow -l java PID | recorder record 'calls=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:method__entry{ class=arg1:ustring[127], class_len=arg2, method=arg3:ustring[127], method_len=arg4 }' 'returns=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:method__return{ class=arg1:ustring[127], class_len=arg2, method=arg3:ustring[127], method_len=arg4 }' -d 10 | analyze sql x.trace "SELECT ts, pid, tid, concat(repeat('  ', depth - 1), CASE WHEN begins THEN '-> ' ELSE '<- ' END, method) AS flow FROM (SELECT *, sum(CASE WHEN begins THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid ORDER BY ts) + CASE WHEN begins THEN 0 ELSE 1 END AS depth FROM (SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)) AS method, true AS begins FROM calls UNION ALL SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)), false FROM returns) AS marks) AS flow ORDER BY pid, tid, ts"
--     It may lose lines without a word. Here losses are told below the answer, and each thread is by itself. Java and other
--     languages as for ucalls.
-- @tool ustat: ustat -l java 1 | recorder record 'call_rates=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:method__entry --count pid' 'object_rates=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:object__alloc --count pid' 'gc_rates=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:gc__begin --count pid' 'class_rates=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:class__loaded --count pid' 'thread_rates=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:thread__start --count pid' -d 10 | analyze sql x.trace "SELECT date_trunc('second', ts) AS second, pid, sum(count) FILTER (WHERE what = 'calls') AS calls, sum(count) FILTER (WHERE what = 'objects') AS objects, sum(count) FILTER (WHERE what = 'collections') AS collections, sum(count) FILTER (WHERE what = 'classes') AS classes, sum(count) FILTER (WHERE what = 'threads') AS threads FROM (SELECT ts, pid, count, 'calls' AS what FROM call_rates UNION ALL SELECT ts, pid, count, 'objects' FROM object_rates UNION ALL SELECT ts, pid, count, 'collections' FROM gc_rates UNION ALL SELECT ts, pid, count, 'classes' FROM class_rates UNION ALL SELECT ts, pid, count, 'threads' FROM thread_rates) AS rates GROUP BY second, pid ORDER BY second, pid"
--     Counted in the kernel, and without a process to be named: one that begins later is seen. Java: -XX:+ExtendedDTraceProbes for
--     calls and objects.
-- @tool ugc: ugc -l python PID | recorder record 'gc_starts=usdt:python3:python:gc__start{ generation=arg0 }' 'gc_dones=usdt:python3:python:gc__done{ found=arg0 }' -d 10 | analyze sql x.trace "SELECT ts, pid, tid, comm, generation, ns(end_ts) - ns(ts) AS took_ns, end_found AS found FROM pairs((SELECT ts, pid, tid, comm, generation, NULL AS found, true AS begins FROM gc_starts UNION ALL SELECT ts, pid, tid, comm, NULL, found, false FROM gc_dones), begin => begins, end => NOT begins, key => (pid, tid)) WHERE class = 'paired' ORDER BY took_ns DESC"
--     Of a Python that is a library (libpython) say its path. Java as javagc.
-- @tool javagc: javagc PID | recorder record 'gc_begins=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:gc__begin{ is_full=arg0 }' 'gc_ends=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:gc__end{}' 'pool_begins=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:mem__pool__gc__begin{ manager=arg0:ustring[63], manager_len=arg1:s32, pool=arg2:ustring[63], pool_len=arg3:s32, used=arg5 }' 'pool_ends=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:mem__pool__gc__end{ manager=arg0:ustring[63], manager_len=arg1:s32, pool=arg2:ustring[63], pool_len=arg3:s32, used=arg5 }' -d 10 | analyze sql x.trace "SELECT ts, pid, CASE WHEN is_full = 1 THEN 'full pause' ELSE 'pause' END AS what, ns(end_ts) - ns(ts) AS took_ns, NULL AS freed_bytes FROM pairs((SELECT ts, pid, tid, is_full, true AS begins FROM gc_begins UNION ALL SELECT ts, pid, tid, NULL, false FROM gc_ends), begin => begins, end => NOT begins, key => (pid, tid)) WHERE class = 'paired' UNION ALL SELECT ts, pid, concat(manager, ': ', pool), ns(end_ts) - ns(ts), used - end_used FROM pairs((SELECT ts, pid, tid, left(manager, manager_len) AS manager, left(pool, pool_len) AS pool, CAST(used AS BIGINT) AS used, true AS begins FROM pool_begins UNION ALL SELECT ts, pid, tid, left(manager, manager_len), left(pool, pool_len), CAST(used AS BIGINT), false FROM pool_ends), begin => begins, end => NOT begins, key => (pid, tid, manager, pool)) WHERE class = 'paired' ORDER BY ts"
--     All four probes have one start in a process there. Of a pause it shows the time from the beginning of its last pool to the end
--     of its first one; pauses of collectors that work beside the program (ZGC, Shenandoah) take the start of their cycles away; and
--     from 4.3 s on times are wrong, because they have 32 bits. Here a pause is a pause of its thread, and each pool has its own time
--     and what became free in it.
-- @tool uobjnew: uobjnew -l java PID | recorder record 'objects=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:object__alloc{ class=arg1:ustring[127], class_len=arg2, bytes=arg3 }' -d 10 | analyze sql x.trace "SELECT pid, left(class, class_len) AS type, count(*) AS objects, sum(bytes) AS bytes FROM objects GROUP BY pid, type ORDER BY objects DESC, type"
--     Start Java with -XX:+DTraceAllocProbes, which makes it many times slower. OpenJDK 17 passes 0 as the size of many
--     objects, there and here; 25 has the size.
-- @tool uthreads: uthreads -l java PID | recorder record 'thread_starts=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:thread__start{ name=arg0:ustring[63], name_len=arg1, id=arg2, is_daemon=arg4 }' 'thread_stops=usdt:/usr/lib/jvm/default-java/lib/server/libjvm.so:hotspot:thread__stop{ id=arg2 }' -d 60 | analyze sql x.trace "SELECT ts, pid, tid, name, id, is_daemon, ns(end_ts) - ns(ts) AS lived_ns FROM pairs((SELECT ts, pid, tid, left(name, name_len) AS name, id, is_daemon, true AS begins FROM thread_starts UNION ALL SELECT ts, pid, tid, NULL, id, NULL, false FROM thread_stops), begin => begins, end => NOT begins, key => (pid, tid)) WHERE class IN ('paired', 'outstanding') ORDER BY ts"
--     Start and stop are one row here. A thread without an end was there at the end of the recording, or its process ended without it.
-- @tool dbslower: dbslower postgres -m 50 | recorder record 'statements=usdt:/usr/lib/postgresql/15/bin/postgres:postgresql:statement__status{ at=arg0, text=arg0:ustring[255] }' -d 60 | analyze sql x.trace "SELECT ts, pid, ns(next_ts) - ns(ts) AS took_ns, text FROM pairs(statements, begin => at <> 0, end => at = 0, key => pid) WHERE class IN ('paired', 'end_missed') AND ns(next_ts) - ns(ts) >= 50000000 ORDER BY ts"
--     The original sees query__start and query__done, which only queries of the simple protocol have: with prepared statements, which
--     most drivers use, it shows nothing. Here these are rows too: to parse, to bind and to execute one are a row each. MySQL as
--     mysqld_qslower.
-- @tool dbstat: dbstat mysql | recorder record 'queries=usdt:mysqld:mysql:query__start{ text=arg0:ustring[255], db=arg2:ustring[63], db_user=arg3:ustring[63] }' 'query_ends=usdt:mysqld:mysql:query__done{ error=arg0 }' -d 10 | analyze sql x.trace "SELECT pid, count(*) AS queries, count(*) FILTER (WHERE end_error <> 0) AS failed, percentile(ns(end_ts) - ns(ts), 0.5) AS p50_ns, percentile(ns(end_ts) - ns(ts), 0.99) AS p99_ns, max(ns(end_ts) - ns(ts)) AS max_ns, log2_histogram(ns(end_ts) - ns(ts)) AS log2_histogram FROM pairs((SELECT ts, pid, tid, text, db, db_user, NULL AS error, true AS begins FROM queries UNION ALL SELECT ts, pid, tid, NULL, NULL, NULL, error, false FROM query_ends), begin => begins, end => NOT begins, key => (pid, tid)) WHERE class = 'paired' GROUP BY pid"
--     Percentiles are exact here, and failed queries are counted. Which MySQL has such probes: see mysqld_qslower. PostgreSQL as dbslower.
-- @tool mysqld_qslower: mysqld_qslower PID 50 | recorder record 'queries=usdt:mysqld:mysql:query__start{ text=arg0:ustring[255], db=arg2:ustring[63], db_user=arg3:ustring[63] }' 'query_ends=usdt:mysqld:mysql:query__done{ error=arg0 }' -d 60 | analyze sql x.trace "SELECT ts, pid, tid, db, db_user, ns(end_ts) - ns(ts) AS took_ns, end_error AS error, text FROM pairs((SELECT ts, pid, tid, text, db, db_user, NULL AS error, true AS begins FROM queries UNION ALL SELECT ts, pid, tid, NULL, NULL, NULL, error, false FROM query_ends), begin => begins, end => NOT begins, key => (pid, tid)) WHERE class = 'paired' AND ns(end_ts) - ns(ts) >= 50000000 ORDER BY ts"
--     Needs mysqld to be built with probes (up to 5.7, -DENABLE_DTRACE=1), there and here. Later ones: a uretprobe of the function
--     dispatch_command, by its encoded name, with dur.

-- the program did what it always does, and nothing was lost
SELECT * FROM (
    SELECT (SELECT count(*) FROM did WHERE what = 'method') AS methods, (SELECT count(*) FROM did WHERE what = 'python') AS functions,
        (SELECT count(*) FROM did WHERE what = 'hotspot_gc') AS pauses, (SELECT count(*) FROM did WHERE what = 'python_gc') AS collections,
        (SELECT count(*) FROM did WHERE what = 'postgresql') AS statements, (SELECT count(*) FROM did WHERE what = 'mysql') AS queries,
        (SELECT count(*) FROM did WHERE what = 'thread') AS threads, (SELECT coalesce(sum(count), 0) FROM losses) AS lost
) AS n
WHERE methods <> 27 OR functions <> 58 OR pauses <> 16 OR collections <> 9 OR statements <> 24 OR queries <> 12 OR threads <> 3 OR lost <> 0;

-- each call of a method has the time that the program measured, also where it calls itself, and none if it did not return
SELECT d.tid, d.nth, d.depth, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'method') AS d
FULL JOIN (
    SELECT tid AS of, row_number() OVER (PARTITION BY pid, tid ORDER BY ts) - 1 AS at, name AS method, depth AS level, class, ns(end_ts) - ns(ts) AS took_ns
    FROM pairs((
            SELECT *, sum(CASE WHEN begins THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid ORDER BY ts) + CASE WHEN begins THEN 0 ELSE 1 END AS depth
            FROM (SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)) AS name, true AS begins FROM calls UNION ALL SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)), false FROM returns) AS marks
        ), begin => begins, end => NOT begins, key => (pid, tid, depth, name))
    WHERE ts IS NOT NULL
) AS p ON p.of = d.tid AND p.at = d.nth
WHERE d.tid IS NULL OR p.of IS NULL OR d.name <> p.method OR d.inner_ns < 0 AND p.class <> 'outstanding'
    OR d.inner_ns >= 0 AND (p.class <> 'paired' OR p.took_ns NOT BETWEEN d.inner_ns AND d.outer_ns);

-- so has each call of a function of Python, with its line
SELECT d.tid, d.nth, d.depth, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'python') AS d
FULL JOIN (
    SELECT tid AS of, row_number() OVER (PARTITION BY pid, tid ORDER BY ts) - 1 AS at, name AS function, depth AS level, line, class, ns(end_ts) - ns(ts) AS took_ns, end_line
    FROM pairs((
            SELECT *, sum(CASE WHEN begins THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid ORDER BY ts) + CASE WHEN begins THEN 0 ELSE 1 END AS depth
            FROM (SELECT ts, pid, tid, function AS name, line, true AS begins FROM py_calls UNION ALL SELECT ts, pid, tid, function, line, false FROM py_returns) AS marks
        ), begin => begins, end => NOT begins, key => (pid, tid, depth, name))
    WHERE ts IS NOT NULL
) AS p ON p.of = d.tid AND p.at = d.nth
WHERE d.tid IS NULL OR p.of IS NULL OR d.name <> p.function OR d.value <> p.line OR d.value + 10 <> p.end_line OR d.depth <> p.level - 1
    OR p.class <> 'paired' OR p.took_ns NOT BETWEEN d.inner_ns AND d.outer_ns;

-- the innermost calls of each kind are told apart: 27 calls of one method, 18 of them returned, 5 + 6 + 7 deep
SELECT * FROM (SELECT count(*) AS calls, count(DISTINCT depth) AS depths FROM did WHERE what = 'method' AND inner_ns >= 0) AS n WHERE calls <> 18 OR depths <> 7;

-- in the flow of calls each thread goes down and up again
SELECT tid, lowest, highest, last FROM (
    SELECT tid, min(depth) AS lowest, max(depth) AS highest, sum(CASE WHEN begins THEN 1 ELSE -1 END) AS last
    FROM (
            SELECT *, sum(CASE WHEN begins THEN 1 ELSE -1 END) OVER (PARTITION BY pid, tid ORDER BY ts) + CASE WHEN begins THEN 0 ELSE 1 END AS depth
            FROM (SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)) AS name, true AS begins FROM calls UNION ALL SELECT ts, pid, tid, concat(left(class, class_len), '.', left(method, method_len)), false FROM returns) AS marks
        ) AS flow
    GROUP BY tid
) AS f
WHERE lowest <> 1 OR highest NOT BETWEEN 5 AND 7 OR last <> 3;

-- the rates add up to what was done, by this process alone
SELECT * FROM (
    SELECT what, sum(count) AS n, count(DISTINCT pid) AS pids FROM (
        SELECT 'calls' AS what, pid, count FROM call_rates UNION ALL SELECT 'objects', pid, count FROM object_rates UNION ALL SELECT 'collections', pid, count FROM gc_rates
        UNION ALL SELECT 'classes', pid, count FROM class_rates UNION ALL SELECT 'threads', pid, count FROM thread_rates
    ) AS rates GROUP BY what
) AS r
FULL JOIN (SELECT 'calls' AS kind, 27 AS least UNION ALL SELECT 'objects', 60 UNION ALL SELECT 'collections', 16 UNION ALL SELECT 'classes', 6 UNION ALL SELECT 'threads', 3) AS t ON t.kind = r.what
WHERE (r.n IS DISTINCT FROM t.least) OR r.pids <> 1;

-- collections of Python by thread, with generation and what they found
SELECT d.tid, d.nth, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'python_gc') AS d
FULL JOIN (
    SELECT tid AS of, generation, class, ns(end_ts) - ns(ts) AS took_ns, end_found
    FROM pairs((
        SELECT ts, pid, tid, generation, NULL AS found, true AS begins FROM gc_starts UNION ALL SELECT ts, pid, tid, NULL, found, false FROM gc_dones
    ), begin => begins, end => NOT begins, key => (pid, tid))
) AS p ON p.of = d.tid AND p.generation = d.nth
WHERE d.tid IS NULL OR p.of IS NULL OR p.class <> 'paired' OR p.end_found <> d.value OR p.took_ns NOT BETWEEN d.inner_ns AND d.outer_ns;

-- pauses of Java by thread, also one that takes longer than 32 bits of nanoseconds while those of other threads come and go
SELECT d.tid, d.nth, d.value, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'hotspot_gc') AS d
FULL JOIN (
    SELECT tid AS of, row_number() OVER (PARTITION BY pid, tid ORDER BY ts) - 1 AS at, is_full, class, ns(end_ts) - ns(ts) AS took_ns
    FROM pairs((
        SELECT ts, pid, tid, is_full, true AS begins FROM gc_begins UNION ALL SELECT ts, pid, tid, NULL, false FROM gc_ends
    ), begin => begins, end => NOT begins, key => (pid, tid))
) AS p ON p.of = d.tid AND p.at = d.nth
WHERE d.tid IS NULL OR p.of IS NULL OR p.class <> 'paired' OR p.is_full <> d.value OR p.took_ns NOT BETWEEN d.inner_ns AND d.outer_ns;
SELECT count(*) AS long FROM did WHERE what = 'hotspot_gc' AND inner_ns > 4294967296 HAVING count(*) <> 1;

-- names of pools and managers end where their length says, and the pools of a thread's pause are collected within it
SELECT name, count(*) AS n, min(used) AS used FROM (SELECT concat(left(manager, manager_len), ': ', left(pool, pool_len)) AS name, used FROM pool_ends) AS names
GROUP BY name
HAVING count(*) <> 16 OR name NOT IN ('G1 Old Generation: G1 Eden Space', 'G1 Old Generation: G1 Old Gen') OR min(used) <> CASE WHEN name LIKE '%Eden%' THEN 0 ELSE 4000 END;
SELECT p.* FROM (
    SELECT ts, tid, pool, used - end_used AS freed, end_ts
    FROM pairs((
        SELECT ts, pid, tid, left(manager, manager_len) AS manager, left(pool, pool_len) AS pool, CAST(used AS BIGINT) AS used, true AS begins FROM pool_begins
        UNION ALL SELECT ts, pid, tid, left(manager, manager_len), left(pool, pool_len), CAST(used AS BIGINT), false FROM pool_ends
    ), begin => begins, end => NOT begins, key => (pid, tid, manager, pool))
) AS p
LEFT JOIN (
    SELECT ts AS begin, tid AS of, end_ts AS until
    FROM pairs((SELECT ts, pid, tid, true AS begins FROM gc_begins UNION ALL SELECT ts, pid, tid, false FROM gc_ends), begin => begins, end => NOT begins, key => (pid, tid))
) AS g ON g.of = p.tid AND p.ts >= g.begin AND p.end_ts <= g.until
WHERE (p.freed IS DISTINCT FROM 1000) OR g.of IS NULL;

-- objects by class and size: every other one is a Node of 40 bytes or a Spin of 24
SELECT * FROM (SELECT left(class, class_len) AS type, count(*) AS objects, sum(bytes) AS bytes FROM objects GROUP BY type) AS o
FULL JOIN (SELECT 'Node' AS name, 30 AS n, 1200 AS size UNION ALL SELECT 'Spin', 30, 720) AS t ON t.name = o.type
WHERE (o.objects IS DISTINCT FROM t.n) OR (o.bytes IS DISTINCT FROM t.size);

-- threads have their names, and their time if they stopped
SELECT d.tid, d.name, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'thread') AS d
FULL JOIN (
    SELECT tid AS of, name AS title, id, is_daemon, class, ns(end_ts) - ns(ts) AS lived_ns
    FROM pairs((
        SELECT ts, pid, tid, left(name, name_len) AS name, id, is_daemon, true AS begins FROM thread_starts
        UNION ALL SELECT ts, pid, tid, NULL, id, NULL, false FROM thread_stops
    ), begin => begins, end => NOT begins, key => (pid, tid))
) AS p ON p.of = d.tid
WHERE d.tid IS NULL OR p.of IS NULL OR p.title <> d.name OR p.id <> d.value OR p.is_daemon <> length(d.name) % 2 OR d.inner_ns < 0 AND p.class <> 'outstanding'
    OR d.inner_ns >= 0 AND (p.class <> 'paired' OR p.lived_ns NOT BETWEEN d.inner_ns AND d.outer_ns);

-- statements of two servers at once: simple ones, and those in three steps, of which each has its time
SELECT d.tid, d.nth, d.name, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'postgresql') AS d
FULL JOIN (
    SELECT pid AS of, row_number() OVER (PARTITION BY pid ORDER BY ts) - 1 AS at, text, ns(next_ts) - ns(ts) AS took_ns
    FROM pairs(statements, begin => at <> 0, end => at = 0, key => pid)
    WHERE class IN ('paired', 'end_missed')
) AS p ON p.of = d.tid AND p.at = d.nth
WHERE d.tid IS NULL OR p.of IS NULL OR p.text <> d.name OR p.took_ns NOT BETWEEN d.inner_ns AND d.outer_ns;

-- at least four of them were slow: one of one step and one of three, in each server
SELECT count(*) AS slow, count(DISTINCT pid) AS servers, count(DISTINCT text) AS texts FROM (
    SELECT pid, text FROM pairs(statements, begin => at <> 0, end => at = 0, key => pid) WHERE class IN ('paired', 'end_missed') AND ns(next_ts) - ns(ts) >= 50000000
) AS slow
HAVING count(*) < 4 OR count(DISTINCT pid) <> 2 OR count(DISTINCT text) < 4;

-- queries of MySQL in three threads at once, with their error
SELECT d.tid, d.nth, d.name, d.value, d.inner_ns, d.outer_ns, p.*
FROM (SELECT * FROM did WHERE what = 'mysql') AS d
FULL JOIN (
    SELECT tid AS of, row_number() OVER (PARTITION BY pid, tid ORDER BY ts) - 1 AS at, text, db, db_user, class, ns(end_ts) - ns(ts) AS took_ns, end_error
    FROM pairs((
        SELECT ts, pid, tid, text, db, db_user, NULL AS error, true AS begins FROM queries UNION ALL SELECT ts, pid, tid, NULL, NULL, NULL, error, false FROM query_ends
    ), begin => begins, end => NOT begins, key => (pid, tid))
) AS p ON p.of = d.tid AND p.at = d.nth
WHERE d.tid IS NULL OR p.of IS NULL OR p.text <> d.name OR p.db <> 'shop' OR p.db_user <> 'anna' OR p.class <> 'paired' OR p.end_error <> d.value
    OR p.took_ns NOT BETWEEN d.inner_ns AND d.outer_ns;
