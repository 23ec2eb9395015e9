//! The forms that an analysis can have.

use super::{Together, rows, session};

const TRACES: &[&str] = &["kmem", "open_empty", "kmem_lossy", "kmem_bound"];

/// Each form that is answered. Rows have an order wherever a limit depends on it.
const FORMS: &[&str] = &[
    "SELECT ts, seq, kind, ptr FROM kmem ORDER BY ts, seq",
    "SELECT * FROM losses ORDER BY ts, event, probe, reason",
    // One row for each trace, also where there is none.
    "SELECT count(*), count(ptr) AS n, sum(bytes_alloc) AS b, min(ts) AS t FROM kmem",
    "SELECT count(DISTINCT ptr) AS n, array_agg(kind ORDER BY ts, seq) AS kinds FROM kmem",
    "SELECT count(*) FILTER (WHERE kind = 'free') AS n, coalesce(max(bytes_alloc), -1) AS b FROM kmem",
    "SELECT approx_distinct(ptr) AS n, bool_or(kind = 'free') AS f, string_agg(kind, ',' ORDER BY ts, seq) AS k FROM kmem",
    "SELECT count(*) + 1 AS n, sum(bytes_alloc) / count(*) AS mean FROM kmem HAVING count(*) > 0",
    "SELECT count(*) AS n FROM (SELECT max(ts) AS t FROM kmem) AS x WHERE t IS NULL",
    "SELECT sum(n) AS n FROM (SELECT count(*) AS n FROM kmem GROUP BY ptr) AS x",
    "SELECT count(*) FROM (SELECT 1 AS one) AS x",
    // Groups, windows, distinct rows.
    "SELECT kind, count(*) AS n, min(ptr) AS p FROM kmem GROUP BY kind ORDER BY kind",
    "SELECT kind, count(*) AS n FROM kmem GROUP BY kind HAVING count(*) > 1 ORDER BY 1",
    "SELECT count(*) AS n FROM kmem GROUP BY kind ORDER BY n, max(ts)",
    "SELECT DISTINCT kind FROM kmem ORDER BY kind",
    "SELECT DISTINCT ON (kind) kind, ts, ptr FROM kmem ORDER BY kind, ts, seq",
    "SELECT ts, row_number() OVER (ORDER BY ts, seq) AS nth, count(*) OVER () AS n FROM kmem ORDER BY ts, nth",
    "SELECT ptr, lag(ns(ts)) OVER (PARTITION BY ptr ORDER BY ts, seq) AS before, row_number() OVER (ORDER BY ts, seq)
     FROM kmem ORDER BY 3",
    "SELECT sum(bytes_alloc) OVER (ORDER BY ts, seq ROWS UNBOUNDED PRECEDING) - max(bytes_alloc) OVER () AS d
     FROM kmem ORDER BY d NULLS FIRST",
    "SELECT kind, rank() OVER (ORDER BY count(*) DESC) AS r FROM kmem GROUP BY kind ORDER BY r, kind",
    // Limits.
    "SELECT ts, ptr FROM kmem ORDER BY ts DESC, seq LIMIT 2",
    "SELECT ptr FROM kmem ORDER BY ts, seq LIMIT 2 OFFSET 1",
    "SELECT ptr FROM kmem ORDER BY ts, seq OFFSET 3",
    "SELECT ptr FROM kmem ORDER BY ts, seq LIMIT 1 + 1",
    "SELECT ptr FROM kmem ORDER BY ts, seq LIMIT NULL",
    "SELECT ptr FROM kmem LIMIT 0",
    "SELECT count(*) AS n FROM (SELECT 1 AS one FROM kmem LIMIT 3) AS x",
    "SELECT sum(bytes_alloc) AS b FROM (SELECT * FROM kmem ORDER BY ts DESC, seq LIMIT 3) AS x",
    "SELECT kind, n FROM (SELECT kind, count(*) AS n FROM kmem GROUP BY kind) AS x ORDER BY n DESC, kind LIMIT 1",
    // Several inputs.
    "SELECT kind, 1 AS one FROM kmem UNION SELECT 'x', 2 ORDER BY kind, one",
    "SELECT ptr FROM kmem UNION ALL SELECT addr FROM symbols UNION ALL SELECT NULL ORDER BY 1",
    "SELECT NULL AS bytes, kind FROM kmem UNION ALL SELECT bytes_alloc, kind FROM kmem ORDER BY 1, 2",
    "SELECT ptr FROM kmem WHERE kind = 'alloc' INTERSECT SELECT ptr FROM kmem WHERE kind = 'free' ORDER BY ptr",
    "SELECT ptr FROM kmem WHERE kind = 'alloc' EXCEPT SELECT ptr FROM kmem WHERE kind = 'free' ORDER BY ptr",
    "WITH a AS (SELECT ptr, ts FROM kmem WHERE kind = 'alloc') SELECT a.ptr, b.ts FROM a JOIN a AS b ON a.ptr = b.ptr
     ORDER BY a.ts, b.ts, a.ptr",
    "SELECT a.ptr, count(f.ptr) AS n FROM kmem AS a LEFT JOIN kmem AS f ON f.ptr = a.ptr AND f.kind = 'free'
     GROUP BY a.ptr ORDER BY a.ptr",
    "SELECT s.name, k.ts FROM kmem AS k RIGHT JOIN symbols AS s ON s.addr = k.call_site ORDER BY s.name, k.ts, k.seq",
    "SELECT s.addr, k.ptr FROM (SELECT DISTINCT call_site, ptr FROM kmem) AS k FULL JOIN symbols AS s ON s.addr = k.call_site
     ORDER BY s.addr, k.ptr",
    "SELECT ptr, t.h FROM kmem CROSS JOIN (SELECT host, end_ts FROM traces) AS t(h, e) WHERE ts < e ORDER BY ts, seq",
    "SELECT r.reason, count(l.ts) AS n FROM loss_reasons AS r LEFT JOIN losses AS l USING (reason) GROUP BY r.reason ORDER BY 1",
    "SELECT r.reason, l.ts FROM loss_reasons AS r RIGHT JOIN losses AS l ON r.reason = l.reason ORDER BY l.ts, r.reason",
    "SELECT r.reason, l.ts FROM loss_reasons AS r FULL JOIN losses AS l ON r.reason = l.reason ORDER BY l.ts, r.reason",
    "SELECT kind, v.n FROM kmem JOIN (VALUES ('alloc', 1), ('free', 2)) AS v(k, n) ON v.k = kind ORDER BY ts, seq",
    // Queries within expressions.
    "SELECT ptr FROM kmem WHERE ts = (SELECT max(ts) FROM kmem) ORDER BY ptr",
    "SELECT (SELECT count(*) FROM kmem) AS n, (SELECT end_ts FROM traces) AS e",
    "SELECT ns(ts) - ns((SELECT start_ts FROM traces)) AS after FROM kmem ORDER BY after, seq",
    "SELECT kind, count(*) * 100 / (SELECT count(*) FROM kmem) AS share FROM kmem GROUP BY kind ORDER BY kind",
    "SELECT ts FROM kmem WHERE ts > (SELECT ts FROM kmem ORDER BY ts DESC, seq LIMIT 1 OFFSET 3) ORDER BY ts, seq",
    "SELECT ptr FROM kmem WHERE kind = 'alloc' AND ptr IN (SELECT ptr FROM kmem WHERE kind = 'free') ORDER BY ts, seq",
    "SELECT ptr FROM kmem WHERE call_site IN (SELECT addr FROM symbols) OR kind = 'free' ORDER BY ts, seq",
    "SELECT ptr FROM kmem AS a WHERE kind = 'alloc' AND NOT EXISTS
     (SELECT 1 FROM kmem AS f WHERE f.ptr = a.ptr AND f.kind = 'free') ORDER BY ts, seq",
    "SELECT ptr FROM kmem WHERE EXISTS (SELECT 1 FROM losses) ORDER BY ts, seq",
    "SELECT ptr, (SELECT count(*) FROM kmem AS f WHERE f.ptr = a.ptr AND f.kind = 'free') AS n FROM kmem AS a
     WHERE kind = 'alloc' ORDER BY ts, seq",
    "SELECT reason FROM loss_reasons WHERE reason IN (SELECT reason FROM losses) ORDER BY reason",
    // Of the same name or address, each trace has its own.
    "SELECT DISTINCT call_site, symbol(call_site) AS site FROM kmem ORDER BY 1, 2",
    "SELECT symbol(call_site) AS site, count(*) AS n, min(stack_text(ptr)) AS s FROM kmem GROUP BY 1 ORDER BY 1",
    "SELECT count(*) AS n FROM kmem WHERE symbol(call_site) LIKE 'make%' HAVING min(symbol(call_site)) IS NOT NULL",
    "SELECT symbol(160), count(*) AS n FROM kmem",
    "SELECT ptr FROM kmem WHERE call_site = 'make_thing+0x10' ORDER BY ts, seq",
    "SELECT count(*) AS n FROM kmem WHERE call_site <> 'make_thing+0x10'",
    "SELECT s.name, count(*) AS n FROM kmem AS k JOIN symbols AS s ON symbol(s.addr) = symbol(k.call_site)
     GROUP BY s.name ORDER BY s.name",
    "SELECT ptr, stack_fold(ptr) AS s, process(pid, ts) AS p, container(cgroup_id) AS c FROM kmem ORDER BY ts, seq",
    "SELECT gfp_flags(3264) AS flags, syscall_name(1) AS call, count(*) AS n FROM kmem",
    // Of no trace.
    "SELECT 1 AS one",
    "VALUES (1, 'a'), (2, 'b') ORDER BY 1",
    "SELECT unnest([1, 2]) AS n, 'x' AS x ORDER BY n",
    "SELECT n, kind FROM (SELECT unnest([1, 2]) AS n, kind FROM kmem) AS x ORDER BY n, kind",
    "WITH RECURSIVE up AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM up WHERE n < 3) SELECT n FROM up ORDER BY n",
    "WITH RECURSIVE up AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM up WHERE n < 3)
     SELECT n, kind FROM up CROSS JOIN kmem ORDER BY n, kind",
];

