-- How often a processor went from one thread to another.
--
-- @table switches(prev_tid s32, prev_comm char[16], next_tid s32, next_comm char[16])
-- @param top count = 20: rows at most
-- @column prev_comm char[16]: thread that left
-- @column prev_tid s32: its id, 0 = idle
-- @column next_comm char[16]: thread that came
-- @column next_tid s32: its id, 0 = idle
-- @column switches s64: how often
-- @loss the numbers may be too low
SELECT prev_comm, prev_tid, next_comm, next_tid, count(*) AS switches
FROM switches
GROUP BY prev_comm, prev_tid, next_comm, next_tid
ORDER BY switches DESC, prev_tid, next_tid, prev_comm, next_comm
LIMIT $top
