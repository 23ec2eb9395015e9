-- Softirqs that were asked for and had to wait until they ran, longest first.
--
-- A softirq waits from the first time that it is raised on a processor after it has last begun there. What is raised
-- again meanwhile is done with the first. Before it has been seen to begin once on the processor, nothing is known.
--
-- @table irqs
-- @param min_ns duration = 0s: shorter waits are left out
-- @param top count = 100: rows at most
-- @tool softirqslower: softirqslower 100 | recorder record irqs -d 10 | analyze softirq_delay x.trace --min 100us
--     The original takes the time of the last raise: one that is raised again and again seems to wait for a moment only.
-- @column ts time: when it was raised
-- @column delay_ns s64 [ns]: how long it waited
-- @column cpu u16: processor
-- @column nr s32: number of the softirq
-- @column name text: its name
-- @loss a wait may be missing, or be too long
SELECT
    ts,
    ns(end_ts) - ns(ts) AS delay_ns,
    cpu,
    nr,
    CASE
        WHEN nr > 9 THEN CAST(nr AS VARCHAR)
        ELSE split_part('HI,TIMER,NET_TX,NET_RX,BLOCK,IRQ_POLL,TASKLET,SCHED,HRTIMER,RCU', ',', CAST(nr AS INTEGER) + 1)
    END AS name
FROM pairs((
    -- The first raise after each begin.
    SELECT end_ts AS ts, cpu, nr, false AS runs
    FROM pairs((
        SELECT ts, cpu, probe, seq, nr, ev FROM irqs WHERE kind = 'soft' AND ev <> 'exit'
    ), begin => ev = 'entry', end => ev = 'raise', key => (cpu, nr))
    WHERE class = 'paired'
    UNION ALL
    SELECT ts, cpu, nr, true FROM irqs WHERE kind = 'soft' AND ev = 'entry'
), begin => NOT runs, end => runs, key => (cpu, nr))
WHERE class = 'paired' AND ns(end_ts) - ns(ts) >= $min_ns
ORDER BY delay_ns DESC, ts, cpu, nr
LIMIT $top
