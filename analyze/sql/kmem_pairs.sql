-- Allocations and frees of kernel memory, paired by pointer: one row for each allocation, and for each free without one.
--
-- A use of the operator pairs: its classes say how an allocation ended. The columns of the allocation are NULL where a
-- free matches none (begin_missed, before_recording), and those of the free (end_...) where there is none.
--
-- @as table
-- @table kmem(kstack kstack[32])
-- @column ts time: time of the allocation
-- @column class enum: paired; outstanding; end_missed: allocated again without a free between; begin_missed: freed twice without an allocation between; before_recording: freed, and nothing of the pointer was seen before
-- @column end_ts time: time of the free
-- @column next_ts time: the free, or of end_missed the next allocation
-- @column ptr x64: address of the object
-- @column pid u32: process that allocated
-- @column comm char[16]: its name
-- @column call_site sym: code address of the caller
-- @column via enum: kmalloc or cache
-- @column cache text: slab cache; NULL for kmalloc
-- @column bytes_req u64 [bytes]: size asked for
-- @column bytes_alloc u64 [bytes]: size taken
-- @column kstack kstack: kernel stack of the allocation: row of table stacks
-- @column end_pid u32: process that freed
-- @column end_comm char[16]: its name
-- @column end_call_site sym: code address of its caller
-- @loss a lost free makes an allocation look outstanding or end_missed, a lost allocation its free begin_missed or before_recording
SELECT
    ts, class, end_ts, next_ts, ptr, pid, comm, call_site, via, cache, bytes_req, bytes_alloc, kstack,
    end_pid, end_comm, end_call_site
FROM pairs(kmem, begin => kind = 'alloc' AND ptr <> 0, end => kind = 'free' AND ptr <> 0, key => ptr)
