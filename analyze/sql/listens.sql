-- Who listened where at a given time: the last news of each socket up to then.
--
-- A socket is a network namespace and an inode. Sockets that listened before the recording are known from the
-- snapshot; a listen that failed is no news; a stop ends it. At equal times a stop counts as the later one.
--
-- @table listens(ev enum(listen,stop,snapshot), ret s32, netns u32, family u8, addr ip, port u16, backlog s32, v6only bool, protocol u16, inode u64, comm char[16])
-- @param at time = end: the moment
-- @column netns u32: network namespace
-- @column family u8: 2 = IPv4, 10 = IPv6
-- @column addr ip: local address; 0.0.0.0 or :: is every address
-- @column port u16: local port
-- @column backlog s32: longest queue of connections not yet accepted
-- @column v6only bool: an IPv6 socket that does not serve IPv4
-- @column protocol u16: 6 = TCP, 262 = MPTCP
-- @column comm char[16]: process that called listen, or that held the socket at the snapshot
-- @column pid u32: its id
-- @column seen_as enum: listen or snapshot
-- @column since time: when it was last told to listen, or the time of the snapshot
-- @column inode u64: inode of the socket
-- @loss a listener may be missing, and one that stopped may still be shown
SELECT netns, family, addr, port, backlog, v6only, protocol, comm, pid, ev AS seen_as, ts AS since, inode
FROM state_at(
    (SELECT * FROM listens WHERE ev <> 'listen' OR ret = 0),
    key => (netns, inode),
    time => $at,
    tie => ev = 'stop'
)
WHERE ev <> 'stop'
ORDER BY netns, port, addr, inode
