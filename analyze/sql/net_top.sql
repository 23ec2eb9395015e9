-- Who sends and receives most over internet sockets: processes, their peers, or single connections.
--
-- Bytes are those that calls moved between a process and its sockets: neither headers nor what is sent again count, and of
-- a call that did less than it was asked for only what it did. UDP and other protocols count as TCP does. Threads with
-- names of their own are rows of their own.
--
-- @tool tcptop: tcptop 10 1 | recorder record sock_io -d 10 | analyze net_top x.trace --by connection
--     The python tool assumes five arguments of tcp_recvmsg: on 6.18 it cannot load. The libbpf one counts what a send was
--     asked for, also if it failed, and counts some receives twice. Neither sees sendfile on 6.1, nor UDP.
-- @table sock_io(dir enum(send,receive), ret s32, bytes s32, netns u32, protocol u16, laddr ip, lport u16, raddr ip, rport u16, comm char[16])
-- @param by choice(process|peer|connection) = process: one row for each process, for each of its peers, or for each connection
-- @param top count = 20: rows at most
-- @column comm char[16]: name of the thread
-- @column pid u32: its process
-- @column protocol u16: 6 = TCP, 17 = UDP, 262 = MPTCP
-- @column netns u32: network namespace of the socket; NULL if by => 'process'
-- @column raddr text: peer; NULL if by => 'process', and for sockets that are not connected (sendto, recvfrom)
-- @column rport u16: its port; NULL unless by => 'connection'
-- @column laddr text: local address; NULL unless by => 'connection'
-- @column lport u16: local port; NULL unless by => 'connection'
-- @column sent_bytes s64 [bytes]: bytes that were sent
-- @column received_bytes s64 [bytes]: bytes that were received
-- @column sends s64: calls that sent, failed ones included
-- @column receives s64: calls that received, likewise
-- @column failed s64: calls that failed, without those that would have had to wait (EAGAIN)
-- @loss the numbers may be too low
SELECT
    comm,
    pid,
    protocol,
    netns,
    raddr,
    rport,
    laddr,
    lport,
    CAST(coalesce(sum(bytes) FILTER (WHERE dir = 'send'), 0) AS BIGINT) AS sent_bytes,
    CAST(coalesce(sum(bytes) FILTER (WHERE dir = 'receive'), 0) AS BIGINT) AS received_bytes,
    count(*) FILTER (WHERE dir = 'send') AS sends,
    count(*) FILTER (WHERE dir = 'receive') AS receives,
    count(*) FILTER (WHERE ret < 0 AND ret <> -11) AS failed
FROM (
    SELECT
        comm, pid, protocol, dir, ret, CAST(bytes AS BIGINT) AS bytes,
        CASE WHEN $by <> 'process' THEN netns END AS netns,
        CASE WHEN $by <> 'process' THEN ip(raddr) END AS raddr,
        CASE WHEN $by = 'connection' THEN rport END AS rport,
        CASE WHEN $by = 'connection' THEN ip(laddr) END AS laddr,
        CASE WHEN $by = 'connection' THEN lport END AS lport
    FROM sock_io
) AS calls
GROUP BY comm, pid, protocol, netns, raddr, rport, laddr, lport
ORDER BY sent_bytes + received_bytes DESC, sends + receives DESC, comm, pid, protocol, netns, raddr, rport, laddr, lport
LIMIT $top
