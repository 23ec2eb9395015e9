-- @tests ttysnoop, undump
-- @tool ttysnoop: ttysnoop /dev/pts/2 | recorder record 'shown=fn:n_tty_write{ tty=tty->name:string[31], data=buf:bytes[510; retval] }' | analyze sql x.trace "SELECT ts, pid, comm, tty, bytes_text(data) AS text FROM shown ORDER BY ts"
--     Follows pointers to the bytes by hand, which the kernel moved five times since 2021, and showed wrong bytes or none in between. All
--     terminals here (if tty->name == 'pts2' for one), and 510 bytes of each piece of up to 2048.
-- @tool undump: undump.bt | recorder record 'unix_reads=fn:unix_stream_read_actor{ chunk, peeked=(state->flags & 2) != 0, data=skb->data + ((struct unix_skb_parms *)skb->cb)->consumed + skip:bytes[510; retval] } if skb->data_len == 0' | analyze sql x.trace "SELECT ts, pid, comm, bytes_text(data) AS text FROM unix_reads WHERE NOT peeked ORDER BY ts"
--     Copies as many bytes as were sent from where the first of them lie, so that memory of others follows where they lie in several
--     pieces (more than some 32 KiB), and what was looked at first appears twice. Here it is what was read; what lies in several pieces
--     is left out.

-- what was written to the terminal is there, piece by piece
SELECT w.n, w.hex, s.hex AS seen, s.nr, s.tty
FROM written AS w
LEFT JOIN (
    SELECT pid, tty, nr, encode(data, 'hex') AS hex, row_number() OVER (PARTITION BY pid ORDER BY ts) - 1 AS n FROM shown WHERE comm = 'perl'
) AS s ON s.pid = w.pid AND s.n = w.n
WHERE s.n IS NULL OR s.hex <> w.hex OR s.nr <> w.bytes OR s.tty <> 'pts' || w.number;

-- and no more; the one that is longer than the column says that it is
SELECT * FROM (SELECT count(*) AS pieces, count(*) FILTER (WHERE cuts <> 0) AS cut, max(nr) FILTER (WHERE cuts <> 0) AS longest FROM shown WHERE comm = 'perl') AS s
WHERE pieces <> 4 OR cut <> 1 OR longest <> 600 OR (SELECT count(*) FROM written) <> 4;

-- what was read of the socket is there, as it was read, and what was looked at says so
SELECT r.n, r.hex, u.hex AS seen, r.peeked, u.peeked AS seen_peeked, u.chunk
FROM read AS r
LEFT JOIN (
    SELECT pid, chunk, peeked, encode(data, 'hex') AS hex, row_number() OVER (PARTITION BY pid ORDER BY ts) - 1 AS n FROM unix_reads
) AS u ON u.pid = r.pid AND u.n = r.n
WHERE u.n IS NULL OR u.hex <> r.hex OR u.peeked <> (r.peeked = 1) OR u.chunk <> length(r.hex) / 2;

-- there are four, and nothing of what is in several pieces
SELECT * FROM (SELECT count(*) AS reads FROM unix_reads WHERE pid IN (SELECT pid FROM read)) AS u
WHERE reads <> 4 OR (SELECT count(*) FROM read) <> 4;
