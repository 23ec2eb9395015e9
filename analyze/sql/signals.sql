-- Who sent which signal to whom.
--
-- What the kernel sends on its own (column code above 0) has as sender the thread that ran, which may have caused it, as
-- one that ends (SIGCHLD) or reads where it must not (SIGSEGV), or not. Calls that fail (no such process, no right) send
-- nothing: those are in events of system calls. One that could not be queued (overflow_fail, EAGAIN) counts too.
--
-- @table signals
-- @param chld choice(no|yes) = no: with SIGCHLD, by which the kernel tells a process of its children
-- @param top count = 100: rows at most
-- @tool killsnoop: killsnoop | recorder record signals -d 10 | analyze signals x.trace
--     The original sees kill(2) only, or that and tgkill; here it is every way, also pidfd_send_signal, sigqueue, the
--     terminal and timers. It shows failed calls, which are no signals: for those record 'syscall:kill'.
-- @tool sigsnoop: sigsnoop | recorder record signals -d 10 | analyze signals x.trace --chld yes
--     The original shows as result what is none (si_errno), and drops signals above 31 from its filter.
-- @column comm char[16]: sender; NULL: an interrupt, such as that of a timer
-- @column pid u32: its process
-- @column target_comm char[16]: thread that gets it
-- @column target_pid s32: its process
-- @column sig s32: number of the signal
-- @column name text: its name
-- @column code s32: how it came: 0 kill, -6 tgkill or tkill, -1 sigqueue, -2 a timer, above 0 the kernel
-- @column signals s64: how many
-- @column ignored s64: of these, nobody would have taken
-- @column merged s64: of these, the same signal waited already, so that the target gets one less
-- @column first time: the first
-- @column last time: the last
-- @loss signals are missing
SELECT
    comm, pid, target_comm, target_pid, sig,
    signal_name(sig) AS name,
    code,
    count(*) AS signals,
    count(*) FILTER (WHERE result = 'ignored') AS ignored,
    count(*) FILTER (WHERE result = 'already_pending') AS merged,
    min(ts) AS first,
    max(ts) AS last
FROM signals
WHERE ev = 'generate' AND ($chld = 'yes' OR sig <> 17)
GROUP BY comm, pid, target_comm, target_pid, sig, code
ORDER BY first, comm, pid, target_pid, target_comm, sig, code
LIMIT $top
