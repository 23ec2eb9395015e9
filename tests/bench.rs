//! `cargo xtask bench record` on small loads: every tracer records, what is counted agrees, and the report is whole.

use std::process::{Command, Output};

use serde_json::Value;
use xtask::{host, setup};

fn bench(words: &[&str]) -> Output {
    let xtask = host::built("xtask").expect("xtask is built");
    Command::new(xtask).args(["bench", "record"]).args(words).output().expect("xtask runs")
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

/// As root everything is run; anyone else is told why not.
#[test]
fn the_bench_measures_every_tracer() {
    let output = bench(&["--quick"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !setup::is_root() {
        assert!(!output.status.success() && said.contains("needs root"), "{said}");
        return;
    }
    assert!(output.status.success(), "{said}");
    let path = host::target_dir().expect("a target directory").join("bench/record.json");
    let text = std::fs::read_to_string(path).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let markdown = String::from_utf8_lossy(&output.stdout).into_owned();
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
