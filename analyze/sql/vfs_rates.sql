-- How many reads, writes, syncs, opens and looks at files there are in each interval.
--
-- Those that failed are counted too, and are told apart.
--
-- @tool vfsstat: vfsstat 1 | recorder record file_io -d 10 | analyze vfs_rates x.trace
--     The program for bpftrace counts everything that begins with vfs_read, with vfs_readlink and vfs_readv; the others
--     neither readv nor writev nor io_uring. creates there counts vfs_create, which an open that makes a file does not
--     call. Numbers there are per second; here they are those of the interval.
-- @table file_io(op enum(read,write,readv,writev,fsync,open,getattr), dev u32, fstype string[16], ino u64, mode x16, name string[127], dir_ino u64, dir_name string[63], ret s64, created bool)
-- @param interval_ns duration = 1s: length of the intervals
-- @column start time: begin of the interval, a multiple of its length since 1970
-- @column reads s64: calls and requests that read, from whatever kind of file
-- @column writes s64: that write
-- @column fsyncs s64: files synced
-- @column opens s64: files opened, also to execute them
-- @column creates s64: of these, files that were made
-- @column getattrs s64: looks at files (stat)
-- @column failed s64: of all, those that failed
-- @column read_bytes s64 [bytes]: bytes that were read
-- @column write_bytes s64 [bytes]: that were written
-- @loss the numbers may be too low
SELECT
    utc(ns(ts) - ns(ts) % $interval_ns) AS start,
    count(*) FILTER (WHERE op IN ('read', 'readv')) AS reads,
    count(*) FILTER (WHERE op IN ('write', 'writev')) AS writes,
    count(*) FILTER (WHERE op = 'fsync') AS fsyncs,
    count(*) FILTER (WHERE op = 'open') AS opens,
    count(*) FILTER (WHERE created) AS creates,
    count(*) FILTER (WHERE op = 'getattr') AS getattrs,
    count(*) FILTER (WHERE ret < 0) AS failed,
    CAST(coalesce(sum(ret) FILTER (WHERE op IN ('read', 'readv') AND ret > 0), 0) AS BIGINT) AS read_bytes,
    CAST(coalesce(sum(ret) FILTER (WHERE op IN ('write', 'writev') AND ret > 0), 0) AS BIGINT) AS write_bytes
FROM file_io
GROUP BY utc(ns(ts) - ns(ts) % $interval_ns)
ORDER BY start
