-- Files that were made and removed while recording: how long they lived, who made them and who removed them.
--
-- A file is gone when its last name is: removed, or taken by another file in a rename. It is told apart by device and
-- inode number, from its making to the next time that it loses its last name. Directories are left out; so are files
-- whose making was not recorded, and those that are linked after an open without a name (O_TMPFILE).
--
-- @tool filelife: filelife | recorder record dir_entries -d 60 | analyze file_lives x.trace
--     Knows a file by the address of its name's entry in memory, which is used again; takes the removal of one of several
--     names for the end, and does not see files that end because another one is renamed over them.
-- @table dir_entries(ev enum(create,mknod,symlink,link,mkdir,unlink,rmdir,rename), dev u32, ino u64, links u32, dir_ino u64, name string[255], new_name string[255], over_ino u64, over_links u32, flags x32, ret s32)
-- @param max_life_ns duration = 1000h: files that lived longer are left out
-- @column made time: when it was made
-- @column removed time: when it lost its last name
-- @column life_ns s64 [ns]: the time between
-- @column dev text: device of the file system, MAJOR:MINOR
-- @column ino u64: inode number
-- @column dir_ino u64: directory in which it was made
-- @column name string[255]: name with which it was made
-- @column last_name string[255]: its last name
-- @column how text: removed, or overwritten by a rename
-- @column pid u32: process that made it
-- @column comm char[16]: its name
-- @column end_pid u32: process that removed it
-- @column end_comm char[16]: its name
-- @loss files are missing; where an end and the next making of the same inode number were both lost, two lives look like one
SELECT
    ts AS made,
    end_ts AS removed,
    ns(end_ts) - ns(ts) AS life_ns,
    dev_name(dev) AS dev,
    file_ino AS ino,
    dir_ino,
    name,
    end_last_name AS last_name,
    CASE WHEN end_ev = 'rename' THEN 'overwritten' ELSE 'removed' END AS how,
    pid,
    comm,
    end_pid,
    end_comm
FROM pairs((
    SELECT
        ts, cpu, probe, seq, ev, dev, dir_ino, name, pid, comm,
        CASE WHEN ev = 'rename' THEN over_ino ELSE ino END AS file_ino,
        CASE WHEN ev = 'rename' THEN new_name ELSE name END AS last_name
    FROM dir_entries
    WHERE ret = 0 AND (
        ev IN ('create', 'mknod', 'symlink')
        OR (ev = 'unlink' AND links = 1)
        OR (ev = 'rename' AND over_links = 1 AND flags & 2 = 0)
    )
), begin => ev IN ('create', 'mknod', 'symlink'), end => ev IN ('unlink', 'rename'), key => (dev, file_ino))
WHERE class = 'paired' AND ns(end_ts) - ns(ts) <= $max_life_ns
ORDER BY made, dev, ino
