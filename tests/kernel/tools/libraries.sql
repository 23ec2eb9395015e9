-- @tests gethostlatency, bashreadline, sslsniff, sslsnoop, ssllatency
-- @tool gethostlatency: gethostlatency | recorder record 'lookups=uretprobe:libc:getaddrinfo{ name=$arg1:ustring[255], ret=retval:s32, dur }' 'by_name=uretprobe:libc:gethostbyname_r{ name=$arg1:ustring[255], ret=retval:s32, dur }' 'by_name2=uretprobe:libc:gethostbyname2_r{ name=$arg1:ustring[255], ret=retval:s32, dur }' -d 10 | analyze sql x.trace "SELECT ts, pid, comm, name, ret, dur_ns FROM lookups UNION ALL SELECT ts, pid, comm, name, ret, dur_ns FROM by_name UNION ALL SELECT ts, pid, comm, name, ret, dur_ns FROM by_name2 ORDER BY dur_ns DESC"
--     A call within another (gethostbyname uses gethostbyname_r) is two lines there, and its time is counted twice. Here the
--     inner one is probed, which both have. What another libc does (a container's, musl), and programs without one (Go), needs
--     a probe of its own there and here.
-- @tool bashreadline: bashreadline | recorder record 'typed=uretprobe:bash:readline{ line=retval:ustring[255] }' | analyze sql x.trace "SELECT ts, pid, comm, line FROM typed ORDER BY ts"
--     One of bash and libreadline has the function, depending on how bash was built: where it is the library say
--     uretprobe:libreadline:readline. A port of the original showed memory of its own. It is what was typed, not what ran.
-- @tool sslsniff: sslsniff | recorder record 'tls_reads=uretprobe:libssl:SSL_read{ ssl=$arg1, ret=retval:s32, dur, data=$arg2:ubytes[255; retval:s32] }' 'tls_writes=uretprobe:libssl:SSL_write{ ssl=$arg1, ret=retval:s32, dur, data=$arg2:ubytes[255; retval:s32] }' -d 10 | analyze sql x.trace "SELECT ts, pid, comm, 'read' AS dir, ssl, ret AS bytes, bytes_text(data) AS text FROM tls_reads WHERE ret > 0 UNION ALL SELECT ts, pid, comm, 'write', ssl, ret, bytes_text(data) FROM tls_writes WHERE ret > 0 ORDER BY ts"
--     Older ones show the buffers of calls that failed. The first 255 bytes of each here, whatever they are. Programs
--     that use SSL_read_ex and SSL_write_ex (Python, Node) are not seen there, and need uretprobes of these here.
-- @tool sslsnoop: sslsnoop.bt | recorder record 'handshakes=uretprobe:libssl:SSL_do_handshake{ ssl=$arg1, ret=retval:s32, dur }' 'tls_reads=uretprobe:libssl:SSL_read{ ssl=$arg1, ret=retval:s32, dur }' 'tls_writes=uretprobe:libssl:SSL_write{ ssl=$arg1, ret=retval:s32, dur }' -d 10 | analyze sql x.trace "SELECT ts, pid, comm, 'handshake' AS call, ret, dur_ns FROM handshakes UNION ALL SELECT ts, pid, comm, 'read', ret, dur_ns FROM tls_reads UNION ALL SELECT ts, pid, comm, 'write', ret, dur_ns FROM tls_writes ORDER BY ts"
--     Probes functions of libcrypto, too, whose names are not in a library without symbols; then it does not begin at all.
-- @tool ssllatency: ssllatency.bt | recorder record 'handshakes=uretprobe:libssl:SSL_do_handshake{ ssl=$arg1, ret=retval:s32, dur }' 'tls_reads=uretprobe:libssl:SSL_read{ ssl=$arg1, ret=retval:s32, dur }' 'tls_writes=uretprobe:libssl:SSL_write{ ssl=$arg1, ret=retval:s32, dur }' -d 10 | analyze sql x.trace "SELECT call, count(*) AS calls, count(*) FILTER (WHERE ret <= 0) AS failed, percentile(dur_ns, 0.5) AS p50_ns, max(dur_ns) AS max_ns, log2_histogram(dur_ns) AS log2_histogram FROM (SELECT 'handshake' AS call, ret, dur_ns FROM handshakes UNION ALL SELECT 'read', ret, dur_ns FROM tls_reads UNION ALL SELECT 'write', ret, dur_ns FROM tls_writes) AS calls GROUP BY call ORDER BY call"
--     As sslsnoop; percentiles are exact here.

-- each name was looked up as often, by this function, with this result, and no faster than the server answers
SELECT a.name, a.function, a.calls, l.calls AS seen, l.least_ns, a.ret, l.least_ret, l.most_ret
FROM asked AS a
LEFT JOIN (
    SELECT function, name, count(*) AS calls, min(dur_ns) AS least_ns, min(ret) AS least_ret, max(ret) AS most_ret
    FROM (
        SELECT 'getaddrinfo' AS function, comm, name, ret, dur_ns FROM lookups
        UNION ALL SELECT 'gethostbyname_r', comm, name, ret, dur_ns FROM by_name
        UNION ALL SELECT 'gethostbyname2_r', comm, name, ret, dur_ns FROM by_name2
    ) AS calls
    WHERE comm = 'getent'
    GROUP BY function, name
) AS l ON l.function = a.function AND l.name = a.name
WHERE l.name IS NULL OR l.calls <> a.calls OR l.least_ret <> a.ret OR l.most_ret <> a.ret OR l.least_ns < a.least_ms * 1000000;

-- there were three names, and all lookups together took no longer than the programs that made them
SELECT * FROM
    (SELECT count(*) AS names FROM asked) AS a,
    (SELECT sum(dur_ns) AS sum_ns FROM lookups WHERE comm = 'getent') AS l,
    (SELECT sum(dur_ns) AS sum2_ns FROM by_name2 WHERE comm = 'getent') AS m,
    took AS t
WHERE names <> 3 OR sum_ns + sum2_ns > t.took_s * 1e9;

-- each line that was typed is there, in this order
SELECT t.n, t.line, r.line AS seen
FROM (SELECT n, line FROM typed_lines) AS t
FULL JOIN (SELECT row_number() OVER (ORDER BY ts) AS n, line FROM typed WHERE comm = 'bash') AS r ON r.n = t.n
WHERE (t.line IS DISTINCT FROM r.line) OR (SELECT count(*) FROM typed_lines) <> 4;

-- the ten messages that came out went in by the client and out by the server, once each, in clear text
SELECT t.n, t.line, count(DISTINCT r.ts) AS read, count(DISTINCT w.ts) AS written
FROM received AS t CROSS JOIN peers AS p
LEFT JOIN (SELECT ts, pid, bytes_text(data) AS text FROM tls_reads WHERE ret > 0) AS r ON r.pid = p.server AND r.text = t.line || chr(10)
LEFT JOIN (SELECT ts, pid, bytes_text(data) AS text FROM tls_writes WHERE ret > 0) AS w ON w.pid = p.client AND w.text = t.line || chr(10)
GROUP BY t.n, t.line
HAVING count(DISTINCT r.ts) <> 1 OR count(DISTINCT w.ts) <> 1;

-- there are ten, and nothing else went that way
SELECT * FROM
    (SELECT count(*) AS messages FROM received WHERE line LIKE 'message % of ten') AS t,
    (SELECT count(*) AS reads FROM tls_reads WHERE ret > 0) AS r,
    (SELECT count(*) AS writes FROM tls_writes WHERE ret > 0) AS w
WHERE messages <> 10 OR reads <> 10 OR writes <> 10;

-- of the server's two handshakes the first failed when the other side went away after 0.3 s, and the second worked
SELECT * FROM (
    SELECT count(*) FILTER (WHERE ret <= 0 AND dur_ns >= 300000000) AS failed, count(*) FILTER (WHERE ret = 1) AS worked, count(*) AS n, min(dur_ns) AS least_ns
    FROM handshakes JOIN peers AS p ON handshakes.pid = p.server
) AS h
WHERE failed <> 1 OR worked <> 1 OR n <> 2 OR least_ns <= 0;
