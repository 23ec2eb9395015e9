-- Whether block devices are read and written in order or at random.
--
-- A request is sequential if it begins at the sector behind the one that was issued before it to the same device. The
-- first of a device is neither, and requests without data are left out. Streams that are mixed on one device look random.
--
-- @tool biopattern: biopattern 10 | recorder record block_io -d 10 | analyze bio_pattern x.trace
--     Compares in the order in which requests are done, so that a sequential stream with several requests under way
--     looks random; counts flushes, which have no sector, and drops requests of which it has not seen one before.
-- @table block_io(ev enum(queue,issue,requeue,done), rq x64, disk u32, disk_name string[32], op enum(read=0,write=1,flush=2,discard=3,secure_erase=5,zone_append=7,write_zeroes=9,drv_in=34,drv_out=35), sector u64, bytes u32, left_bytes s64)
-- @param by choice(disk|op) = disk: one row for each device, or for each of its operations, as streams of their own
-- @column disk_name string[32]: device
-- @column op text: what was asked for; NULL if by => 'disk'
-- @column requests s64: requests that were issued
-- @column sequential s64: of these, that begin where the one before ends
-- @column random s64: that begin elsewhere
-- @column sequential_percent f64 [%]: 100 * sequential / (sequential + random); NULL of a single request
-- @column bytes s64 [bytes]: their size
-- @loss a request after a lost one looks random
SELECT
    disk_name,
    nullif(stream, '') AS op,
    count(*) AS requests,
    count(*) FILTER (WHERE sector = before_end) AS sequential,
    count(*) FILTER (WHERE sector <> before_end) AS random,
    CASE WHEN count(before_end) > 0 THEN round(100.0 * count(*) FILTER (WHERE sector = before_end) / count(before_end), 1) END AS sequential_percent,
    CAST(sum(bytes) AS BIGINT) AS bytes
FROM (
    -- Each request ends the wait for the next one of its device.
    SELECT end_disk_name AS disk_name, stream, end_sector AS sector, end_bytes AS bytes, sector + bytes / 512 AS before_end
    FROM pairs((
        -- Each as it was issued for the last time.
        SELECT
            ts, cpu, probe, seq, disk, disk_name, CASE WHEN $by = 'op' THEN CAST(op AS VARCHAR) ELSE '' END AS stream,
            CAST(sector AS BIGINT) AS sector, CAST(bytes AS BIGINT) AS bytes
        FROM pairs(block_io, begin => ev = 'issue', end => (ev = 'done' AND left_bytes <= 0) OR ev = 'requeue', key => rq)
        WHERE ev = 'issue' AND bytes > 0 AND (end_ev IS NULL OR end_ev = 'done')
    ), begin => true, end => true, key => (disk, stream))
    WHERE end_sector IS NOT NULL
) AS issued
GROUP BY disk_name, stream
ORDER BY requests DESC, disk_name, op
