-- Which capabilities the kernel asked for, of which programs, and whether they had them.
--
-- One thing that a program does may be several questions. A refusal of which nobody is told (column silent) is often no
-- refusal of what was asked for: the kernel only wants to know whether it may allow more than usual.
--
-- @table capabilities
-- @param refused choice(no|yes) = no: yes shows only what was refused
-- @param top count = 100: rows at most
-- @tool capable: capable | recorder record capabilities -d 10 | analyze capabilities x.trace
--     The original does not say whether the capability was there, and hides what asks in silence.
-- @column comm char[16]: program; NULL in an interrupt
-- @column uid u32: its user, effective
-- @column cap s32: number of the capability
-- @column name text: its name
-- @column granted s64: how often it was there
-- @column refused s64: how often it was not
-- @column silent s64: of these, in silence; NULL where that is not known
-- @column first time: the first question
-- @column last time: the last
-- @loss questions are missing
SELECT
    comm, uid, cap,
    CASE
        WHEN cap > 40 THEN CAST(cap AS VARCHAR)
        ELSE 'CAP_' || split_part(
            'CHOWN,DAC_OVERRIDE,DAC_READ_SEARCH,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,LINUX_IMMUTABLE,NET_BIND_SERVICE,'
            || 'NET_BROADCAST,NET_ADMIN,NET_RAW,IPC_LOCK,IPC_OWNER,SYS_MODULE,SYS_RAWIO,SYS_CHROOT,SYS_PTRACE,SYS_PACCT,'
            || 'SYS_ADMIN,SYS_BOOT,SYS_NICE,SYS_RESOURCE,SYS_TIME,SYS_TTY_CONFIG,MKNOD,LEASE,AUDIT_WRITE,AUDIT_CONTROL,'
            || 'SETFCAP,MAC_OVERRIDE,MAC_ADMIN,SYSLOG,WAKE_ALARM,BLOCK_SUSPEND,AUDIT_READ,PERFMON,BPF,CHECKPOINT_RESTORE',
            ',', CAST(cap AS INTEGER) + 1)
    END AS name,
    count(*) FILTER (WHERE ret = 0) AS granted,
    count(*) FILTER (WHERE ret <> 0) AS refused,
    CASE WHEN count(opts) = count(*) THEN count(*) FILTER (WHERE ret <> 0 AND (opts & 2) <> 0) END AS silent,
    min(ts) AS first,
    max(ts) AS last
FROM capabilities
WHERE $refused = 'no' OR ret <> 0
GROUP BY comm, uid, cap
ORDER BY refused DESC, granted DESC, comm, uid, cap
LIMIT $top
