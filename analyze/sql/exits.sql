-- Which processes ended, how old they were, and how.
--
-- A process ends with the last of its threads.
--
-- @table processes(ev enum(snapshot,fork,exec,exit,rename), ppid u32, comm string[15], exit_code s32, start_boottime_ns s64)
-- @param failed choice(no|yes) = no: yes leaves out those that ended with exit code 0
-- @tool exitsnoop: exitsnoop | recorder record processes -d 10 | analyze exits x.trace
--     The original prints a line when the main thread ends, which need not be the end of the process, and takes the mark of
--     a core dump for a part of the signal's number.
-- @column ts time: when it ended
-- @column pid u32: process
-- @column ppid u32: its parent then
-- @column comm string[15]: its name (that of its main thread)
-- @column age_ns s64 [ns]: how long it lived; NULL if it is not known to the nanosecond when it was started
-- @column code s32: exit code; NULL if a signal ended it
-- @column signal text: signal that ended it; NULL if none did
-- @column core_dumped bool: it left a core dump; NULL if no signal ended it
-- @loss ends are missing
SELECT
    ts,
    pid,
    ppid,
    comm,
    -- Times are those of the boot clock plus a number that is the same in the whole recording.
    ns(ts) - (SELECT min(ns(ts) - boottime_ns) FROM clock) - start_boottime_ns AS age_ns,
    CASE WHEN (exit_code & 127) = 0 THEN (exit_code >> 8) & 255 END AS code,
    CASE WHEN (exit_code & 127) <> 0 THEN signal_name(exit_code & 127) END AS signal,
    CASE WHEN (exit_code & 127) <> 0 THEN (exit_code & 128) <> 0 END AS core_dumped
FROM processes
-- The table is there as a whole, whatever part of the recording is asked about.
WHERE ev = 'exit' AND ($failed = 'no' OR exit_code <> 0)
    AND ts >= (SELECT min(start_ts) FROM traces) AND ts <= (SELECT max(end_ts) FROM traces)
ORDER BY ts, pid
