-- What the processors were doing: samples by name, process or thread, and by stack.
--
-- Each sample stands for the time from one to the next, so that cpu_ns is an estimate: of n samples it is off by about the square root
-- of n of them. Record with --stacks for the functions; without, in_user tells programs from the kernel. Interrupts
-- are nobody's: they have a ctx of their own and no name. What runs with interrupts off is found when they are on again, by the function
-- that allows them (such as _raw_spin_unlock_irqrestore). For a flame graph:
-- analyze sql x.trace --format csv "SELECT concat_ws(' ', stack, samples) FROM cpu_profile(stacks => 'fold', top => 1000000)",
-- without its first line.
--
-- @tool profile: profile -F 99 10 | recorder record samples --stacks both -d 10 | analyze cpu_profile x.trace
--     At another rate: recorder record 'samples=profile:hz:49' --stacks both. The original takes a softirq or an interrupt for the
--     program that it interrupts, keeps stacks in a table of fixed size, and does not tell samples that did not come (here
--     losses, sample_missed).
-- @table samples(in_user bool, period u64, kstack kstack[32], ustack ustack[32])
-- @param by choice(comm|process|thread|all) = comm: group by names, by processes, by threads, or all together
-- @param stacks choice(text|fold|no) = text: each stack by itself as two texts, as one text for flame graphs, or all stacks together
-- @param mode choice(all|user|kernel) = all: only samples of programs, or only of the kernel (with its interrupts)
-- @param idle choice(no|yes) = no: with those of idle processors
-- @param top count = 20: rows at most
-- @column comm char[16]: thread; NULL if all together, and in interrupts
-- @column pid s32: its process; NULL if by comm
-- @column tid s32: its id; NULL unless by thread
-- @column ctx text: what was found running: task, softirq, hardirq or nmi
-- @column stack text: functions of the kernel stack, innermost first; NULL if none was recorded, or a program was running. With fold: name, and functions of user and kernel stack, outermost first, separated by ';'
-- @column user_stack text: the same of the user stack; NULL with fold
-- @column samples s64: how many
-- @column user_samples s64: of these, samples of a program and not of the kernel
-- @column cpu_ns s64 [ns]: time of a processor for which they stand
-- @column percent f64 [%]: their part of all samples that were asked for
-- @loss samples are missing, so that times are too short; percentages hold as far as all were missed alike
SELECT
    comm, pid, tid, ctx, stack, user_stack, samples, user_samples, cpu_ns,
    round(100.0 * samples / sum(samples) OVER (), 2) AS percent
FROM (
    SELECT
        comm, pid, tid, ctx, stack, user_stack,
        CAST(sum(samples) AS BIGINT) AS samples,
        CAST(sum(user_samples) AS BIGINT) AS user_samples,
        CAST(sum(cpu_ns) AS BIGINT) AS cpu_ns
    FROM (
        SELECT
            comm, pid, tid, ctx, samples, user_samples, cpu_ns,
            -- Samples of one function are one row, wherever in it they are.
            CASE
                WHEN $stacks = 'text' THEN regexp_replace(stack_text(kstack), '\+0x[0-9a-f]+', '', 'g')
                WHEN $stacks = 'fold' THEN concat_ws(';', coalesce(comm, ctx), stack_fold(ustack), stack_fold(kstack))
            END AS stack,
            CASE WHEN $stacks = 'text' THEN regexp_replace(stack_text(ustack), '\+0x[0-9a-f]+', '', 'g') END AS user_stack
        FROM (
            SELECT
                comm, pid, tid, ctx, kstack, ustack,
                count(*) AS samples,
                count(*) FILTER (WHERE in_user) AS user_samples,
                sum(period) AS cpu_ns
            FROM (
                SELECT
                    CASE WHEN $by <> 'all' THEN CAST(comm AS VARCHAR) END AS comm,
                    CASE WHEN $by IN ('process', 'thread') THEN pid END AS pid,
                    CASE WHEN $by = 'thread' THEN tid END AS tid,
                    CAST(ctx AS VARCHAR) AS ctx,
                    CASE WHEN $stacks <> 'no' THEN kstack END AS kstack,
                    CASE WHEN $stacks <> 'no' THEN ustack END AS ustack,
                    in_user,
                    period
                FROM samples
                WHERE
                    ($idle = 'yes' OR pid IS NULL OR pid <> 0)
                    AND ($mode = 'all' OR in_user = ($mode = 'user'))
            ) AS wanted
            GROUP BY comm, pid, tid, ctx, kstack, ustack
        ) AS by_stack
    ) AS named
    GROUP BY comm, pid, tid, ctx, stack, user_stack
) AS by_functions
ORDER BY samples DESC, comm, pid, tid, ctx, stack, user_stack
LIMIT $top
