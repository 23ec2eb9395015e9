-- Which packets the kernel threw away: why, where, and how many.
--
-- NOT_SPECIFIED says that nobody wrote a reason down; that is often harmless, as when a socket is closed. Names are those of
-- the kernel that was recorded.
--
-- @tool tcpdrop: tcpdrop | recorder record drops -d 10 | analyze drops x.trace --by flow
--     The function that is probed there is inlined in today's kernels; the bpftrace version has the reasons of one kernel,
--     though NETFILTER_DROP is 7 in 6.1, 11 in 6.12 and 12 in 6.18. Here all packets, not only TCP's; --stacks kernel adds
--     whole stacks to the table.
-- @table drops(reason enum(kernel skb_drop_reason), reason_number u32, location sym, netns u32, protocol x16, proto u8, saddr ip, sport u16, daddr ip, dport u16, len_bytes u32, sk_state enum(ESTABLISHED=1,SYN_SENT=2,SYN_RECV=3,FIN_WAIT1=4,FIN_WAIT2=5,TIME_WAIT=6,CLOSE=7,CLOSE_WAIT=8,LAST_ACK=9,LISTEN=10,CLOSING=11,NEW_SYN_RECV=12))
-- @param by choice(reason|flow) = reason: one row for each reason and place, or also for each pair of addresses and ports
-- @param top count = 50: rows at most
-- @column reason text: why, without SKB_DROP_REASON_; a number where the kernel has no name for it
-- @column subsystem u32: whose reason it is, if not the network's own: 1 and 2 mac80211, 3 openvswitch
-- @column location text: code that threw it away
-- @column netns u32: network namespace; NULL if not known
-- @column protocol x16: 0x0800 IPv4, 0x86dd IPv6, 0x0806 ARP, 0 no network
-- @column proto u8: 6 = TCP, 17 = UDP, 1 = ICMP, 58 = ICMPv6
-- @column sk_state enum: state of the socket that was to get it; NULL if there is none, or before 6.12
-- @column saddr text: source address; NULL unless by => 'flow'
-- @column sport u16: source port, likewise
-- @column daddr text: destination address, likewise
-- @column dport u16: destination port, likewise
-- @column packets s64: how many
-- @column bytes s64 [bytes]: their bytes, without headers that had been taken off
-- @column first time: first one
-- @column last time: last one
-- @loss the numbers may be too low
SELECT
    replace(reason, 'SKB_DROP_REASON_', '') AS reason,
    CASE WHEN reason_number > 65535 THEN reason_number >> 16 END AS subsystem,
    symbol(location) AS location,
    netns,
    protocol,
    proto,
    sk_state,
    saddr,
    sport,
    daddr,
    dport,
    count(*) AS packets,
    CAST(sum(len_bytes) AS BIGINT) AS bytes,
    min(ts) AS first,
    max(ts) AS last
FROM (
    SELECT
        ts, reason, reason_number, location, netns, protocol, proto, sk_state, CAST(len_bytes AS BIGINT) AS len_bytes,
        CASE WHEN $by = 'flow' THEN ip(saddr) END AS saddr,
        CASE WHEN $by = 'flow' THEN sport END AS sport,
        CASE WHEN $by = 'flow' THEN ip(daddr) END AS daddr,
        CASE WHEN $by = 'flow' THEN dport END AS dport
    FROM drops
) AS dropped
GROUP BY reason, reason_number, location, netns, protocol, proto, sk_state, saddr, sport, daddr, dport
ORDER BY packets DESC, reason, subsystem, location, netns, protocol, proto, sk_state, saddr, sport, daddr, dport
LIMIT $top
