//! Ordered operators give the rows of their definition: DuckDB runs that, over the same files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use analyze::ordered::{OrderedExec, decode, encode};
use analyze::session::{Options, Session};
use arrow_cast::pretty::pretty_format_batches;
use arrow_schema::Schema;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, collect};
use sqllogictest::{DB, DBOutput};

use crate::Analyze;
use crate::duckdb::DuckDb;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// A trace of made-up allocations: few times and pointers, so that many rows have the same; pointers and kinds that are
/// not known; and segments that overlap in time.
fn generate(seed: u64, rows: u64, source: &Path, trace: &Path) {
    let kmem = fixtures::root().join("synthetic/kmem");
    fs::create_dir(source).unwrap();
    for file in ["probes.csv", "stacks.csv", "symbols.csv", "trace.toml"] {
        fs::copy(kmem.join(file), source.join(file)).unwrap();
    }
    let mut numbers = Numbers(seed);
    let mut csv = "segment,ts,cpu,pid,comm,probe,kind,via,ptr,call_site,cache,bytes_req,bytes_alloc,kstack\n"
        .to_owned();
    for row in 0..rows {
        let ts = row / 3 + numbers.below(5) * numbers.below(2);
        let kind = ["alloc", "alloc", "alloc", "free", "free", "free", ""][numbers.below(7) as usize];
        let ptr = match numbers.below(12) {
            0 => String::new(),
            _ => format!("0x{:x}", 16 * (1 + numbers.below(rows / 8))),
        };
        let (segment, cpu, pid) = (numbers.below(3), numbers.below(2), 1 + numbers.below(3));
        let cache = ["", "filp", "dentry"][numbers.below(3) as usize];
        let bytes = numbers.below(40);
        let stack = if numbers.below(2) == 0 { "1" } else { "" };
        let probe = if kind == "free" { 3 } else { 1 };
        writeln!(
            csv,
            "{segment},{ts},{cpu},{pid},c{pid},{probe},{kind},kmalloc,{ptr},0xa0,{cache},{bytes},{},{stack}",
            bytes * 2
        )
        .unwrap();
    }
    fs::write(source.join("kmem.csv"), csv).unwrap();
    fixtures::synthetic::build(source, trace).unwrap();
}

const ALLOC: &str = "kind = 'alloc'";
const FREE: &str = "kind = 'free'";

