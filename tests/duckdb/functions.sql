-- What analyze adds to SQL, once more for DuckDB; the analyses themselves are the same text in both engines.
CREATE MACRO ns(t) AS epoch_ns(t);
CREATE MACRO utc(n) AS CAST(make_timestamp_ns(n) AS TIMESTAMPTZ_NS);
CREATE MACRO log2_floor(n) AS CASE WHEN n < 2 THEN 0 ELSE length(ltrim(bin(n), '0')) - 1 END;
CREATE MACRO symbol(a) AS coalesce(
    (SELECT min(name || CASE WHEN offset_bytes <> 0 THEN printf('+0x%x', offset_bytes) ELSE '' END
        || coalesce(' [' || module || ']', '')) FROM symbols WHERE addr = a),
    printf('0x%x', a));
CREATE VIEW stack_frames AS
    SELECT stack_id, unnest(frames) AS frame, generate_subscripts(frames, 1) AS depth FROM stacks;
CREATE MACRO stack_text(id) AS
    (SELECT string_agg(symbol(frame), ' <- ' ORDER BY depth) FROM stack_frames WHERE stack_frames.stack_id = id);
CREATE MACRO function_of(a) AS
    coalesce((SELECT min(name) FROM symbols WHERE addr = a), printf('0x%x', a));
CREATE MACRO stack_fold(id) AS
    (SELECT string_agg(function_of(frame), chr(59) ORDER BY depth DESC) FROM stack_frames WHERE stack_frames.stack_id = id);
CREATE MACRO container(id) AS (SELECT min(container_id) FROM cgroups WHERE cgroup_id = id);
CREATE MACRO dev_name(dev) AS CAST(dev >> 20 AS VARCHAR) || ':' || CAST(dev & 1048575 AS VARCHAR);
CREATE VIEW kmem_ordered AS
    SELECT *, lead(kind) OVER w AS next_kind, lead(ts) OVER w AS next_ts, lag(kind) OVER w AS prev_kind
    FROM (SELECT * FROM kmem UNION ALL BY NAME SELECT CAST(NULL AS BIGINT) AS kstack WHERE false) AS stacked
    WHERE ptr <> 0
    WINDOW w AS (PARTITION BY ptr ORDER BY ts, CASE kind WHEN 'free' THEN 0 ELSE 1 END, cpu, seq);
CREATE VIEW kmem_pairs AS
    SELECT ts,
        CASE WHEN kind = 'alloc' AND next_kind = 'free' THEN 'paired'
             WHEN kind = 'alloc' AND next_kind = 'alloc' THEN 'free_missed'
             WHEN kind = 'alloc' THEN 'outstanding'
             WHEN prev_kind IS NULL THEN 'alloc_before_recording'
             ELSE 'alloc_missed' END AS class,
        CASE WHEN kind = 'alloc' THEN next_ts END AS end_ts,
        ptr, pid, comm, call_site, via, cache, bytes_req, bytes_alloc,
        kstack
    FROM kmem_ordered
    WHERE kind = 'alloc' OR prev_kind IS NULL OR prev_kind = 'free'
