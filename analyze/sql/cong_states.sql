-- How long TCP connections were in each state of congestion control.
--
-- Open: all is well; Disorder: acknowledgements are odd; CWR: the window is reduced; Recovery: what was lost is sent again
-- quickly; Loss: nothing came back in time. A time is known between two changes of the same connection; the last one of each
-- lasts until nobody knows when. A connection whose state never changed is not here.
--
-- @tool tcpcong: tcpcong | recorder record tcp_events -d 60 | analyze cong_states x.trace
--     Without the tracepoint five functions are probed there, which see other changes.
-- @table tcp_events(ev enum(retransmit,synack,cong_state,receive_reset,send_reset,tlp,syn_recv), netns u32, laddr ip, lport u16, raddr ip, rport u16, ca_old enum(Open,Disorder,CWR,Recovery,Loss), ca_new enum(Open,Disorder,CWR,Recovery,Loss), sk x64)
-- @column netns u32: network namespace
-- @column laddr text: local address
-- @column lport u16: local port
-- @column raddr text: peer
-- @column rport u16: its port
-- @column ca_state enum: state
-- @column entered s64: how often it came into it from another
-- @column known_ns s64 [ns]: time in it between changes
-- @column max_ns s64 [ns]: longest time without a change
-- @column first time: first time
-- @loss changes are missing, and times across them
SELECT
    netns,
    ip(laddr) AS laddr,
    lport,
    ip(raddr) AS raddr,
    rport,
    ca_new AS ca_state,
    count(*) FILTER (WHERE ca_old <> ca_new) AS entered,
    CAST(coalesce(sum(in_ns), 0) AS BIGINT) AS known_ns,
    max(in_ns) AS max_ns,
    min(ts) AS first
FROM (
    SELECT
        *,
        -- A row between is missing where the states do not follow each other.
        CASE WHEN class = 'paired' AND end_ca_old = ca_new THEN ns(end_ts) - ns(ts) END AS in_ns
    -- The address of a socket is used again, with its ports hardly ever. A connection that ends is set to Open without a peer.
    FROM pairs(
        (SELECT * FROM tcp_events WHERE ev = 'cong_state' AND rport <> 0),
        begin => true, end => true, key => (sk, lport, rport)
    )
    WHERE ts IS NOT NULL AND ca_new IS NOT NULL
) AS changes
GROUP BY netns, ip(laddr), lport, ip(raddr), rport, ca_new
ORDER BY netns, laddr, lport, raddr, rport, first, ca_state