/// Questions with every operator and argument.
fn questions() -> Vec<String> {
    let lives = "(SELECT ts, utc(ns(ts) + bytes_req) AS end_ts, cpu, probe, seq, cache FROM kmem)";
    let mut questions: Vec<String> = [
        "gaps(kmem)",
        "gaps(kmem, ptr)",
        "gaps(kmem, (ptr, cpu))",
        "gaps(kmem, key => cache, max_gap => 3)",
        "gaps(kmem, cpu + 1, 2, tie => bytes_req)",
        "gaps((SELECT ts, ptr, cpu, probe, seq FROM kmem WHERE cpu = 0), ptr, '4ns')",
        "runs(kmem, max_gap => 2)",
        "runs((SELECT ts, ptr, bytes_req, bytes_alloc FROM kmem), ptr, 20)",
        "runs((SELECT ts, cache, CAST(bytes_req AS DOUBLE) AS half FROM kmem), (cache), 1)",
        "runs((SELECT ts, cache, cpu, bytes_req FROM kmem), (cache, cpu % 2), 0)",
        "state_at(kmem, ptr)",
        "state_at(kmem, (cpu, cache), 1800000000000000040, tie => kind = 'free')",
        "state_at(kmem, ptr, utc(1800000000000000100))",
        "state_at(kmem)",
        "rate(kmem, '10ns')",
        "rate(kmem, 7, (cpu, cache))",
        "overlaps((SELECT * FROM $lives AS l WHERE cpu = 0 AND ns(ts) % 5 = 0), (SELECT * FROM $lives AS l WHERE cpu = 1), cache)",
        "covered($lives)",
        "covered($lives, cache)",
        "concurrency($lives)",
        "concurrency($lives, (cache, cpu))",
        "gaps(pairs(kmem, $alloc, $free, ptr), class)",
        "pairs(kmem, $alloc, $free, ptr)",
        "pairs(kmem, begin => true, end => true, key => cpu)",
        "pairs((SELECT ts, ptr, kind, bytes_req, cpu, probe, seq FROM kmem), $alloc, bytes_req > 20, (ptr, cpu))",
        "pairs(kmem, $alloc AND bytes_req > 10, $free, key => ptr % 64, tie => bytes_alloc)",
    ]
    .map(|call| format!("SELECT * FROM {call}"))
    .into();
    questions.extend(
        [
            // Some of the columns, and conditions on the key, on time and on what the operator made.
            "SELECT ts, gap_ns FROM gaps(kmem, ptr) WHERE ptr = 0x40 AND ts > utc(1800000000000000100)",
            "SELECT ptr, class, end_ts FROM pairs(kmem, $alloc, $free, ptr) WHERE ptr BETWEEN 0x20 AND 0x80",
            "SELECT class, ts, end_pid FROM pairs(kmem, $alloc, $free, ptr) WHERE class <> 'paired' AND end_ts < utc(1800000000000000200)",
            "SELECT ns(end_ts) - ns(ts) AS life FROM pairs(kmem, $alloc, $free, ptr) WHERE cache = 'filp' ORDER BY life LIMIT 5",
            "SELECT cache, seq FROM state_at(kmem, ptr, 1800000000000000300) WHERE ts > utc(1800000000000000050) AND ptr > 0x30",
            "SELECT row_count, sum_bytes_req FROM runs(kmem, ptr, 30) WHERE ptr < 0x50 AND row_count > 1",
            "SELECT count(*), max(nth), sum(gap_ns) FROM gaps(kmem, ptr)",
            "SELECT a.ptr, b.nth FROM gaps(kmem, ptr) AS a JOIN gaps(kmem, cpu) AS b ON a.seq = b.seq AND a.probe = b.probe AND a.cpu = b.cpu",
            // Aggregates.
            "SELECT ptr, percentile(bytes_req, 0.5), percentile(bytes_req, 0.99), percentile(ns(ts), 0.07) FROM kmem GROUP BY ptr",
            "SELECT percentile(bytes_req, 0), percentile(bytes_req, 1), percentile(bytes_alloc, 0.333), percentile(ptr, 0.5), percentile(ts, 0.5) FROM kmem",
            "SELECT CAST(NULL AS VARCHAR) AS all_of_them, percentile(gap_ns, 0.9), log2_histogram(gap_ns) FROM gaps(kmem) GROUP BY 1",
            "SELECT cache, log2_histogram(bytes_req), linear_histogram(bytes_req - 20, 7) FROM kmem GROUP BY cache",
            "SELECT percentile(bytes_req, 0.5), count(*), log2_histogram(bytes_req) FROM kmem WHERE cpu = 77",
        ]
        .map(str::to_owned),
    );
    let written =
        |text: String| text.replace("$lives", lives).replace("$alloc", ALLOC).replace("$free", FREE);
    questions.into_iter().map(written).collect()
}

fn rows(
    engine: &mut impl DB<Error = crate::EngineError, ColumnType = sqllogictest::DefaultColumnType>,
    sql: &str,
) -> Vec<Vec<String>> {
    match engine.run(sql).unwrap_or_else(|error| panic!("{}: {sql}\n{error}", engine.engine_name())) {
        DBOutput::Rows { mut rows, .. } => {
            rows.sort();
            rows
        }
        _ => Vec::new(),
    }
}

