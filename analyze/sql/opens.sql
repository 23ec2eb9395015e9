-- Which files each program opened, and which it could not.
--
-- One row for each program, path and result. A relative path stands for itself: what it begins at differs by process
-- and descriptor. Each call: SELECT * FROM opens.
--
-- @tool opensnoop: opensnoop -x | recorder record opens -d 10 | analyze opens x.trace --only failed
--     Reads the name when the call begins: it is empty while its page is not in memory. Here it is read when the call
--     returns. Opens by io_uring have no line there, and of more than some 100,000 a second lines are lost silently.
-- @table opens(comm char[16], path ustring[255], ret s32)
-- @param only choice(all|failed|opened) = all: only opens that failed, or that did not
-- @param like text = %: only paths that match this pattern
-- @param top count = 20: rows at most
-- @column comm char[16]: program
-- @column path ustring[255]: path as given; NULL where it could not be read
-- @column error text: name of the error; NULL if it was opened; 'unknown' of io_uring requests whose result has no row
-- @column opens s64: how often
-- @column processes s64: by how many processes
-- @column first time: first time
-- @column last time: last time
-- @loss the numbers may be too low
SELECT
    comm,
    path,
    CASE WHEN ret IS NULL THEN 'unknown' ELSE errno_name(ret) END AS error,
    count(*) AS opens,
    count(DISTINCT pid) AS processes,
    min(ts) AS first,
    max(ts) AS last
FROM opens
WHERE ($only = 'all' OR ($only = 'failed' AND ret < 0) OR ($only = 'opened' AND ret >= 0)) AND ($like = '%' OR path LIKE $like)
GROUP BY comm, path, CASE WHEN ret IS NULL THEN 'unknown' ELSE errno_name(ret) END
ORDER BY opens DESC, comm, path, error
LIMIT $top
