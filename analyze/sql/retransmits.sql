-- What TCP had to send again: by connection, with tail loss probes and answers to first packets.
--
-- Segments count, not calls: one call may send several. First packets are those that ask for a connection (SYN); a tail loss
-- probe is sent again, too, unless it carries new data.
--
-- @tool tcpretrans: tcpretrans -l | recorder record tcp_events -d 60 | analyze retransmits x.trace
--     A line is a call there, whatever number of segments it sends, and the bpftrace version counts calls that fail; answers
--     to first packets (SYN-ACK) are not seen.
-- @table tcp_events(ev enum(retransmit,synack,cong_state,receive_reset,send_reset,tlp,syn_recv), netns u32, laddr ip, lport u16, raddr ip, rport u16, state enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), segs u16, tcp_flags x8, err s32)
-- @param by choice(connection|peer) = connection: one row for each connection, or for each peer and its port or ours, whichever is lower
-- @param top count = 50: rows at most
-- @column netns u32: network namespace
-- @column laddr text: local address
-- @column lport u16: local port; NULL if by => 'peer', unless it is the lower one
-- @column raddr text: peer
-- @column rport u16: its port; NULL if by => 'peer', unless it is the lower one
-- @column segments s64: segments sent again, all that follow together
-- @column first_packets s64: of these, first packets
-- @column answers s64: of these, answers to first packets
-- @column failed s64: of these, not sent in the end; 0 before 6.16, where they are not known
-- @column probes s64: tail loss probes
-- @column states text: states of the connections then
-- @column first time: first time
-- @column last time: last time
-- @loss the numbers may be too low
SELECT
    netns,
    laddr,
    lport,
    raddr,
    rport,
    CAST(coalesce(sum(segs) FILTER (WHERE ev <> 'tlp'), 0) AS BIGINT) AS segments,
    CAST(coalesce(sum(segs) FILTER (WHERE ev = 'retransmit' AND tcp_flags & 2 = 2), 0) AS BIGINT) AS first_packets,
    CAST(coalesce(sum(segs) FILTER (WHERE ev = 'synack'), 0) AS BIGINT) AS answers,
    CAST(coalesce(sum(segs) FILTER (WHERE ev <> 'tlp' AND err <> 0), 0) AS BIGINT) AS failed,
    count(*) FILTER (WHERE ev = 'tlp') AS probes,
    string_agg(DISTINCT CAST(state AS VARCHAR), ' ' ORDER BY CAST(state AS VARCHAR)) AS states,
    min(ts) AS first,
    max(ts) AS last
FROM (
    SELECT
        ts, ev, netns, ip(laddr) AS laddr, ip(raddr) AS raddr, state, tcp_flags, err,
        CAST(segs AS BIGINT) AS segs,
        CASE WHEN $by = 'connection' OR lport <= rport THEN lport END AS lport,
        CASE WHEN $by = 'connection' OR rport < lport THEN rport END AS rport
    FROM tcp_events
    WHERE ev IN ('retransmit', 'synack', 'tlp')
) AS again
GROUP BY netns, laddr, lport, raddr, rport
ORDER BY segments DESC, probes DESC, first, netns, laddr, lport, raddr, rport
LIMIT $top