fn compare(analyze: &mut Analyze, duckdb: &mut DuckDb, sql: &str, of: &str) -> usize {
    let (ours, theirs) = (rows(analyze, sql), rows(duckdb, sql));
    let differing = ours.iter().zip(&theirs).find(|(a, b)| a != b);
    assert!(
        ours == theirs,
        "{of}: {sql}\n{} rows of analyze, {} of DuckDB; the first that differ (analyze, then DuckDB):\n{differing:?}",
        ours.len(),
        theirs.len()
    );
    ours.len()
}

#[test]
fn operators_give_the_rows_of_their_definition_on_generated_traces() {
    for (seed, count) in [(1, 40), (2, 400), (3, 3000)] {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("made.trace");
        generate(seed, count, &dir.path().join("source"), &trace);
        let (mut analyze, mut duckdb) = (Analyze::new(), DuckDb::start());
        let open = format!("OPEN {}", trace.display());
        rows(&mut analyze, &open);
        rows(&mut duckdb, &open);
        let mut many = Analyze::new();
        rows(&mut many, &format!("{open} MANY"));
        for question in questions() {
            // A join of all with all takes long where there are many.
            if count > 1000 && question.contains("overlaps(") {
                continue;
            }
            compare(&mut analyze, &mut duckdb, &question, &format!("seed {seed}"));
            let (one, many) = (rows(&mut analyze, &question), rows(&mut many, &question));
            assert_eq!(one, many, "spread by the plan: {question}");
        }
    }
}

#[test]
fn analyses_give_the_rows_of_their_definition_on_every_fixture() {
    crate::with_stack(each_analysis_on_every_fixture);
}

fn each_analysis_on_every_fixture() {
    let mut answers = 0;
    let (mut analyze, mut duckdb) = (Analyze::new(), DuckDb::start());
    for fixture in fixtures::synthetic_names().unwrap() {
        if fixture == "newer" {
            // Of a format that cannot be read.
            continue;
        }
        let open = format!("OPEN {fixture}");
        rows(&mut analyze, &open);
        rows(&mut duckdb, &open);
        let tables: Vec<String> = analyze.session.as_ref().unwrap().table_names().to_vec();
        for analysis in analyze::library::Library::shipped().all() {
            if analysis.tables.iter().any(|used| !tables.contains(&used.name)) {
                continue;
            }
            let sql = format!("SELECT * FROM {}()", analysis.name);
            answers += usize::from(compare(&mut analyze, &mut duckdb, &sql, &fixture) > 0);
        }
    }
    assert!(answers > 20, "{answers} analyses had rows");
}

/// The steps of a plan, from the first to the last that runs.
fn steps(analyze: &mut Analyze, sql: &str) -> Vec<String> {
    let plan = rows(analyze, &format!("EXPLAIN {sql}"));
    let logical = plan.iter().find(|row| row[0] == "logical_plan").map(|row| row[1].clone());
    let mut steps: Vec<String> = logical.unwrap().lines().map(|line| line.trim().to_owned()).collect();
    steps.reverse();
    steps
}

