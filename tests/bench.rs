//! `cargo xtask bench` on small loads: everything is measured, what is counted agrees, and the reports are whole.

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use xtask::{host, setup};

/// One bench at a time: several tracers and databases on two processors would starve each other.
static MACHINE: Mutex<()> = Mutex::new(());

fn bench(words: &[&str]) -> Output {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let xtask = host::built("xtask").expect("xtask is built");
    Command::new(xtask).arg("bench").args(words).output().expect("xtask runs")
}

/// What `cargo xtask bench NAME --quick` prints, and its report.
fn quick(name: &str) -> (String, Value) {
    let output = bench(&[name, "--quick"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = host::target_dir().expect("a target directory").join(format!("bench/{name}.json"));
    let text = std::fs::read_to_string(path).expect("a report");
    (String::from_utf8_lossy(&output.stdout).into_owned(), serde_json::from_str(&text).expect("JSON"))
}

/// Anyone but root is told why not.
fn is_refused(name: &str) -> bool {
    if setup::is_root() {
        return false;
    }
    let output = bench(&[name, "--quick"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("needs root"), "{said}");
    true
}

/// The rows of a table by tracer.
fn row<'a>(report: &'a Value, table: &str, tracer: &str) -> &'a Value {
    let rows = report[table].as_array().expect("a table is an array");
    let row = rows.iter().find(|row| row["tracer"] == tracer);
    row.unwrap_or_else(|| panic!("{table} has no row of {tracer}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn the_bench_measures_every_tracer() {
    if is_refused("record") {
        return;
    }
    let (markdown, report) = quick("record");
    for tracer in ["ktape", "perf record", "perf record -z", "bpftrace"] {
        for table in ["storm", "churn"] {
            let row = row(&report, table, tracer);
            assert!(number(&row["recorded_per_second"]) > 0.0, "{row}");
            assert!(number(&row["bytes_per_event"]) > 0.0, "{row}");
            assert!(number(&row["peak_rss_bytes"]) > 0.0, "{row}");
        }
        assert!(markdown.contains(&format!("| {tracer} |")), "{markdown}");
        assert!(!row(&report, "storm", tracer)["loss_free"].is_null(), "{tracer}");
    }
    // What ktape does not have it says that it lost: by another reader, and by the workload's own count.
    for tracer in ["ktape", "bare ring"] {
        let row = row(&report, "storm", tracer);
        assert!((number(&row["missing"]) - number(&row["lost"])).abs() < 1e-9, "{row}");
    }
    assert_eq!(number(&row(&report, "storm", "bare ring")["missing"]), 0.0);
    for sizes in report["guest"].as_array().expect("an array") {
        let (ktape, trace_cmd) = (&sizes["ktape"], &sizes["trace_cmd"]);
        assert!(number(&ktape["net"]) > 0.0 && number(&trace_cmd["net"]) > 0.0, "{sizes}");
        if let Some(calls) = sizes["calls"].as_f64() {
            for tracer in [ktape, trace_cmd] {
                assert_eq!(number(&tracer["events"]) + number(&tracer["lost"]), calls, "{sizes}");
            }
        }
    }
    assert_eq!(report["goals"].as_array().map(Vec::len), Some(8));
}

/// The service makes its requests under every watcher, and a saturated machine loses nothing that is not said.
#[test]
fn the_bench_measures_a_service_under_every_watcher() {
    if is_refused("service") {
        return;
    }
    let (markdown, report) = quick("service");
    let rows = report["rows"].as_array().expect("an array");
    let watchers: Vec<&str> = rows.iter().filter_map(|row| row["watcher"].as_str()).collect();
    let each = ["listens", "processes", "netns_joins", "mkdirs"];
    assert_eq!(watchers[..4], ["alone", "perf record", "ktape", "flight recorder's set"]);
    assert_eq!(watchers[4..], each);
    for row in rows {
        assert!(number(&row["per_second"]) > 0.0 && number(&row["p50_ms"]) > 0.0, "{row}");
        assert!(number(&row["p50_ms"]) <= number(&row["p99_ms"]), "{row}");
        assert!(number(&row["p99_ms"]) <= number(&row["p999_ms"]) + 1e-3, "{row}");
        assert!(markdown.contains(&format!("| {} |", row["watcher"].as_str().unwrap())), "{markdown}");
    }
    // 2000 requests: the client sends each and receives its answer, which the server does too, though perhaps not one by
    // one; both enter and leave each call.
    for (watcher, row) in
        watchers.iter().zip(rows).filter(|(name, _)| ["perf record", "ktape"].contains(name))
    {
        assert!(number(&row["events"]) + number(&row["lost"]) >= 4.0 * 2000.0, "{watcher}: {row}");
    }
    let storms = report["storms"].as_array().expect("an array");
    assert_eq!(storms.len(), 4);
    for storm in storms.iter().filter(|storm| storm["tracer"] == "ktape") {
        // By the workload's own count.
        assert!((number(&storm["missing"]) - number(&storm["lost"])).abs() < 1e-9, "{storm}");
    }
    assert_eq!(report["goals"].as_array().map(Vec::len), Some(6));
}

/// Each question is answered, and the peak is that of a process that was run.
#[test]
fn the_bench_measures_the_memory_of_analyses() {
    let (markdown, report) = quick("memory");
    let rows = report["rows"].as_array().expect("an array");
    let is_query = |row: &&Value| row["question"].as_str().is_some_and(|text| text.contains("SELECT"));
    assert_eq!(rows.iter().filter(is_query).count(), 10);
    for name in ["gaps", "bursts", "leaks", "leak_classes", "lifetimes", "losses"] {
        assert!(rows.iter().any(|row| row["question"] == name), "{name}");
    }
    for row in rows {
        // What counts lost frees has no rows here.
        assert!(row["outcome"]["answered"].is_u64(), "{row}");
        let peak = number(&row["peak_rss_bytes"]);
        assert!(peak > 1e6 && row["is_kept"] == (peak <= number(&row["limit_bytes"]) + 2e8), "{row}");
        assert!(markdown.contains(row["question"].as_str().unwrap()), "{markdown}");
    }
}

/// Both programs answer each question, and say the same.
#[test]
fn the_bench_compares_answers_of_analyze_and_duckdb() {
    let (markdown, report) = quick("analyze");
    let rows = report["rows"].as_array().expect("an array");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["question"].as_str()).collect();
    assert_eq!(names[..5], ["gaps", "bursts", "leaks", "leak_classes", "lifetimes"]);
    assert_eq!(names[5..], ["count by call site", "count by second", "point", "time range"]);
    for row in rows {
        assert_eq!(row["is_same"], true, "{row}");
        assert!(number(&row["answer_rows"]) > 0.0, "{row}");
        for program in ["analyze", "duckdb"] {
            assert!(number(&row[program]["seconds"]) > 0.0, "{row}");
        }
    }
    assert!(markdown.contains("| gaps |"), "{markdown}");
    // Without root or perf it says so.
    let perf = report["perf"].as_array().map_or(0, Vec::len);
    assert!(perf == 2 || markdown.contains("perf script | awk` was left out"), "{markdown}");
}
