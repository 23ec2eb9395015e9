-- Every request to a block device: who asked for it, how long it waited, and how long the device took.
--
-- A request is one row, however often it was given to the device (requeues) and in however many parts it was done. Who
-- asked and when is known from its row queue; of writes that the kernel does later it is a thread of the kernel. It is
-- NULL for requests that were queued before the recording began, and for those without such a row (flushes that the kernel
-- makes itself, commands of drivers). A request for nothing but a flush is not issued: the kernel makes one flush for all
-- who wait. A write with a flush behind it is done when its data are.
--
-- @tool biosnoop: biosnoop -Q | recorder record block_io -d 10 | analyze bios x.trace
--     On kernels where the accounting functions are inlined it takes who issues the request for who asked for it, which
--     may be any kworker. Requests that are put back and issued again have one line here, with the whole time.
-- @table block_io(ev enum(queue,issue,requeue,done), rq x64, bio x64, dev u32, disk u32, disk_name string[32], op enum(read=0,write=1,flush=2,discard=3,secure_erase=5,zone_append=7,write_zeroes=9,drv_in=34,drv_out=35), flags x32, sector u64, bytes u32, left_bytes s64, status u8, kstack kstack[32])
-- @column ts time: it was queued; NULL if there is no row of that
-- @column issue_ts time: it was given to the device, for the last time; NULL if it was not
-- @column done_ts time: it was done; NULL if it was not until the recording ended, or that escaped
-- @column pid u32: process that asked for it
-- @column tid u32: its thread
-- @column comm char[16]: its name
-- @column disk_name string[32]: whole device
-- @column disk u32: its number, for dev_name()
-- @column dev u32: device or partition that was asked
-- @column op enum: what was asked for
-- @column sector u64: first sector of 512 bytes on the whole device
-- @column bytes s64 [bytes]: size, with all bios that were merged into it until it was issued
-- @column queue_ns s64 [ns]: from queued to issued; a driver that was busy made it longer
-- @column device_ns s64 [ns]: from issued to done
-- @column total_ns s64 [ns]: from queued to done
-- @column status u8: 0 if done well, else the kernel's block status; NULL if not done
-- @column kstack kstack: kernel stack of who asked: row of table stacks
-- @loss who asked is missing where a row queue was lost, a request where its issue was, and done_ts where its end was; where an end and the next request of the same address were lost, two look like one that is too long
SELECT
    ts,
    end_ts AS issue_ts,
    coalesce(end_done_ts, done_ts) AS done_ts,
    pid,
    tid,
    comm,
    coalesce(end_disk_name, disk_name) AS disk_name,
    coalesce(end_disk, disk) AS disk,
    coalesce(end_dev, dev) AS dev,
    coalesce(end_op, op) AS op,
    coalesce(end_sector, sector) AS sector,
    CAST(coalesce(end_bytes, bytes) AS BIGINT) AS bytes,
    ns(end_ts) - ns(ts) AS queue_ns,
    ns(end_done_ts) - ns(end_ts) AS device_ns,
    ns(done_ts) - ns(ts) AS total_ns,
    coalesce(end_status, status) AS status,
    kstack
FROM pairs((
    -- From queued to done.
    SELECT ts, cpu, probe, seq, ev, rq, disk_name, disk, dev, op, sector, bytes, pid, tid, comm, kstack, end_ts AS done_ts, end_status AS status
    FROM pairs((
        -- Where a row queue has no request, what becomes of the same bio next has it.
        SELECT ts, cpu, probe, seq, ev, coalesce(rq, end_rq) AS rq, disk_name, disk, dev, op, sector, bytes, pid, tid, comm, kstack, status
        FROM pairs((SELECT * FROM block_io WHERE ev <> 'requeue'), begin => ev = 'queue', end => ev <> 'queue', key => bio)
        WHERE ev = 'queue'
        UNION ALL
        SELECT ts, cpu, probe, seq, ev, rq, disk_name, disk, dev, op, sector, bytes, pid, tid, comm, kstack, status
        FROM block_io
        WHERE ev = 'done' AND left_bytes <= 0
    ), begin => ev = 'queue', end => ev = 'done', key => rq)
    WHERE ev = 'queue'
    UNION ALL
    -- From issued for the last time to done.
    SELECT ts, cpu, probe, seq, ev, rq, disk_name, disk, dev, op, sector, bytes, pid, tid, comm, kstack, end_ts AS done_ts, end_status AS status
    FROM pairs(block_io, begin => ev = 'issue', end => (ev = 'done' AND left_bytes <= 0) OR ev = 'requeue', key => rq)
    WHERE ev = 'issue' AND (end_ev IS NULL OR end_ev = 'done')
), begin => ev = 'queue', end => ev = 'issue', key => (rq, coalesce(ns(done_ts), 0)))
