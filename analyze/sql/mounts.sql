-- Who mounted and unmounted what, step by step, and whether that worked.
--
-- One row for each call. With the new calls a mount takes several: fsopen, fsconfig for each option, fsconfig create,
-- fsmount, move_mount.
--
-- @tool mountsnoop: mountsnoop | recorder record mounts -d 60 | analyze mounts x.trace
--     Has no open_tree, mount_setattr, fspick and pivot_root, and did not know the new calls at all until 2024; its flags of
--     fsmount were wrong until 2025.
-- @table mounts
-- @param only choice(all|failed|done) = all: only calls that failed, or that did not
-- @column ts time: when the call returned
-- @column pid u32: process
-- @column comm char[16]: its name
-- @column mntns u32: its mount namespace
-- @column syscall enum: what was called, of fsconfig column cmd says more
-- @column source ustring[127]: what is mounted
-- @column target ustring[127]: where
-- @column fstype ustring[31]: type of the file system
-- @column flags text: names of the flags of mount and umount, the flags of others in hexadecimal
-- @column options text: options of mount; of fsconfig what to do, with name and value
-- @column fd s32: descriptor that it works on
-- @column new_fd s32: descriptor that it gave, of calls that give one
-- @column error text: name of the error; NULL if it worked
-- @loss calls are missing
SELECT
    ts,
    pid,
    comm,
    mntns,
    syscall,
    source,
    target,
    fstype,
    CASE syscall
        WHEN 'mount' THEN nullif(concat_ws(',',
            CASE WHEN flags & 1 <> 0 THEN 'MS_RDONLY' END,
            CASE WHEN flags & 2 <> 0 THEN 'MS_NOSUID' END,
            CASE WHEN flags & 4 <> 0 THEN 'MS_NODEV' END,
            CASE WHEN flags & 8 <> 0 THEN 'MS_NOEXEC' END,
            CASE WHEN flags & 16 <> 0 THEN 'MS_SYNCHRONOUS' END,
            CASE WHEN flags & 32 <> 0 THEN 'MS_REMOUNT' END,
            CASE WHEN flags & 64 <> 0 THEN 'MS_MANDLOCK' END,
            CASE WHEN flags & 128 <> 0 THEN 'MS_DIRSYNC' END,
            CASE WHEN flags & 256 <> 0 THEN 'MS_NOSYMFOLLOW' END,
            CASE WHEN flags & 1024 <> 0 THEN 'MS_NOATIME' END,
            CASE WHEN flags & 2048 <> 0 THEN 'MS_NODIRATIME' END,
            CASE WHEN flags & 4096 <> 0 THEN 'MS_BIND' END,
            CASE WHEN flags & 8192 <> 0 THEN 'MS_MOVE' END,
            CASE WHEN flags & 16384 <> 0 THEN 'MS_REC' END,
            CASE WHEN flags & 32768 <> 0 THEN 'MS_SILENT' END,
            CASE WHEN flags & 65536 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_POSIXACL' END,
            CASE WHEN flags & 131072 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_UNBINDABLE' END,
            CASE WHEN flags & 262144 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_PRIVATE' END,
            CASE WHEN flags & 524288 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_SLAVE' END,
            CASE WHEN flags & 1048576 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_SHARED' END,
            CASE WHEN flags & 2097152 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_RELATIME' END,
            CASE WHEN flags & 8388608 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_I_VERSION' END,
            CASE WHEN flags & 16777216 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_STRICTATIME' END,
            CASE WHEN flags & 33554432 <> 0 AND flags & 4294901760 <> 3236757504 THEN 'MS_LAZYTIME' END), '')
        WHEN 'umount' THEN nullif(concat_ws(',',
            CASE WHEN flags & 1 <> 0 THEN 'MNT_FORCE' END,
            CASE WHEN flags & 2 <> 0 THEN 'MNT_DETACH' END,
            CASE WHEN flags & 4 <> 0 THEN 'MNT_EXPIRE' END,
            CASE WHEN flags & 8 <> 0 THEN 'UMOUNT_NOFOLLOW' END), '')
        ELSE '0x' || lower(to_hex(flags))
    END AS flags,
    CASE syscall
        WHEN 'fsconfig' THEN concat_ws(' ', CAST(cmd AS VARCHAR), key || coalesce('=' || options, ''))
        ELSE options
    END AS options,
    coalesce(fd, source_fd, target_fd) AS fd,
    CASE WHEN syscall IN ('fsopen', 'fspick', 'fsmount', 'open_tree') AND ret >= 0 THEN ret END AS new_fd,
    errno_name(ret) AS error
FROM mounts
WHERE $only = 'all' OR ($only = 'failed' AND ret < 0) OR ($only = 'done' AND ret >= 0)
ORDER BY ts, pid
