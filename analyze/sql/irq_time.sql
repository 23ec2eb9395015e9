-- How long handlers of devices' interrupts and softirqs ran.
--
-- An interrupt that comes while a softirq runs is in the time of the softirq, too. A handler is told by its number and its
-- name, because several may share a line. Timer interrupts and those between processors are not recorded (see irqs), nor
-- the threads of threaded handlers, which are in switches.
--
-- @table irqs
-- @param kind choice(all|hard|soft) = all: both, or only handlers of devices, or only softirqs
-- @param by choice(handler|cpu) = handler: one row for each handler, or for each on each processor
-- @tool hardirqs: hardirqs 10 1 | recorder record irqs -d 10 | analyze irq_time x.trace --kind hard
--     Older ones count a handler twice where a line is shared, and the same option counts in one port and measures in another.
-- @tool softirqs: softirqs 10 1 | recorder record irqs -d 10 | analyze irq_time x.trace --kind soft
--     Histograms of the libbpf ports were wrong until 2025-02.
-- @column kind text: hard or soft
-- @column nr s32: number, as in /proc/interrupts, or of the softirq
-- @column name text: name of the handler or softirq
-- @column cpu u16: processor; NULL unless by cpu
-- @column calls s64: how often it began
-- @column not_mine s64: of these, the handler said that it was not its device; NULL for softirqs
-- @column time_ns s64 [ns]: how long it ran in sum, of those whose begin and end were seen
-- @column p50_ns s64 [ns]: half of them took at most so long
-- @column p99_ns s64 [ns]: 99 % did
-- @column max_ns s64 [ns]: the longest
-- @column log2_ns text: how many took from 2^N to 2^(N+1) - 1 ns, as N:COUNT
-- @loss calls are missing, and where an end and the next begin on a processor were lost, two look like one that is too long
SELECT
    kind, nr, name, cpu,
    count(*) AS calls,
    CASE WHEN kind = 'hard' THEN count(*) FILTER (WHERE end_ret = 0) END AS not_mine,
    CAST(coalesce(sum(time_ns), 0) AS BIGINT) AS time_ns,
    percentile(time_ns, 0.5) AS p50_ns,
    percentile(time_ns, 0.99) AS p99_ns,
    max(time_ns) AS max_ns,
    log2_histogram(time_ns) AS log2_ns
FROM (
    SELECT
        kind, nr, name, end_ret,
        CASE WHEN $by = 'cpu' THEN cpu END AS cpu,
        CASE WHEN class = 'paired' THEN ns(end_ts) - ns(ts) END AS time_ns
    -- On a processor a handler does not interrupt itself.
    FROM pairs((
        SELECT
            ts, cpu, probe, seq, ev, ret, nr,
            CAST(kind AS VARCHAR) AS kind,
            CASE
                WHEN kind = 'hard' THEN coalesce(CAST(name AS VARCHAR), '')
                WHEN nr > 9 THEN CAST(nr AS VARCHAR)
                ELSE split_part('HI,TIMER,NET_TX,NET_RX,BLOCK,IRQ_POLL,TASKLET,SCHED,HRTIMER,RCU', ',', CAST(nr AS INTEGER) + 1)
            END AS name
        FROM irqs
        WHERE ev <> 'raise'
    ), begin => ev = 'entry', end => ev = 'exit', key => (cpu, kind, nr, name))
    WHERE class IN ('paired', 'outstanding', 'end_missed') AND ($kind = 'all' OR kind = $kind)
) AS calls
GROUP BY kind, nr, name, cpu
ORDER BY time_ns DESC, kind, nr, name, cpu
