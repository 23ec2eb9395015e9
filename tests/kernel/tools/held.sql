-- @tests memleak, slabratetop, solisten
-- @tool memleak: memleak -a 10 1 | recorder record kmem --stacks kernel -d 10 | analyze leaks x.trace --by stack
--     Frees in an interrupt that comes while the probe runs are missed there, and their allocations look like leaks. Here they are
--     seen, and of those that were lost for other reasons it is told how many of a site they may have been. What is freed without a
--     tracepoint (kfree_rcu, many at a time) is observed by its function, and told where a kernel does not let that be.
-- @tool slabratetop: slabratetop 10 1 | recorder record kmem -d 10 | analyze sql x.trace "SELECT cache, count(*) AS allocs, sum(bytes_alloc) AS bytes FROM kmem WHERE kind = 'alloc' AND cache IS NOT NULL GROUP BY cache ORDER BY bytes DESC"
--     The function that is probed there has another name from 6.10 on, and one version gave up at 6.8; it is one of several.
-- @tool solisten: solisten | recorder record listens -d 10 | analyze listens x.trace
--     Before the kernel chooses a port it is shown as 0 there, and the address of IPv6 sockets as 0. Here also those that listened
--     before are known, those that no longer do are left out, and calls that failed are rows of table listens.
--     MPTCP sockets are seen.

-- the 400 files that are held open have not been freed, and hardly others but those that a callback may yet free
SELECT f.held, l.outstanding, l.paired
FROM files AS f
LEFT JOIN (
    SELECT sum(outstanding) AS outstanding, sum(paired) AS paired FROM leaks(by => 'stack', top => 1000000) WHERE cache = 'filp' AND stack LIKE '%open%'
) AS l ON true
WHERE l.outstanding IS NULL OR l.outstanding < 400 OR l.outstanding > f.opened + 50 OR f.held < 400;

-- those of the stack with most of them are the same
SELECT f.held, l.outstanding
FROM files AS f
LEFT JOIN (
    SELECT max(outstanding) AS outstanding FROM leaks(by => 'stack', top => 1000000) WHERE cache = 'filp' AND stack LIKE '%alloc%file%open%'
) AS l ON true
WHERE (l.outstanding IS NULL OR l.outstanding < 400) OR (SELECT count(*) FROM files) <> 1;

-- each open took a new object, of the size that the kernel lists
SELECT f.opened, k.allocs, k.bytes, s.size_bytes
FROM files AS f CROSS JOIN slab AS s
LEFT JOIN (
    SELECT pid, cache, count(*) AS allocs, sum(bytes_alloc) AS bytes FROM kmem WHERE kind = 'alloc' AND cache = 'filp' GROUP BY pid, cache
) AS k ON k.pid = f.pid AND k.cache = s.cache
WHERE k.allocs IS NULL OR k.allocs NOT BETWEEN f.opened AND f.opened + 50 OR k.bytes <> k.allocs * s.size_bytes OR (SELECT count(*) FROM slab) <> 1;

-- the process listens where the kernel says, and nowhere else
SELECT s.addr, s.port, s.backlog, l.addr AS my_addr, l.port AS my_port, l.backlog AS my_backlog
FROM sockets AS s
FULL JOIN (SELECT l.* FROM listens() AS l JOIN files AS f ON l.pid = f.pid) AS l ON l.port = s.port AND ip(l.addr) = s.addr AND l.backlog = s.backlog
WHERE s.port IS NULL OR l.port IS NULL OR l.comm <> 'holder';

-- of five sockets three listen
SELECT * FROM (SELECT count(*) AS sockets FROM sockets) AS s WHERE sockets <> 3;
