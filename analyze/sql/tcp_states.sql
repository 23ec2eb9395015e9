-- Every change of a TCP socket's state, and how long it was in the state before.
--
-- Sockets in TIME_WAIT and half-open ones of a listener are no whole sockets and have no rows: after FIN_WAIT2 comes CLOSE.
--
-- @tool tcpstates: tcpstates | recorder record tcp_conns -d 60 | analyze tcp_states x.trace
--     Process and command are there whoever runs when the state changes; here they are NULL in an interrupt.
-- @table tcp_conns(ev enum(connect,accept,state), comm char[16], old enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), new enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12), netns u32, laddr ip, lport u16, raddr ip, rport u16, sk x64)
-- @column ts time: when
-- @column netns u32: network namespace
-- @column laddr text: local address
-- @column lport u16: local port; NULL while it is not chosen
-- @column raddr text: peer; NULL of a listener
-- @column rport u16: its port, likewise
-- @column old enum: state before
-- @column new enum: state after
-- @column old_ns s64 [ns]: time in the state before; NULL if it began before the recording, and of CLOSE, before which there was no connection
-- @column comm char[16]: thread that made the change, as by connect or close; NULL in an interrupt
-- @column pid u32: its process, likewise
-- @column sk x64: socket, as long as it exists
-- @loss changes are missing, and the time in a state that was entered unseen
SELECT
    end_ts AS ts,
    end_netns AS netns,
    ip(end_laddr) AS laddr,
    end_lport AS lport,
    ip(end_raddr) AS raddr,
    end_rport AS rport,
    end_old AS old,
    end_new AS new,
    -- A row between is missing where the states do not follow each other.
    CASE WHEN new = end_old AND end_old <> 'CLOSE' THEN ns(end_ts) - ns(ts) END AS old_ns,
    end_comm AS comm,
    end_pid AS pid,
    sk
FROM pairs((SELECT * FROM tcp_conns WHERE ev = 'state'), begin => true, end => true, key => sk)
WHERE end_ts IS NOT NULL
ORDER BY ts, sk