#[test]
fn conditions_go_below_an_operator_only_where_the_rows_stay_the_same() {
    let mut analyze = Analyze::new();
    rows(&mut analyze, "OPEN kmem");
    let time = "utc(1800000000000000500)";
    let calls = [
        "gaps(kmem, ptr)",
        "runs(kmem, ptr, 5)",
        "pairs(kmem, kind = 'alloc', kind = 'free', ptr)",
        "state_at(kmem, ptr)",
        "covered((SELECT *, ts AS end_ts FROM kmem), ptr)",
        "concurrency((SELECT *, ts AS end_ts FROM kmem), ptr)",
    ];
    for call in calls {
        let place = |steps: &[String], text: &str| {
            let operator = steps.iter().position(|step| step.starts_with("Ordered: ")).unwrap();
            let condition = steps.iter().position(|step| step.contains(text));
            condition.map(|condition| condition < operator)
        };
        let by_key = steps(&mut analyze, &format!("SELECT * FROM {call} WHERE ptr = 77"));
        assert_eq!(place(&by_key, "UInt64(77)"), Some(true), "the key, below {call}: {by_key:#?}");
        let by_time = steps(&mut analyze, &format!("SELECT * FROM {call} WHERE ts > {time}"));
        assert_eq!(place(&by_time, "1800000000000000500"), Some(false), "time, above {call}: {by_time:#?}");
        let some = steps(&mut analyze, &format!("SELECT ts FROM {call}"));
        let scan = some.iter().find(|step| step.starts_with("TableScan")).unwrap();
        assert!(!scan.contains("comm") && !scan.contains("bytes_req"), "columns that {call} reads: {scan}");
    }
    // What is asked of an earlier time needs nothing that came later.
    let earlier = steps(&mut analyze, &format!("SELECT * FROM state_at(kmem, ptr, {time})"));
    assert!(earlier[0].contains("1800000000000000500"), "{earlier:#?}");
    // A key that is the same for all rows is none.
    let one = steps(
        &mut analyze,
        "SELECT NULL AS k, count(*), max(gap_ns) FROM gaps((SELECT ts, NULL AS k FROM kmem), k) GROUP BY k",
    );
    assert!(one.iter().any(|step| step.contains("groupBy=[[]]")), "{one:#?}");
}

#[test]
fn a_wrong_call_is_told_what_is_wrong_and_how_to_write_it() {
    let mut analyze = Analyze::new();
    rows(&mut analyze, "OPEN kmem");
    let wrong = [
        ("gaps(kmem, nothing)", "nothing"),
        ("runs(kmem)", "argument 'max_gap' is missing"),
        ("runs(kmem, ptr, 'soon')", "'soon' is no duration"),
        ("runs(kmem, ptr, bytes_req)", "max_gap must be the same for all rows"),
        ("pairs(kmem, kind, kind, ptr)", "begin must be a condition"),
        ("pairs(kmem, true, true, NULL)", "pairs needs a key"),
        ("pairs(kmem, begin => true, stop => true, key => ptr)", "no argument 'stop'"),
        ("state_at('kmem', ptr)", "its first argument must be a table"),
        ("state_at((SELECT ptr FROM kmem), ptr)", "no column ts"),
        ("state_at((SELECT 5 AS ts FROM kmem), ts)", "must be a time"),
        ("rate(kmem, 0)", "interval must be longer"),
        ("covered(kmem)", "no column end_ts"),
        ("overlaps(kmem, other => 5)", "other must be a table"),
        ("gaps((SELECT ts, 1 AS a, 2 AS a FROM kmem), a)", "a"),
    ];
    for (call, text) in wrong {
        let error = analyze
            .run(&format!("SELECT * FROM {call}"))
            .err()
            .unwrap_or_else(|| panic!("{call} is answered"));
        assert!(error.to_string().contains(text), "{call}: {error}");
    }
    for (sql, text) in [
        ("SELECT percentile(bytes_req, 2) FROM kmem", "from 0 to 1"),
        ("SELECT percentile(bytes_req, bytes_req) FROM kmem", "from 0 to 1"),
        ("SELECT percentile(comm, 0.5) FROM kmem", "percentile does not take text"),
        ("SELECT linear_histogram(bytes_req, 0) FROM kmem", "width is a whole number above 0"),
    ] {
        let error = analyze.run(sql).err().unwrap_or_else(|| panic!("{sql} is answered"));
        assert!(error.to_string().contains(text), "{sql}: {error}");
    }
}

