-- Which code asked for block I/O, and how long that took.
--
-- Record with --stacks kernel. Writes that the kernel does later have the stack of the thread that writes them back.
--
-- @tool biostacks: biostacks.bt | recorder record block_io --stacks kernel -d 10 | analyze bio_stacks x.trace
--     Needs a function that most kernels inline; where it takes block_rq_issue instead, the stack may be a kworker's.
-- @table block_io(kstack kstack[32])
-- @param top count = 20: rows at most
-- @column stack text: kernel stack of who asked, innermost first; NULL if none was recorded, or nobody knows who asked
-- @column comm char[16]: program that asked
-- @column op enum: what was asked for
-- @column requests s64: requests that were done
-- @column bytes s64 [bytes]: their size
-- @column total_ns s64 [ns]: their times from queued to done, together
-- @column p50_ns s64 [ns]: half of them took at most this long
-- @column max_ns s64 [ns]: the longest
-- @loss counts and bytes may be too low, and a request across a loss may look too long
SELECT
    stack_text(kstack) AS stack,
    comm,
    op,
    count(*) AS requests,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    CAST(sum(total_ns) AS BIGINT) AS total_ns,
    percentile(total_ns, 0.5) AS p50_ns,
    max(total_ns) AS max_ns
FROM bios()
WHERE done_ts IS NOT NULL
GROUP BY kstack, comm, op
ORDER BY total_ns DESC NULLS LAST, requests DESC, stack, comm, op
LIMIT $top
