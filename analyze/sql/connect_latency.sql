-- How long each TCP connection took to be established, from the first packet to the answer.
--
-- A connection that failed has its error, and no latency: how long a refusal took is the time until then. What is not
-- answered has neither.
--
-- @tool tcpconnlat: tcpconnlat 10 | recorder record tcp_conns -d 10 | analyze connect_latency x.trace --least 10ms --failed no
--     There any packet ends the time, so that a refused connection looks like one that was established quickly.
-- @table tcp_conns(ev enum(connect,accept,state), comm char[16], old enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), new enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), err s32, netns u32, laddr ip, lport u16, raddr ip, rport u16, retrans u32, sk x64)
-- @param least_ns duration = 0ms: established ones that took less are left out
-- @param failed choice(yes|no) = yes: with those that failed or were not answered
-- @column ts time: when the first packet was sent
-- @column comm char[16]: name of the thread that asked
-- @column pid u32: its process
-- @column netns u32: network namespace
-- @column laddr text: local address
-- @column lport u16: local port; NULL while nothing came
-- @column raddr text: peer
-- @column rport u16: its port
-- @column latency_ns s64 [ns]: time until it was established; NULL if it was not
-- @column until_ns s64 [ns]: time until it was established, or until it failed or was given up; NULL if it waits still
-- @column err s32: its error, a positive errno: 111 refused, 110 timed out; 0 if it has none; NULL if it waits still
-- @column retrans u32: how often the first packet was sent again
-- @loss connections are missing; where the row between was lost, the time is that of the next connection of the same socket
SELECT ts, comm, pid, netns, laddr, lport, raddr, rport, latency_ns, until_ns, err, retrans
FROM (
    SELECT
        ts, comm, pid, netns, ip(coalesce(end_laddr, laddr)) AS laddr, end_lport AS lport, ip(raddr) AS raddr, rport,
        CASE WHEN end_new <> 'CLOSE' THEN ns(end_ts) - ns(ts) END AS latency_ns,
        ns(end_ts) - ns(ts) AS until_ns,
        end_err AS err,
        end_retrans AS retrans
    FROM pairs(
        (SELECT * FROM tcp_conns WHERE ev = 'state'),
        begin => new = 'SYN_SENT', end => old = 'SYN_SENT', key => sk
    )
    WHERE class IN ('paired', 'outstanding')
) AS asked
WHERE CASE WHEN latency_ns IS NULL THEN $failed = 'yes' ELSE latency_ns >= $least_ns END
ORDER BY latency_ns DESC NULLS LAST, ts, netns, raddr, rport
