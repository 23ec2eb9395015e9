-- Who accepted TCP connections from where, and how long they had waited for it.
--
-- One row for each program, local port and peer. A connection waits from the end of its handshake until it is accepted.
-- Subflows of MPTCP are connections.
--
-- @tool tcpaccept: tcpaccept | recorder record tcp_conns -d 10 | analyze accepts x.trace
--     Kernels without the function that is probed there show the client, or the idle task, as the one who accepts.
-- @table tcp_conns(ev enum(connect,accept,state), comm char[16], old enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), new enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), netns u32, laddr ip, lport u16, raddr ip, sk x64)
-- @column comm char[16]: name of the thread
-- @column netns u32: network namespace
-- @column laddr text: local address of the connection
-- @column lport u16: local port
-- @column raddr text: peer
-- @column accepted s64: connections
-- @column processes s64: by how many processes
-- @column waits s64: of these, how many were established in the recording, so that their wait is known
-- @column p50_wait_ns s64 [ns]: half of them waited at most this long
-- @column max_wait_ns s64 [ns]: the longest wait
-- @column first time: first one
-- @column last time: last one
-- @loss connections are missing, and waits, and a wait across the loss may look too long
SELECT
    end_comm AS comm,
    end_netns AS netns,
    ip(end_laddr) AS laddr,
    end_lport AS lport,
    ip(end_raddr) AS raddr,
    count(*) AS accepted,
    count(DISTINCT end_pid) AS processes,
    count(wait_ns) AS waits,
    percentile(wait_ns, 0.5) AS p50_wait_ns,
    max(wait_ns) AS max_wait_ns,
    min(end_ts) AS first,
    max(end_ts) AS last
FROM (
    SELECT *, CASE WHEN class = 'paired' THEN ns(end_ts) - ns(ts) END AS wait_ns
    FROM pairs(
        (SELECT * FROM tcp_conns WHERE ev = 'accept' OR (old = 'SYN_RECV' AND new = 'ESTABLISHED')),
        begin => ev = 'state', end => ev = 'accept', key => sk
    )
    WHERE end_ts IS NOT NULL
) AS accepted
GROUP BY end_comm, end_netns, ip(end_laddr), end_lport, ip(end_raddr)
ORDER BY accepted DESC, first, comm, netns, laddr, lport, raddr
