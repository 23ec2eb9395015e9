-- How long reads, writes, opens, syncs and others of files take, by file system: exact percentiles and a histogram.
--
-- A percentile is the smallest time that is not exceeded by that share of the calls (nearest rank). A time is that of the
-- call, with all that it waited for: most reads find what they want in the page cache. Calls that failed are among them.
-- Every file system is asked by the same functions of the kernel, so that none needs a probe of its own. What one file
-- system does through another (overlayfs opens and syncs files below) is told for both.
--
-- @tool fsdist: fsdist -t ext4 10 1 | recorder record file_io -d 10 | analyze file_latency x.trace
--     One file system at a time there, with functions of its module; here all of them are told apart.
-- @tool ext4dist: ext4dist 10 1 | recorder record 'file_io if fstype == "ext4"' -d 10 | analyze file_latency x.trace
--     A sync within a write (O_SYNC) takes the place of the write's start there, so that one of the two has a wrong time;
--     a read that fails counts like others. Here each call has its own time, and those that failed are counted.
-- @tool xfsdist: xfsdist 10 1 | recorder record 'file_io if fstype == "xfs"' -d 10 | analyze file_latency x.trace
--     Needs functions of the module, and fails before that is loaded.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on xfs.
-- @tool btrfsdist: btrfsdist 10 1 | recorder record 'file_io if fstype == "btrfs"' -d 10 | analyze file_latency x.trace
--     Traces a function through which the reads of nearly all file systems go, and so slows them, too.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on btrfs.
-- @tool nfsdist: nfsdist 10 1 | recorder record 'file_io if fstype == "nfs" || fstype == "nfs4"' -d 10 | analyze file_latency x.trace
--     Needs functions of the module.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on nfs.
-- @tool zfsdist: zfsdist 10 1 | recorder record 'file_io if fstype == "zfs"' -d 10 | analyze file_latency x.trace
--     Needs functions of a module whose names have changed.
--     Tried on ext4 and tmpfs, whose calls go through the same functions; not on zfs.
-- @table file_io(op enum(read,write,readv,writev,fsync,open,getattr), fstype string[16], mode x16, ret s64, dur_ns s64)
-- @param by choice(op|process) = op: one row for each file system and operation, or for each of these and program
-- @param fstype text = %: only file systems whose type matches this pattern
-- @param files choice(regular|all) = regular: regular files and directories only, or devices, pipes, sockets and all others too
-- @param slower_ns duration = 0: calls that took less are left out
-- @column fstype string[16]: type of the file system
-- @column op text: what was done; readv is a read and writev a write
-- @column comm char[16]: program; NULL unless by => 'process'
-- @column calls s64: how often
-- @column failed s64: of these, with an error
-- @column bytes s64 [bytes]: what was read or written; NULL of others
-- @column min_ns s64 [ns]: shortest time
-- @column p50_ns s64 [ns]: half of them took at most this long
-- @column p90_ns s64 [ns]: 90 in 100
-- @column p99_ns s64 [ns]: 99 in 100
-- @column p999_ns s64 [ns]: 999 in 1000
-- @column max_ns s64 [ns]: longest
-- @column sum_ns s64 [ns]: all of them
-- @column log2_histogram text: e:n for each exponent, n calls that took from 2^e to 2^(e+1)-1 ns; 0 holds 0 too
-- @loss calls are missing
SELECT
    fstype,
    op,
    comm,
    count(*) AS calls,
    count(*) FILTER (WHERE ret < 0) AS failed,
    CAST(sum(CASE WHEN op IN ('read', 'write') THEN greatest(ret, 0) END) AS BIGINT) AS bytes,
    min(dur_ns) AS min_ns,
    percentile(dur_ns, 0.5) AS p50_ns,
    percentile(dur_ns, 0.9) AS p90_ns,
    percentile(dur_ns, 0.99) AS p99_ns,
    percentile(dur_ns, 0.999) AS p999_ns,
    max(dur_ns) AS max_ns,
    CAST(sum(dur_ns) AS BIGINT) AS sum_ns,
    log2_histogram(dur_ns) AS log2_histogram
FROM (
    SELECT
        fstype,
        CASE op WHEN 'readv' THEN 'read' WHEN 'writev' THEN 'write' ELSE CAST(op AS VARCHAR) END AS op,
        CASE WHEN $by = 'process' THEN comm END AS comm,
        ret,
        dur_ns
    FROM file_io
    WHERE fstype LIKE $fstype AND dur_ns >= $slower_ns AND ($files = 'all' OR (mode & 61440) IN (16384, 32768))
) AS timed
GROUP BY fstype, op, comm
ORDER BY sum_ns DESC, fstype, op, comm
