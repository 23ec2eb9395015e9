-- How long data of TCP connections waited until a program read it.
--
-- A wait is from the first segment with data after a read until the next read of the same connection. What a read leaves over
-- has no wait of its own. A program that reads while the segment comes in is seen to wait for no time.
--
-- @tool tcppktlat: tcppktlat 10000 | recorder record tcp_segments -d 10 | analyze tcp_read_delay x.trace --least 10ms
--     Keeps one time for a socket, which each segment sets anew: data that waits while more comes seems to wait for a moment only.
-- @table tcp_segments(ev enum(segment,read), comm char[16], netns u32, laddr ip, lport u16, raddr ip, rport u16, bytes u32, sk x64)
-- @param least_ns duration = 0ms: waits that were shorter are left out
-- @param top count = 100: rows at most
-- @column ts time: when the data came
-- @column delay_ns s64 [ns]: how long it waited
-- @column pid u32: process that read it
-- @column comm char[16]: its program
-- @column netns u32: network namespace
-- @column laddr text: local address
-- @column lport u16: local port
-- @column raddr text: peer
-- @column rport u16: its port
-- @column bytes u32 [bytes]: data of the segment that came first
-- @loss a wait may be missing, and one across the loss may look too long
SELECT
    ts,
    ns(end_ts) - ns(ts) AS delay_ns,
    end_pid AS pid,
    end_comm AS comm,
    netns,
    ip(laddr) AS laddr,
    lport,
    ip(raddr) AS raddr,
    rport,
    bytes
FROM pairs((
    -- The first segment with data after each read, and the very first one.
    SELECT end_ts AS ts, end_cpu AS cpu, end_probe AS probe, end_seq AS seq, end_pid AS pid, end_comm AS comm, end_netns AS netns, laddr, lport, raddr, rport, end_bytes AS bytes, sk, false AS reads
    FROM pairs(
        (SELECT * FROM tcp_segments WHERE ev = 'read' OR bytes > 0),
        begin => ev = 'read', end => ev = 'segment', key => (sk, laddr, lport, raddr, rport)
    )
    WHERE class IN ('paired', 'before_recording')
    UNION ALL
    SELECT ts, cpu, probe, seq, pid, comm, netns, laddr, lport, raddr, rport, bytes, sk, true FROM tcp_segments WHERE ev = 'read'
), begin => NOT reads, end => reads, key => (sk, laddr, lport, raddr, rport))
WHERE class = 'paired' AND ns(end_ts) - ns(ts) >= $least_ns
ORDER BY delay_ns DESC, ts, lport, rport
LIMIT $top
