-- @tests bindsnoop
-- @tool bindsnoop: bindsnoop | recorder record 'binds=fn:inet_bind{ protocol=sock->sk->sk_protocol, addr=((struct sockaddr_in *)uaddr)->sin_addr.s_addr:ip, asked=((struct sockaddr_in *)uaddr)->sin_port, port=sock->sk->__sk_common.skc_num, reuse=sock->sk->__sk_common.skc_reuse, retval }' 'binds6=fn:inet6_bind{ protocol=sock->sk->sk_protocol, addr=((struct sockaddr_in6 *)uaddr)->sin6_addr:ip, asked=((struct sockaddr_in6 *)uaddr)->sin6_port, port=sock->sk->__sk_common.skc_num, reuse=sock->sk->__sk_common.skc_reuse, retval }' | analyze sql x.trace "SELECT ts, pid, comm, protocol, addr, asked, port, errno_name(retval) AS error FROM binds UNION ALL SELECT ts, pid, comm, protocol, addr, asked, port, errno_name(retval) FROM binds6 ORDER BY ts"
--     Both show the port that the kernel chose; the original shows protocols as unknown in some releases, and nothing from 6.6
--     to its fix, because the work had moved into another function. Ports that connect and sendto choose are no calls of bind.

-- each call of bind is a row, with what it asked for, what it got, and its result
SELECT t.n, t.addr, t.asked, t.port, t.ret, count(b.addr) AS rows
FROM truth t
LEFT JOIN (
    SELECT comm, protocol, addr, asked, port, retval FROM binds UNION ALL SELECT comm, protocol, addr, asked, port, retval FROM binds6
) b ON b.comm = 'binder' AND b.protocol = t.protocol AND b.addr = t.addr AND b.asked = t.asked AND b.retval = t.ret AND (b.port = t.port OR t.ret < 0)
GROUP BY t.n, t.addr, t.asked, t.port, t.ret
HAVING count(b.addr) <> 1;

-- there were nine calls, of which two failed, and no other
SELECT count(*) AS calls, count(*) FILTER (WHERE retval = -98) AS in_use, count(*) FILTER (WHERE retval = -99) AS no_address
FROM (SELECT retval FROM binds UNION ALL SELECT retval FROM binds6)
HAVING count(*) <> 9 OR count(*) FILTER (WHERE retval = -98) <> 1 OR count(*) FILTER (WHERE retval = -99) <> 1;