/// The plan with each ordered operator sent and received.
fn sent(plan: &Arc<dyn ExecutionPlan>, count: &mut usize) -> Arc<dyn ExecutionPlan> {
    let children: Vec<_> = plan.children().into_iter().map(|child| sent(child, count)).collect();
    match plan.downcast_ref::<OrderedExec>() {
        Some(exec) => {
            *count += 1;
            let bytes = encode(exec).unwrap();
            Arc::new(decode(&bytes, children[0].clone()).unwrap())
        }
        None if children.is_empty() => plan.clone(),
        None => {
            let children_properties = ChildrenPropertiesMode::Recompute;
            plan.clone().replace_children(children, ReplaceChildrenOptions { children_properties }).unwrap()
        }
    }
}

#[test]
fn an_operator_survives_the_way_to_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let trace = fixtures::trace("kmem", dir.path()).unwrap();
    for is_for_many_machines in [false, true] {
        let options = Options { threads: 2, is_for_many_machines, ..Options::default() };
        let session = Session::open(std::slice::from_ref(&trace), &options).unwrap();
        for sql in [
            "SELECT ts, ptr, gap_ns FROM gaps(kmem, ptr, '1us')",
            "SELECT class, ptr, end_ts FROM kmem_pairs",
        ] {
            let rows = runtime.block_on(async {
                let frame = session.query(sql).await.unwrap();
                let context = Arc::new(frame.task_ctx());
                let plan = frame.create_physical_plan().await.unwrap();
                let mut count = 0;
                let other = sent(&plan, &mut count);
                assert_eq!(count, 1, "{sql}");
                let mut rows = Vec::new();
                for plan in [plan, other] {
                    let batches = collect(plan, context.clone()).await.unwrap();
                    let text = pretty_format_batches(&batches).unwrap().to_string();
                    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    lines.sort();
                    rows.push(lines);
                }
                rows
            });
            assert_eq!(rows[0], rows[1], "{sql}");
        }
    }
    let wrong = decode(
        b"{\"operator\":\"sort\",\"max_gap_ns\":null,\"keys\":[],\"workers\":1}",
        Arc::new(EmptyExec::new(Arc::new(Schema::empty()))),
    );
    assert!(wrong.unwrap_err().to_string().contains("no ordered operator 'sort'"));
}

#[test]
fn the_queries_of_the_page_on_operators_are_answered() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```sql").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let mut analyze = Analyze::new();
    rows(&mut analyze, "OPEN kmem");
    for sql in blocks {
        assert!(!rows(&mut analyze, sql).is_empty(), "{sql}");
    }
    for operator in analyze::ordered::Operator::ALL {
        assert!(
            page.contains(&format!("`{}(", operator.name())),
            "the page does not tell of {}",
            operator.name()
        );
    }
}

#[test]
fn an_operator_over_several_traces_keeps_them_apart() {
    let mut analyze = Analyze::new();
    rows(&mut analyze, "OPEN kmem, kmem_lossy");
    for (call, key) in [
        ("gaps(kmem)", "key => trace"),
        ("gaps((SELECT ts, ptr FROM kmem), ptr)", "key => (trace, ptr)"),
        ("pairs(kmem, kind = 'alloc', kind = 'free', ptr)", "key => (trace, ptr)"),
        ("state_at(kmem, (cpu, ptr))", "key => (trace, cpu, ptr)"),
        ("runs(kmem, ptr, 5)", "key => (trace, ptr)"),
    ] {
        let error = analyze
            .run(&format!("SELECT * FROM {call}"))
            .err()
            .unwrap_or_else(|| panic!("{call} is answered"));
        assert!(error.to_string().contains(key), "{call}: {error}");
    }
    let apart =
        rows(&mut analyze, "SELECT count(*), count(gap_ns) FROM gaps(kmem, key => trace) GROUP BY trace");
    let mut alone: Vec<Vec<String>> = ["kmem", "kmem_lossy"]
        .into_iter()
        .flat_map(|name| {
            let mut one = Analyze::new();
            rows(&mut one, &format!("OPEN {name}"));
            rows(&mut one, "SELECT count(*), count(*) - 1 FROM kmem")
        })
        .collect();
    alone.sort();
    assert_eq!(apart, alone);
}
