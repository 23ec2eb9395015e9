//! The questions, in the words of analyze and in the best formulation that is known for DuckDB.

use super::super::frames::Load;

/// One question.
pub struct Question {
    pub name: &'static str,
    pub load: Load,
    /// Subcommand and arguments of analyze; the trace comes behind the first.
    pub words: &'static [&'static str],
    pub duckdb: &'static str,
    /// By these columns the answers are compared.
    pub columns: &'static [&'static str],
}

/// Reads no row: what the programs themselves take.
pub const EMPTY: Question = Question {
    name: "empty",
    load: Load::Packets,
    words: &["sql", "SELECT 1 AS one"],
    duckdb: "SELECT 1 AS one",
    columns: &["one"],
};

/// All of them.
pub const QUESTIONS: [Question; 9] = [
    Question {
        name: "gaps",
        load: Load::Packets,
        words: &["gaps"],
        duckdb: "
            WITH gap AS (SELECT epoch_ns(ts) - lag(epoch_ns(ts)) OVER (ORDER BY ts) AS gap_ns FROM packets),
            quantiles AS (
                SELECT count(*) AS packets, min(gap_ns) AS min_ns, max(gap_ns) AS max_ns,
                    quantile_disc(gap_ns, [0.5, 0.9, 0.99, 0.999]) AS q,
                    histogram(CASE WHEN gap_ns < 1 THEN 0 ELSE CAST(floor(log2(gap_ns)) AS INTEGER) END) AS log2_histogram
                FROM gap
            )
            SELECT packets, min_ns, q[1] AS p50_ns, q[2] AS p90_ns, q[3] AS p99_ns, q[4] AS p999_ns, max_ns,
                log2_histogram
            FROM quantiles",
        columns: &["packets", "min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns", "log2_histogram"],
    },
    Question {
        name: "bursts",
        load: Load::Packets,
        words: &["bursts"],
        duckdb: "
            WITH gap AS (
                SELECT epoch_ns(ts) AS t, skb_bytes, CASE WHEN gso_segs > 1 THEN gso_segs ELSE 1 END AS packets,
                    epoch_ns(ts) - lag(epoch_ns(ts)) OVER (ORDER BY ts) AS gap_ns
                FROM packets
            ),
            runs AS (
                SELECT *, sum(CASE WHEN gap_ns < 100000 THEN 0 ELSE 1 END) OVER (ORDER BY t ROWS UNBOUNDED PRECEDING) AS run
                FROM gap
            )
            SELECT max(t) - min(t) AS duration_ns, count(*) AS skbs, sum(packets) AS packets, sum(skb_bytes) AS skb_bytes
            FROM runs
            GROUP BY run
            HAVING count(*) - CASE WHEN run = 1 THEN 0 ELSE 1 END > 10",
        columns: &["duration_ns", "skbs", "packets", "skb_bytes"],
    },
    Question {
        name: "leaks",
        load: Load::Kmem,
        words: &["leaks", "--top", "1000000"],
        duckdb: "
            SELECT event.cache AS cache, count(*) AS outstanding, sum(event.bytes_alloc) AS outstanding_bytes
            FROM (
                SELECT arg_max({kind: kind, call_site: call_site, cache: cache, bytes_alloc: bytes_alloc}, ts) AS event,
                    max(ts) AS ts
                FROM kmem
                GROUP BY ptr
            )
            WHERE event.kind = 'alloc' AND epoch_ns(ts) <= {end_ns} - 500000000
            GROUP BY event.call_site, event.cache",
        columns: &["cache", "outstanding", "outstanding_bytes"],
    },
    Question {
        name: "leak_classes",
        load: Load::Kmem,
        words: &["leak_classes"],
        duckdb: "
            WITH neighbours AS (
                SELECT kind, bytes_alloc, lead(kind) OVER by_ptr AS after, lag(kind) OVER by_ptr AS before
                FROM kmem
                WINDOW by_ptr AS (PARTITION BY ptr ORDER BY ts)
            )
            SELECT
                CASE
                    WHEN kind = 'alloc' AND after = 'free' THEN 'paired'
                    WHEN kind = 'alloc' AND after = 'alloc' THEN 'end_missed'
                    WHEN kind = 'alloc' THEN 'outstanding'
                    WHEN before IS NULL THEN 'before_recording'
                    ELSE 'begin_missed'
                END AS class,
                count(*) AS events, sum(bytes_alloc) AS bytes
            FROM neighbours
            WHERE NOT (kind = 'free' AND before IS NOT DISTINCT FROM 'alloc')
            GROUP BY class",
        columns: &["class", "events", "bytes"],
    },
    Question {
        name: "lifetimes",
        load: Load::Kmem,
        words: &["lifetimes", "--top", "1000000"],
        duckdb: "
            WITH lives AS (
                SELECT kind, call_site, cache, lead(kind) OVER by_ptr AS after,
                    epoch_ns(lead(ts) OVER by_ptr) - epoch_ns(ts) AS life_ns
                FROM kmem
                WINDOW by_ptr AS (PARTITION BY ptr ORDER BY ts)
            ),
            quantiles AS (
                SELECT cache, count(*) AS freed, min(life_ns) AS min_ns, max(life_ns) AS max_ns,
                    quantile_disc(life_ns, [0.5, 0.9, 0.99]) AS q
                FROM lives
                WHERE kind = 'alloc' AND after = 'free'
                GROUP BY call_site, cache
            )
            SELECT cache, freed, min_ns, q[1] AS p50_ns, q[2] AS p90_ns, q[3] AS p99_ns, max_ns FROM quantiles",
        columns: &["cache", "freed", "min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"],
    },
    Question {
        name: "count by call site",
        load: Load::Kmem,
        words: &["sql", "SELECT call_site, count(*) AS events FROM kmem GROUP BY call_site"],
        duckdb: "SELECT call_site, count(*) AS events FROM kmem GROUP BY call_site",
        columns: &["events"],
    },
    Question {
        name: "count by second",
        load: Load::Kmem,
        words: &["sql", "SELECT date_trunc('second', ts) AS second, count(*) AS events FROM kmem GROUP BY 1"],
        duckdb: "SELECT epoch_ns(ts) // 1000000000 AS second, count(*) AS events FROM kmem GROUP BY 1",
        columns: &["events"],
    },
    Question {
        name: "point",
        load: Load::Kmem,
        words: &[
            "sql",
            "SELECT kind, seq FROM kmem WHERE ts >= TIMESTAMP '2027-01-15T08:00:00.100Z' AND ts < TIMESTAMP '2027-01-15T08:00:00.101Z' AND kind = 'free'",
        ],
        duckdb: "
            SELECT kind, seq FROM kmem
            WHERE ts >= TIMESTAMPTZ '2027-01-15 08:00:00.100Z' AND ts < TIMESTAMPTZ '2027-01-15 08:00:00.101Z' AND kind = 'free'",
        columns: &["kind", "seq"],
    },
    Question {
        name: "time range",
        load: Load::Kmem,
        words: &[
            "sql",
            "SELECT cache, count(*) AS events, sum(bytes_alloc) AS bytes FROM kmem WHERE ts >= TIMESTAMP '2027-01-15T08:00:00.100Z' AND ts < TIMESTAMP '2027-01-15T08:00:01.100Z' GROUP BY cache",
        ],
        duckdb: "
            SELECT cache, count(*) AS events, sum(bytes_alloc) AS bytes FROM kmem
            WHERE ts >= TIMESTAMPTZ '2027-01-15 08:00:00.100Z' AND ts < TIMESTAMPTZ '2027-01-15 08:00:01.100Z'
            GROUP BY cache",
        columns: &["cache", "events", "bytes"],
    },
];
