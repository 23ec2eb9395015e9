-- Each TCP connection: who had it, with whom, how long, and how many bytes went each way.
--
-- The process is the one that asked for the connection or accepted it, never the one that happened to run when it ended;
-- it is NULL if that was before the recording, or never. Bytes are those of the data, each once. What there was before the
-- recording has no start, and is here if it ends in the recording. A socket that listens is no connection.
--
-- @tool tcplife: tcplife | recorder record tcp_conns -d 60 | analyze connections x.trace
--     The process is guessed there from who runs when the state changes; of bytes sent the handshake and the end count as
--     one each, of those received the end does.
-- @tool tcptracer: tcptracer | recorder record tcp_conns -d 60 | analyze connections x.trace
--     A connection is one row with start and end, where the original leaves it to the reader to find both.
-- @table tcp_conns(ev enum(connect,accept,state), comm char[16], ret s32, old enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), new enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), err s32, netns u32, laddr ip, lport u16, raddr ip, rport u16, sent_bytes u64, received_bytes u64, retrans u32, srtt_us u32, sk x64)
-- @column start time: when it was asked for, or its handshake was done; NULL if before the recording
-- @column comm char[16]: name of the thread that asked for it or accepted it
-- @column pid u32: its process
-- @column direction text: out, or in; NULL if not known
-- @column fate text: open (at the end of the recording), closed, failed (it never was established), lost (its end is)
-- @column netns u32: network namespace
-- @column laddr text: local address
-- @column lport u16: local port
-- @column raddr text: peer; NULL of one that came in, is open, and was not accepted
-- @column rport u16: its port, likewise
-- @column duration_ns s64 [ns]: from start to end; NULL unless both are known
-- @column sent_bytes u64 [bytes]: data sent; NULL if its end is not known
-- @column received_bytes u64 [bytes]: data received, likewise
-- @column retrans u32: segments sent again, likewise
-- @column srtt_us u32 [us]: smoothed round-trip time at the end, likewise; 0 if none was measured
-- @column err s32: error that ended it, a positive errno: 104 reset, 110 timed out, 111 refused; 0 for none
-- @loss connections, their ends, or their processes are missing; where an end and the next start at the same address were both
--     lost, two look like one that is too long
WITH spans AS (
    SELECT *, coalesce(ns(end_ts), -1) AS end_ns
    FROM pairs(
        (SELECT * FROM tcp_conns WHERE ev = 'state'),
        begin => (old = 'CLOSE' AND new = 'SYN_SENT') OR (old = 'LISTEN' AND new = 'SYN_RECV'),
        end => old <> 'LISTEN' AND new = 'CLOSE',
        key => sk
    )
),
-- What was last known of the socket before its end: if that is only that a handshake was done, nobody had accepted it. A
-- call of connect that fails has brought its socket back to CLOSE before, so it begins nothing.
owners AS (
    SELECT sk, coalesce(ns(end_ts), -1) AS end_ns, ev, new, comm, pid, laddr, lport, raddr, rport
    FROM pairs(
        (SELECT * FROM tcp_conns WHERE ev <> 'connect' OR coalesce(ret, 0) = 0),
        begin => ev <> 'state' OR (old = 'CLOSE' AND new = 'SYN_SENT') OR (old = 'LISTEN' AND new = 'SYN_RECV'),
        end => ev = 'state' AND old <> 'LISTEN' AND new = 'CLOSE',
        key => sk
    )
    WHERE class IN ('paired', 'outstanding') AND (ev <> 'state' OR new = 'SYN_SENT')
)
SELECT
    spans.ts AS start,
    owners.comm,
    owners.pid,
    CASE
        WHEN spans.new = 'SYN_SENT' OR owners.ev = 'connect' THEN 'out'
        WHEN spans.new = 'SYN_RECV' OR owners.ev = 'accept' THEN 'in'
    END AS direction,
    CASE
        WHEN spans.class = 'outstanding' THEN 'open'
        WHEN spans.class = 'end_missed' THEN 'lost'
        WHEN spans.end_old IN ('SYN_SENT', 'SYN_RECV') THEN 'failed'
        ELSE 'closed'
    END AS fate,
    coalesce(spans.end_netns, spans.netns) AS netns,
    ip(coalesce(spans.end_laddr, owners.laddr, spans.laddr)) AS laddr,
    coalesce(spans.end_lport, owners.lport, spans.lport) AS lport,
    ip(coalesce(spans.end_raddr, owners.raddr, spans.raddr)) AS raddr,
    coalesce(spans.end_rport, owners.rport, spans.rport) AS rport,
    ns(spans.end_ts) - ns(spans.ts) AS duration_ns,
    spans.end_sent_bytes AS sent_bytes,
    spans.end_received_bytes AS received_bytes,
    spans.end_retrans AS retrans,
    spans.end_srtt_us AS srtt_us,
    spans.end_err AS err
FROM spans
LEFT JOIN owners ON owners.sk = spans.sk AND owners.end_ns = spans.end_ns AND spans.class <> 'end_missed'
ORDER BY coalesce(spans.ts, spans.end_ts), lport, rport, laddr, raddr
