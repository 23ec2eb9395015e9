-- Which files were read from memory, and which had to come from disk, page by page.
--
-- A page that a program reads was in the cache, or is added to it to be read: by the thread that wants it, with those read
-- ahead. So of the pages asked for at least those were hits that were not added. Pages read ahead and never asked for
-- count as misses here, because they cost as much. Metadata that a file system keeps in its block device is read
-- without a row kind = 'read': only its additions are known.
--
-- @table cache(kind enum(read,fault,add,remove,dirty,access,buffer_dirty), dev u32, ino u64, pos s64, bytes s64, large_pages u32, by_writer bool)
-- @param top count = 20: rows at most
-- @column dev text: device of the file system, MAJOR:MINOR
-- @column ino u64: inode number
-- @column pid u32: process
-- @column comm char[16]: its name
-- @column asked_pages s64 [pages]: pages of 4096 bytes that it read, each time, and faults on pages that were not mapped
-- @column read_in_pages s64 [pages]: pages that were added to be read, with those read ahead
-- @column hit_percent f64 [%]: of the pages asked for, at least so many were there; NULL if none was asked for
-- @column written_pages s64 [pages]: pages that were added to be written
-- @column dirty_pages s64 [pages]: pages that became dirty
-- @column removed_pages s64 [pages]: pages that this process removed, as truncation, deletion or memory shortage did it
-- @loss the numbers are too low, and hit_percent is wrong in either direction
SELECT
    dev_name(dev) AS dev,
    ino,
    pid,
    comm,
    asked_pages,
    read_in_pages,
    CASE WHEN asked_pages > 0 THEN round(100.0 * greatest(asked_pages - read_in_pages, 0) / asked_pages, 1) END AS hit_percent,
    written_pages,
    dirty_pages,
    removed_pages
FROM (
    SELECT
        dev, ino, pid, comm,
        CAST(coalesce(sum(CASE kind WHEN 'read' THEN ((pos + bytes - 1) >> 12) - (pos >> 12) + 1 WHEN 'fault' THEN 1 END), 0) AS BIGINT) AS asked_pages,
        CAST(coalesce(sum(pages) FILTER (WHERE kind = 'add' AND by_writer IS NULL), 0) AS BIGINT) AS read_in_pages,
        CAST(coalesce(sum(pages) FILTER (WHERE kind = 'add' AND by_writer), 0) AS BIGINT) AS written_pages,
        CAST(coalesce(sum(pages) FILTER (WHERE kind = 'dirty'), 0) AS BIGINT) AS dirty_pages,
        CAST(coalesce(sum(pages) FILTER (WHERE kind = 'remove'), 0) AS BIGINT) AS removed_pages
    FROM (
        SELECT dev, ino, pid, comm, kind, pos, bytes, by_writer, CAST(coalesce(large_pages, 1) AS BIGINT) AS pages FROM cache
    ) AS each_row
    GROUP BY dev, ino, pid, comm
) AS counted
ORDER BY read_in_pages DESC, asked_pages DESC, dirty_pages DESC, removed_pages DESC, dev, ino, pid, comm
LIMIT $top
