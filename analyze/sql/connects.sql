-- Who asked for TCP connections to where, and what became of them.
--
-- One row for each program and peer. A failure is counted by its error: refused (a reset came), timed_out (nothing came), or
-- failed: any other, such as no route, found by the call itself or later. Unfinished are those that wait at the end of the
-- recording, or were given up before an answer. Subflows of MPTCP are connections.
--
-- @tool tcpconnect: tcpconnect | recorder record tcp_conns -d 10 | analyze connects x.trace
--     A call that fails is not shown there at all (python), or as if it had worked (bpftrace, when the first packet is sent).
-- @table tcp_conns(ev enum(connect,accept,state), comm char[16], ret s32, old enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), new enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), err s32, netns u32, raddr ip, rport u16, sk x64)
-- @column comm char[16]: name of the thread
-- @column netns u32: network namespace
-- @column raddr text: peer
-- @column rport u16: its port
-- @column attempts s64: connections asked for
-- @column processes s64: by how many processes
-- @column established s64: that came about
-- @column refused s64: that were refused
-- @column timed_out s64: that were not answered
-- @column failed s64: that failed otherwise
-- @column unfinished s64: the rest
-- @column p50_ns s64 [ns]: time until half of the established ones were
-- @column max_ns s64 [ns]: the longest
-- @column first time: first attempt
-- @column last time: last attempt
-- @loss attempts are missing, and where their answer is lost they count as unfinished
SELECT
    comm,
    netns,
    raddr,
    rport,
    CAST(sum(attempt) AS BIGINT) AS attempts,
    count(DISTINCT pid) AS processes,
    count(*) FILTER (WHERE fate = 'established') AS established,
    count(*) FILTER (WHERE fate = 'refused') AS refused,
    count(*) FILTER (WHERE fate = 'timed_out') AS timed_out,
    count(*) FILTER (WHERE fate = 'failed') AS failed,
    CAST(sum(attempt) AS BIGINT) - count(fate) AS unfinished,
    percentile(latency_ns, 0.5) AS p50_ns,
    max(latency_ns) AS max_ns,
    min(ts) FILTER (WHERE attempt = 1) AS first,
    max(ts) FILTER (WHERE attempt = 1) AS last
FROM (
    SELECT
        ts, comm, pid, netns, ip(raddr) AS raddr, rport,
        1 AS attempt,
        CASE WHEN ret < 0 THEN 'failed' END AS fate,
        CAST(NULL AS BIGINT) AS latency_ns
    FROM tcp_conns
    WHERE ev = 'connect'
    UNION ALL
    SELECT
        ts, comm, pid, netns, ip(raddr) AS raddr, rport,
        0 AS attempt,
        CASE
            WHEN end_new <> 'CLOSE' THEN 'established'
            WHEN end_err = 111 THEN 'refused'
            WHEN end_err = 110 THEN 'timed_out'
            -- Without an error it was given up, or connect says so itself.
            WHEN end_err <> 0 THEN 'failed'
        END AS fate,
        CASE WHEN end_new <> 'CLOSE' THEN ns(end_ts) - ns(ts) END AS latency_ns
    FROM pairs(
        (SELECT * FROM tcp_conns WHERE ev = 'state'),
        begin => new = 'SYN_SENT', end => old = 'SYN_SENT', key => sk
    )
    WHERE class = 'paired'
) AS both_kinds
GROUP BY comm, netns, raddr, rport
HAVING sum(attempt) > 0
ORDER BY attempts DESC, first, comm, netns, raddr, rport
