-- How every allocation and free of kernel memory ended.
--
-- @table kmem
-- @column class enum: paired, free_missed, outstanding, alloc_before_recording or alloc_missed
-- @column events s64: allocations (the first three), or frees that match no allocation
-- @column bytes s64 [bytes]: size of those allocations; NULL for frees
-- @column meaning text: the class in words
-- @loss a lost free turns paired into outstanding or free_missed, a lost allocation turns paired into alloc_missed or alloc_before_recording
SELECT
    class,
    count(*) AS events,
    CAST(sum(bytes_alloc) AS BIGINT) AS bytes,
    CASE class
        WHEN 'paired' THEN 'allocated and freed'
        WHEN 'free_missed' THEN 'allocated, and allocated again without a free between: that free escaped'
        WHEN 'outstanding' THEN 'allocated and not freed until the end'
        WHEN 'alloc_before_recording' THEN 'freed, allocated before the recording began'
        ELSE 'freed twice without an allocation between: that allocation escaped'
    END AS meaning
FROM kmem_pairs
GROUP BY class
ORDER BY class
