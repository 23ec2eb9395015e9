-- Which files each process reads and writes most, in bytes that were read and written.
--
-- @tool filetop: filetop 10 | recorder record file_io -d 10 | analyze file_top x.trace
--     Adds what was asked for, so that a read at the end of a file counts in full; sees neither readv nor writev nor
--     io_uring; and after 10,240 files the rest is left out in silence. Here bytes are those that came.
-- @table file_io(op enum(read,write,readv,writev,fsync,open,getattr), dev u32, fstype string[16], ino u64, mode x16, name string[127], dir_ino u64, dir_name string[63], ret s64, created bool)
-- @param files choice(regular|all) = regular: regular files only, or devices, pipes, sockets and all others too
-- @param top count = 20: rows at most
-- @column pid u32: process
-- @column comm char[16]: its name
-- @column fstype string[16]: type of the file system
-- @column dev text: its device, MAJOR:MINOR
-- @column ino u64: inode number
-- @column dir_name string[63]: last name of the directory
-- @column name string[127]: name of the file
-- @column reads s64: calls and requests that read
-- @column writes s64: that write
-- @column read_bytes s64 [bytes]: bytes that were read
-- @column write_bytes s64 [bytes]: that were written
-- @column failed s64: reads and writes that failed
-- @loss the numbers may be too low
SELECT
    pid,
    comm,
    fstype,
    dev_name(dev) AS dev,
    ino,
    dir_name,
    name,
    count(*) FILTER (WHERE op IN ('read', 'readv')) AS reads,
    count(*) FILTER (WHERE op IN ('write', 'writev')) AS writes,
    CAST(coalesce(sum(ret) FILTER (WHERE op IN ('read', 'readv') AND ret > 0), 0) AS BIGINT) AS read_bytes,
    CAST(coalesce(sum(ret) FILTER (WHERE op IN ('write', 'writev') AND ret > 0), 0) AS BIGINT) AS write_bytes,
    count(*) FILTER (WHERE ret < 0) AS failed
FROM file_io
WHERE op IN ('read', 'write', 'readv', 'writev') AND ($files = 'all' OR (mode & 61440) = 32768)
GROUP BY pid, comm, fstype, dev, ino, dir_name, name
ORDER BY read_bytes + write_bytes DESC, reads + writes DESC, pid, comm, dev, ino, name, dir_name
LIMIT $top
