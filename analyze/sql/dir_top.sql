-- In which directories files are read and written most, in bytes that were read and written.
--
-- A directory stands for the files in it, not for those further below.
--
-- @tool dirtop: dirtop -d '/data/*' 10 | recorder record file_io -d 10 | analyze dir_top x.trace
--     Compares inode numbers without the device, so that a directory of another file system counts too, knows only the
--     directories that there were when it began, and adds what was asked for instead of what came.
-- @table file_io(op enum(read,write,readv,writev,fsync,open,getattr), dev u32, fstype string[16], ino u64, mode x16, name string[127], dir_ino u64, dir_name string[63], ret s64, created bool)
-- @param files choice(regular|all) = regular: regular files only, or devices, pipes and all others too
-- @param top count = 20: rows at most
-- @column fstype string[16]: type of the file system
-- @column dev text: its device, MAJOR:MINOR
-- @column dir_ino u64: inode number of the directory
-- @column dir_name string[63]: its last name, of several names that it had the last in the alphabet; / where a file system begins
-- @column files s64: files that were read or written
-- @column processes s64: processes that did
-- @column reads s64: calls and requests that read
-- @column writes s64: that write
-- @column read_bytes s64 [bytes]: bytes that were read
-- @column write_bytes s64 [bytes]: that were written
-- @column failed s64: reads and writes that failed
-- @loss the numbers may be too low
SELECT
    fstype,
    dev_name(dev) AS dev,
    dir_ino,
    max(dir_name) AS dir_name,
    count(DISTINCT ino) AS files,
    count(DISTINCT pid) AS processes,
    count(*) FILTER (WHERE op IN ('read', 'readv')) AS reads,
    count(*) FILTER (WHERE op IN ('write', 'writev')) AS writes,
    CAST(coalesce(sum(ret) FILTER (WHERE op IN ('read', 'readv') AND ret > 0), 0) AS BIGINT) AS read_bytes,
    CAST(coalesce(sum(ret) FILTER (WHERE op IN ('write', 'writev') AND ret > 0), 0) AS BIGINT) AS write_bytes,
    count(*) FILTER (WHERE ret < 0) AS failed
FROM file_io
WHERE op IN ('read', 'write', 'readv', 'writev') AND ($files = 'all' OR (mode & 61440) = 32768)
GROUP BY fstype, dev, dir_ino
ORDER BY read_bytes + write_bytes DESC, reads + writes DESC, dev, dir_ino
LIMIT $top
