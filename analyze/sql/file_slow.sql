-- Which calls of files took longest, with file and program.
--
-- A call began dur_ns before ts. Calls that have not returned when the recording ends are not among them: they are in
-- table unfinished_calls.
--
-- @tool fsslower: fsslower -t ext4 -m 10 | recorder record 'file_io if dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     One file system at a time there, with functions of its module; here all of them.
-- @tool fileslower: fileslower 10 | recorder record 'file_io if dur_ns >= 10ms' -d 10 | analyze file_slow x.trace --ops data
--     Its functions were taken out of the kernel in 5.8, and after that it sees only some ways to read and write.
-- @tool ext4slower: ext4slower 10 | recorder record 'file_io if fstype == "ext4" && dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     Reads through a function that other file systems share; a sync within a write (O_SYNC) takes the place of the write's start.
-- @tool xfsslower: xfsslower 10 | recorder record 'file_io if fstype == "xfs" && dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     Needs functions of the module, and fails before that is loaded.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on xfs.
-- @tool btrfsslower: btrfsslower 10 | recorder record 'file_io if fstype == "btrfs" && dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     Traces a function through which the reads of nearly all file systems go, and so slows them, too.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on btrfs.
-- @tool f2fsslower: f2fsslower 10 | recorder record 'file_io if fstype == "f2fs" && dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     Needs functions of the module.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on f2fs.
-- @tool nfsslower: nfsslower 10 | recorder record 'file_io if (fstype == "nfs" || fstype == "nfs4") && dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     Needs functions of the module.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on nfs.
-- @tool zfsslower: zfsslower 10 | recorder record 'file_io if fstype == "zfs" && dur_ns >= 10ms' -d 10 | analyze file_slow x.trace
--     Needs functions of a module whose names have changed.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on zfs.
-- @table file_io(op enum(read,write,readv,writev,fsync,open,getattr), via enum(call,io_uring), dev u32, fstype string[16], ino u64, mode x16, name string[127], dir_name string[63], pos s64, ret s64, dur_ns s64)
-- @param min_ns duration = 10ms: calls that took less are left out
-- @param fstype text = %: only file systems whose type matches this pattern
-- @param ops choice(all|data) = all: every call, or only those that read and write
-- @param files choice(regular|all) = regular: regular files and directories only, or devices, pipes, sockets and all others too
-- @param top count = 100: rows at most
-- @column ts time: when it returned
-- @column pid u32: process
-- @column comm char[16]: program
-- @column fstype string[16]: type of the file system
-- @column dev text: its device, MAJOR:MINOR
-- @column ino u64: inode number of the file
-- @column dir_name string[63]: last name of its directory
-- @column name string[127]: its name
-- @column op enum: what was done
-- @column pos s64: offset in the file; NULL where the call has none
-- @column bytes s64 [bytes]: what was read or written; NULL of others, and if it failed
-- @column error text: why it failed; NULL if not
-- @column dur_ns s64 [ns]: how long it took
-- @loss slow calls may be missing
SELECT
    ts,
    pid,
    comm,
    fstype,
    dev_name(dev) AS dev,
    ino,
    dir_name,
    name,
    op,
    pos,
    CASE WHEN op IN ('read', 'write', 'readv', 'writev') AND ret >= 0 THEN ret END AS bytes,
    errno_name(ret) AS error,
    dur_ns
FROM file_io
WHERE dur_ns >= $min_ns
    AND fstype LIKE $fstype
    AND ($ops = 'all' OR op IN ('read', 'write', 'readv', 'writev'))
    AND ($files = 'all' OR (mode & 61440) IN (16384, 32768))
ORDER BY dur_ns DESC, ts, pid, op, ino
LIMIT $top
