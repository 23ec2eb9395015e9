-- How many connections waited to be accepted by each listener when another one came, against its limit.
--
-- Counted at the end of each handshake. One more than the limit is let in. First packets that a full listener throws away
-- come to no handshake: ListenOverflows of the kernel counts them, too.
--
-- @tool tcpsynbl: tcpsynbl | recorder record tcp_events -d 60 | analyze backlogs x.trace
--     IPv4 connections to an IPv6 listener are counted twice there.
-- @table tcp_events(ev enum(retransmit,synack,cong_state,receive_reset,send_reset,tlp,syn_recv), netns u32, lport u16, waiting u32, backlog u32, has_room bool, sk x64)
-- @column netns u32: network namespace
-- @column lport u16: port of the listener
-- @column backlog u32: its limit
-- @column handshakes s64: handshakes that ended
-- @column turned_away s64: of these, in vain, because too many waited
-- @column p50_waiting u32: connections that waited already at half of them, at most
-- @column p99_waiting u32: at 99 in 100
-- @column max_waiting u32: most that waited
-- @column log2_histogram text: e:n for each exponent, n handshakes that found 2^e to 2^(e+1)-1 waiting; 0 holds none, too
-- @loss the numbers may be too low
SELECT
    netns,
    lport,
    backlog,
    count(*) AS handshakes,
    count(*) FILTER (WHERE NOT has_room) AS turned_away,
    percentile(waiting, 0.5) AS p50_waiting,
    percentile(waiting, 0.99) AS p99_waiting,
    max(waiting) AS max_waiting,
    log2_histogram(waiting) AS log2_histogram
FROM tcp_events
WHERE ev = 'syn_recv'
GROUP BY netns, lport, backlog
ORDER BY max_waiting DESC, handshakes DESC, netns, lport, backlog
