-- Which system calls were made, how many failed, and how long they took.
--
-- A row for each call, each program, or each call of each program. Calls of 32-bit programs have numbers of another table
-- and are shown as 32-bit:NUMBER.
--
-- @table syscalls(ev enum(enter,exit), nr s64, compat bool, ret s64)
-- @param by choice(call|comm|both) = call: what a row is about
-- @param slower_ns duration = 0ns: only calls that took at least this long; with 0 those that did not return, too
-- @param like text = %: only calls whose names match this pattern
-- @param top count = 20: rows at most
-- @column call text: system call; NULL with --by comm
-- @column comm char[16]: program; NULL with --by call
-- @column calls s64: how often it was made
-- @column errors s64: of these, returned an error; one that a signal interrupted and that is made again has no error
-- @column open s64: of these, were not seen to return: exit and exit_group never do, nor does execve where the trace ends
-- @column sum_ns s64 [ns]: time in calls that returned, waiting included
-- @column p50_ns s64 [ns]: half of them took at most this long
-- @column p99_ns s64 [ns]: 99 in 100 took at most this long
-- @column max_ns s64 [ns]: the longest
-- @loss calls are missing, and where a return and the next call of a thread are lost, two look like one that is too long
-- @tool syscount: syscount -L -e | recorder record syscalls -d 10 | analyze syscalls x.trace
--     There a call is counted when it returns: exit_group and calls that are still waiting never appear.
SELECT
    CASE WHEN $by = 'comm' THEN NULL ELSE name END AS call,
    CASE WHEN $by = 'call' THEN NULL ELSE comm END AS comm,
    count(*) AS calls,
    count(*) FILTER (WHERE end_ret BETWEEN -4095 AND -1 AND NOT end_ret BETWEEN -516 AND -512) AS errors,
    count(*) FILTER (WHERE took_ns IS NULL) AS open,
    CAST(coalesce(sum(took_ns), 0) AS BIGINT) AS sum_ns,
    percentile(took_ns, 0.5) AS p50_ns,
    percentile(took_ns, 0.99) AS p99_ns,
    max(took_ns) AS max_ns
FROM (
    SELECT
        CASE WHEN compat THEN concat('32-bit:', nr) ELSE syscall_name(nr) END AS name,
        comm,
        end_ret,
        CASE WHEN class = 'paired' THEN ns(end_ts) - ns(ts) END AS took_ns
    FROM pairs(syscalls, begin => ev = 'enter', end => ev = 'exit', key => tid)
    WHERE ts IS NOT NULL
) AS made
WHERE name LIKE $like AND ($slower_ns = 0 OR took_ns >= $slower_ns)
GROUP BY 1, 2
ORDER BY sum_ns DESC, calls DESC, call, comm
LIMIT $top