/// Forms that are refused: (query, what the message names).
const REFUSED: &[(&str, &str)] = &[
    ("SELECT kind, count(*) FROM kmem GROUP BY ROLLUP (kind)", "ROLLUP"),
    ("SELECT ptr FROM kmem WHERE ptr NOT IN (SELECT ptr FROM kmem WHERE kind = 'free')", "NOT IN"),
    ("SELECT ptr FROM kmem WHERE ptr = ANY (SELECT ptr FROM kmem)", "ANY"),
    ("SELECT (SELECT ptr FROM kmem) AS p", "LIMIT 1"),
    (
        "WITH RECURSIVE up AS (SELECT min(ptr) AS p FROM kmem UNION ALL SELECT p + 1 FROM up WHERE p < 3) SELECT p FROM up",
        "RECURSIVE",
    ),
    (
        "SELECT k.ptr FROM kmem AS k CROSS JOIN LATERAL (SELECT max(ts) FROM kmem WHERE ptr = k.ptr) AS l",
        "LATERAL",
    ),
];

#[test]
fn each_form_of_a_query_keeps_traces_apart() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let traces = Together::open(TRACES, dir.path());
    let mut failures = Vec::new();
    for sql in FORMS {
        let checked = std::panic::AssertUnwindSafe(|| runtime.block_on(traces.check(sql)));
        if std::panic::catch_unwind(checked).is_err() {
            failures.push(*sql);
        }
    }
    assert!(failures.is_empty(), "{} forms fail: {}", failures.len(), failures.join("\n"));
}

#[test]
fn a_form_that_would_mix_traces_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let several = session(TRACES, dir.path());
    for (sql, what) in REFUSED {
        let error = runtime.block_on(rows(&several, sql)).err().unwrap_or_else(|| panic!("answered: {sql}"));
        let error = format!("{error:#}");
        assert!(error.contains(what) && error.contains("open one trace"), "{sql}: {error}");
    }
}
