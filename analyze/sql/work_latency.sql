-- How long work of the kernel waited in its queue, and how long it took.
--
-- Work that is delayed waits from the end of its timer. A work item is known by its address, which is used again: work
-- that is queued again while it runs is work of its own.
--
-- @table works
-- @param by choice(function|workqueue|both) = function: one row for each function, each workqueue, or each of both
-- @param top count = 20: rows at most
-- @tool wqlat: wqlat 10 1 | recorder record works -d 10 | analyze work_latency x.trace --by workqueue
--     The original keeps one time for an address, and does not tell how long the work itself took.
-- @column function text: function that does the work; NULL if by workqueue
-- @column workqueue text: name of the workqueue; NULL if by function
-- @column works s64: how many began, of those seen to be queued
-- @column wait_ns s64 [ns]: how long they waited in sum
-- @column wait_p50_ns s64 [ns]: half of them waited at most so long
-- @column wait_p99_ns s64 [ns]: 99 % did
-- @column wait_max_ns s64 [ns]: the longest wait
-- @column log2_ns text: how many waited from 2^N to 2^(N+1) - 1 ns, as N:COUNT
-- @column run_ns s64 [ns]: how long they took in sum, with what they slept; of those whose end was seen
-- @column run_max_ns s64 [ns]: the longest; NULL if no end was seen
-- @loss works are missing, and one across a loss may look too long
SELECT
    symbol(function) AS function,
    workqueue,
    works, wait_ns, wait_p50_ns, wait_p99_ns, wait_max_ns, log2_ns, run_ns, run_max_ns
FROM (
    SELECT
        CASE WHEN $by <> 'workqueue' THEN function END AS function,
        CASE WHEN $by <> 'function' THEN workqueue END AS workqueue,
        count(*) AS works,
        CAST(sum(wait_ns) AS BIGINT) AS wait_ns,
        percentile(wait_ns, 0.5) AS wait_p50_ns,
        percentile(wait_ns, 0.99) AS wait_p99_ns,
        max(wait_ns) AS wait_max_ns,
        log2_histogram(wait_ns) AS log2_ns,
        CAST(coalesce(sum(ns(end_ts) - ns(ts)), 0) AS BIGINT) AS run_ns,
        max(ns(end_ts) - ns(ts)) AS run_max_ns
    -- A thread does one thing at a time; the item itself may be gone, and be other work, before its function returns.
    FROM pairs((
        SELECT
            end_ts AS ts, end_tid AS tid, end_function AS function, CAST(workqueue AS VARCHAR) AS workqueue,
            ns(end_ts) - ns(ts) AS wait_ns, false AS done
        FROM pairs((SELECT * FROM works WHERE ev <> 'end'), begin => ev = 'queue', end => ev = 'start', key => work)
        WHERE class = 'paired'
        UNION ALL
        SELECT ts, tid, function, CAST(NULL AS VARCHAR), CAST(NULL AS BIGINT), true FROM works WHERE ev = 'end'
    ), begin => NOT done, end => done, key => tid)
    WHERE class IN ('paired', 'outstanding', 'end_missed')
    GROUP BY 1, 2
) AS grouped
ORDER BY wait_ns DESC, function, workqueue
LIMIT $top
