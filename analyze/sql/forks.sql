-- How many processes were started in each second, or other interval.
--
-- Threads are not counted. The first and the last interval may be shorter than the others. Intervals without any have no row.
--
-- @table processes(ev enum(snapshot,fork,exec,exit,rename), comm string[15])
-- @param interval_ns duration = 1s: length of an interval
-- @param by choice(all|comm) = all: all together, or by the name that the new process has from its parent
-- @tool pidpersec: pidpersec | recorder record processes -d 10 | analyze forks x.trace
--     The original counts new threads, too.
-- @column ts time: beginning of the interval
-- @column comm text: name that the process was started with; NULL if by all
-- @column forks s64: processes started
-- @column per_s number: as a rate
-- @loss the numbers may be too low
SELECT ts, comm, row_count AS forks, per_s
FROM rate(
    (SELECT ts, CASE WHEN $by = 'comm' THEN CAST(comm AS VARCHAR) END AS comm FROM processes
        WHERE ev = 'fork' AND ts >= (SELECT min(start_ts) FROM traces) AND ts <= (SELECT max(end_ts) FROM traces)),
    interval => $interval_ns,
    key => comm
)
ORDER BY ts, comm
