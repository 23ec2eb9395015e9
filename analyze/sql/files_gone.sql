-- Why names of files are gone: removed, renamed, or taken by another file, and by whom.
--
-- One row for each name that is gone or was to be. A rename over another file is two: one for the name that it had, one
-- for the file that had the new name. A file with further names lives on under these (links_left).
--
-- @tool filegone: filegone | recorder record dir_entries -d 60 | analyze files_gone x.trace
--     Does not tell files that are overwritten by a rename, nor whether another name of the file is left.
-- @table dir_entries(ev enum(create,mknod,symlink,link,mkdir,unlink,rmdir,rename), dev u32, ino u64, links u32, dir_ino u64, name string[255], new_dir_ino u64, new_name string[255], over_ino u64, over_links u32, flags x32, ret s32)
-- @param only choice(done|failed|all) = done: names that are gone, those that could not be removed or renamed, or both
-- @param like text = %: only names that match this pattern
-- @column ts time: when
-- @column pid u32: process
-- @column comm char[16]: its name
-- @column how text: removed (also of a directory), renamed, exchanged, or overwritten by a rename
-- @column dev text: device of the file system, MAJOR:MINOR
-- @column dir_ino u64: inode number of the directory
-- @column name string[255]: the name that is gone
-- @column ino u64: inode number of the file that had it
-- @column links_left s64: names that the file has left; NULL for directories, and where it keeps all
-- @column new_name string[255]: of renamed its new name, of overwritten the old name of the file that has the name now
-- @column error text: name of the error; NULL if it was done
-- @loss names are missing
SELECT
    ts,
    pid,
    comm,
    how,
    dev_name(dev) AS dev,
    dir_ino,
    name,
    ino,
    CASE WHEN ret = 0 THEN links_left END AS links_left,
    new_name,
    errno_name(ret) AS error
FROM (
    SELECT
        ts, cpu, seq, pid, comm, dev, dir_ino, name, ino, new_name, ret,
        CASE ev WHEN 'rename' THEN CASE WHEN flags & 2 <> 0 THEN 'exchanged' ELSE 'renamed' END ELSE 'removed' END AS how,
        CASE WHEN ev = 'unlink' THEN CAST(links AS BIGINT) - 1 END AS links_left
    FROM dir_entries
    WHERE ev IN ('unlink', 'rmdir', 'rename')
    UNION ALL
    SELECT
        ts, cpu, seq, pid, comm, dev, new_dir_ino AS dir_ino, new_name AS name, over_ino AS ino, name AS new_name, ret,
        'overwritten' AS how,
        CAST(over_links AS BIGINT) - 1 AS links_left
    FROM dir_entries
    WHERE ev = 'rename' AND over_ino IS NOT NULL AND over_ino <> ino AND flags & 2 = 0
) AS gone
WHERE ($like = '%' OR name LIKE $like) AND ($only = 'all' OR ($only = 'done' AND ret = 0) OR ($only = 'failed' AND ret < 0))
ORDER BY ts, how, name
