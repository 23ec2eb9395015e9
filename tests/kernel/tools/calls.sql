-- @tests naptime, syncsnoop, shmsnoop, futexctn, setuids
-- @tool naptime: naptime.bt | recorder record 'naps=syscall:clock_nanosleep{ flags, sec=rqtp->tv_sec, nsec=rqtp->tv_nsec, retval }' 'nanosleeps=syscall:nanosleep{ sec=rqtp->tv_sec, nsec=rqtp->tv_nsec, retval }' | analyze sql x.trace "SELECT comm, count(*) AS naps, sum(sec * 1000000000 + nsec) AS asked_ns FROM (SELECT comm, sec, nsec FROM naps WHERE flags = 0 UNION ALL SELECT comm, sec, nsec FROM nanosleeps) AS n GROUP BY comm"
--     With flags = 1 (TIMER_ABSTIME) the time is a deadline, which the original prints as a length.
-- @tool syncsnoop: syncsnoop.py | recorder record 'syscalls if nr == 74 || nr == 75 || nr == 162 || nr == 26 || nr == 277 || nr == 306' | analyze syscalls x.trace --by both
--     With results and how long each took, not only that it began. The numbers are those of x86_64; O_SYNC writes and io_uring are no such calls, there and here.
-- @tool shmsnoop: shmsnoop | recorder record 'syscalls if nr == 29 || nr == 30 || nr == 31 || nr == 67' | analyze sql x.trace "SELECT ts, pid, comm, syscall_name(nr) AS call, arg0, arg1, arg2, end_ret FROM pairs(syscalls, begin => ev = 'enter', end => ev = 'exit', key => tid) WHERE ts IS NOT NULL AND NOT compat"
--     POSIX shared memory (shm_open, memfd_create) is none of these calls, there and here.
-- @tool futexctn: futexctn | recorder record 'syscalls if nr == 202' --stacks user | analyze sql x.trace "SELECT pid, comm, arg0 AS lock, count(*) AS waits, max(ns(end_ts) - ns(ts)) AS longest_ns FROM pairs(syscalls, begin => ev = 'enter', end => ev = 'exit', key => tid) WHERE (arg1 & 127) IN (0, 9) AND class = 'paired' AND NOT compat GROUP BY pid, comm, lock ORDER BY longest_ns DESC"
--     Waits that end with an error (a timeout, a value that has changed) count too, and FUTEX_WAIT_BITSET, by which condition variables wait.
-- @tool setuids: setuids.bt | recorder record 'setuids=syscall:setuid{ uid_, retval, uid }' 'setreuids=syscall:setreuid{ ruid, euid, retval, uid }' 'setresuids=syscall:setresuid{ ruid, euid, suid, retval, uid }' 'setfsuids=syscall:setfsuid{ uid_, retval, uid }' | analyze sql x.trace "SELECT ts, pid, comm, 'setuid' AS call, CAST(uid_ AS BIGINT) AS asked, retval FROM setuids UNION ALL SELECT ts, pid, comm, 'setreuid', CAST(euid AS BIGINT), retval FROM setreuids UNION ALL SELECT ts, pid, comm, 'setresuid', CAST(euid AS BIGINT), retval FROM setresuids UNION ALL SELECT ts, pid, comm, 'setfsuid', CAST(uid_ AS BIGINT), retval FROM setfsuids ORDER BY ts"
--     setreuid too; programs with the setuid bit change by execve, which is in table processes.

-- syncs and shared memory as often as the workload says, and as many failed
SELECT t.name, t.calls, t.failed, s.calls AS ours, s.errors
FROM truth AS t LEFT JOIN syscalls(top => 100) AS s ON s.call = t.name
WHERE t.name IN ('fsync', 'fdatasync', 'shmget', 'shmat', 'shmdt', 'shmctl')
    AND NOT coalesce(s.calls = t.calls AND s.errors = t.failed, false);

-- five, ten and two are what the workload was to do
SELECT * FROM truth WHERE (name = 'fsync' AND calls <> 5) OR (name = 'fdatasync' AND (calls <> 10 OR failed <> 5)) OR (name = 'shmdt' AND calls <> 2);

-- nothing else passes the condition
SELECT DISTINCT nr FROM syscalls WHERE nr NOT IN (74, 75, 162, 26, 277, 306, 29, 30, 31, 67, 202);

-- sleeps with what they asked for, and a deadline apart
SELECT 'naps' AS what, count(*) AS n FROM naps WHERE comm = 'xtask' AND flags = 0 AND nsec = 20000000 AND retval = 0 HAVING count(*) < 3
UNION ALL SELECT 'deadlines', count(*) FROM naps WHERE comm = 'xtask' AND flags = 1 HAVING count(*) <> 1
UNION ALL SELECT 'nanosleeps', count(*) FROM nanosleeps WHERE nsec = 20000000 AND retval = 0 HAVING count(*) <> 3;

-- the wait for the lock that nobody releases took the 20 ms that it was to take at most, and failed
SELECT count(*) AS n, min(ns(end_ts) - ns(ts)) AS waited_ns, min(end_ret) AS ret
FROM pairs(syscalls, begin => ev = 'enter', end => ev = 'exit', key => tid)
WHERE nr = 202 AND class = 'paired' AND (arg1 & 127) IN (0, 9) AND CAST(arg0 AS BIGINT) = (SELECT futex FROM locks)
HAVING count(*) <> 1 OR min(ns(end_ts) - ns(ts)) < 20000000 OR min(end_ret) <> -110;

-- each change of identity once, the last of them refused
SELECT 'setuids' AS what, count(*) AS n FROM setuids WHERE comm = 'xtask' AND retval = -1 HAVING count(*) <> 1
UNION ALL SELECT 'setreuids', count(*) FROM setreuids WHERE retval = 0 HAVING count(*) <> 1
UNION ALL SELECT 'setresuids', count(*) FROM setresuids WHERE retval = 0 HAVING count(*) <> 1
UNION ALL SELECT 'setfsuids', count(*) FROM setfsuids HAVING count(*) <> 1;
