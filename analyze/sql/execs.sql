-- Which programs were executed, with which arguments, and which could not be.
--
-- @tool execsnoop: execsnoop -x | recorder record execs -d 10 | analyze execs x.trace
--     Reads names and arguments when the call begins, where they may not be in memory and another thread may still change them,
--     and at most 20 arguments. Here they are what the new program has got; those of a call that failed are not known.
-- @table execs(comm char[16], path ustring[255], args argv[510], ret s32, ppid u32, uid u32)
-- @param only choice(all|failed|executed) = all: only calls that failed, or that did not
-- @param like text = %: only those with a path or arguments that match this pattern
-- @column ts time: when
-- @column pid u32: process
-- @column ppid u32: its parent then
-- @column uid u32: its real user
-- @column comm char[16]: name of the thread; of a program that was executed its new one
-- @column error text: name of the error; NULL if it was executed
-- @column path ustring[255]: program that was asked for; NULL where it could not be read
-- @column args argv[510]: its arguments as a shell would read them, cut at 510 bytes; NULL where it was not executed
-- @loss programs are missing
SELECT ts, pid, ppid, uid, comm, errno_name(ret) AS error, path, args
FROM execs
WHERE ($only = 'all' OR ($only = 'failed' AND ret < 0) OR ($only = 'executed' AND ret >= 0))
    AND ($like = '%' OR path LIKE $like OR args LIKE $like)
ORDER BY ts, pid
