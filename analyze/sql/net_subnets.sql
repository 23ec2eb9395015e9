-- How many bytes go to and come from which networks, over internet sockets.
--
-- A peer belongs to the first network of the list that it is in; those in none are the row whose network is NULL, as is
-- what goes through sockets that are not connected, whose peers are not known (UDP with sendto and recvfrom). Bytes are
-- those of net_top. An IPv4 peer of an IPv6 socket is an IPv4 peer.
--
-- @tool tcpsubnet: tcpsubnet 10.0.0.0/8,0.0.0.0/0 | recorder record sock_io -d 10 | analyze net_subnets x.trace --nets 10.0.0.0/8,0.0.0.0/0
--     There the size that each send was asked for counts, whatever became of it, and only IPv4 sockets; here the bytes that
--     went, both ways, over IPv6 and UDP too.
-- @table sock_io(dir enum(send,receive), bytes s32, protocol u16, raddr ip, comm char[16])
-- @param nets text = 127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,0.0.0.0/0,::/0: at most 8 networks or addresses, IPv4 and IPv6
-- @column network text: network of the list; NULL for peers in none, and for unknown ones
-- @column protocol u16: 6 = TCP, 17 = UDP, 262 = MPTCP
-- @column sent_bytes s64 [bytes]: bytes that were sent there
-- @column received_bytes s64 [bytes]: bytes that came from there
-- @column calls s64: sends and receives, failed ones included
-- @column peers s64: different peers; 0 where they are not known
-- @loss the numbers may be too low
WITH listed AS (
    SELECT
        trim(split_part($nets, ',', 1)) AS n1,
        trim(split_part($nets, ',', 2)) AS n2,
        trim(split_part($nets, ',', 3)) AS n3,
        trim(split_part($nets, ',', 4)) AS n4,
        trim(split_part($nets, ',', 5)) AS n5,
        trim(split_part($nets, ',', 6)) AS n6,
        trim(split_part($nets, ',', 7)) AS n7,
        trim(split_part($nets, ',', 8)) AS n8
),
placed AS (
    SELECT
        protocol, dir, bytes, raddr,
        CASE
            -- To name more is an error: this is no network.
            WHEN split_part($nets, ',', 9) <> '' AND in_net(raddr, 'more than 8 networks') THEN NULL
            WHEN in_net(raddr, CASE WHEN n1 = '' THEN NULL WHEN strpos(n1, '/') > 0 THEN n1 WHEN strpos(n1, ':') > 0 THEN concat(n1, '/128') ELSE concat(n1, '/32') END) THEN n1
            WHEN in_net(raddr, CASE WHEN n2 = '' THEN NULL WHEN strpos(n2, '/') > 0 THEN n2 WHEN strpos(n2, ':') > 0 THEN concat(n2, '/128') ELSE concat(n2, '/32') END) THEN n2
            WHEN in_net(raddr, CASE WHEN n3 = '' THEN NULL WHEN strpos(n3, '/') > 0 THEN n3 WHEN strpos(n3, ':') > 0 THEN concat(n3, '/128') ELSE concat(n3, '/32') END) THEN n3
            WHEN in_net(raddr, CASE WHEN n4 = '' THEN NULL WHEN strpos(n4, '/') > 0 THEN n4 WHEN strpos(n4, ':') > 0 THEN concat(n4, '/128') ELSE concat(n4, '/32') END) THEN n4
            WHEN in_net(raddr, CASE WHEN n5 = '' THEN NULL WHEN strpos(n5, '/') > 0 THEN n5 WHEN strpos(n5, ':') > 0 THEN concat(n5, '/128') ELSE concat(n5, '/32') END) THEN n5
            WHEN in_net(raddr, CASE WHEN n6 = '' THEN NULL WHEN strpos(n6, '/') > 0 THEN n6 WHEN strpos(n6, ':') > 0 THEN concat(n6, '/128') ELSE concat(n6, '/32') END) THEN n6
            WHEN in_net(raddr, CASE WHEN n7 = '' THEN NULL WHEN strpos(n7, '/') > 0 THEN n7 WHEN strpos(n7, ':') > 0 THEN concat(n7, '/128') ELSE concat(n7, '/32') END) THEN n7
            WHEN in_net(raddr, CASE WHEN n8 = '' THEN NULL WHEN strpos(n8, '/') > 0 THEN n8 WHEN strpos(n8, ':') > 0 THEN concat(n8, '/128') ELSE concat(n8, '/32') END) THEN n8
        END AS network
    FROM (SELECT protocol, dir, CAST(bytes AS BIGINT) AS bytes, ip(raddr) AS raddr FROM sock_io) AS calls
    CROSS JOIN listed
)
SELECT
    network,
    protocol,
    CAST(coalesce(sum(bytes) FILTER (WHERE dir = 'send'), 0) AS BIGINT) AS sent_bytes,
    CAST(coalesce(sum(bytes) FILTER (WHERE dir = 'receive'), 0) AS BIGINT) AS received_bytes,
    count(*) AS calls,
    count(DISTINCT raddr) AS peers
FROM placed
GROUP BY network, protocol
ORDER BY sent_bytes + received_bytes DESC, calls DESC, network, protocol
