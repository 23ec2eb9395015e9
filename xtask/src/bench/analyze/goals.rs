//! What is wanted of each question, and by how much it is missed.

use super::Row;

/// Of one question: seconds, bytes above an empty query, and times of DuckDB's time at most.
struct Goal {
    question: &'static str,
    seconds: Option<f64>,
    bytes: Option<u64>,
    of_duckdb: Option<f64>,
}

const fn seconds(question: &'static str, seconds: f64) -> Goal {
    Goal { question, seconds: Some(seconds), bytes: None, of_duckdb: None }
}

/// For 143 million rows of kmem and 19 million packets on two processors.
const GOALS: [Goal; 9] = [
    Goal { bytes: Some(100 << 20), ..seconds("gaps", 0.5) },
    seconds("bursts", 0.6),
    seconds("leaks", 3.0),
    seconds("leak_classes", 3.0),
    Goal { bytes: Some(1 << 30), ..seconds("lifetimes", 5.0) },
    Goal { question: "count by call site", seconds: None, bytes: None, of_duckdb: Some(1.0) },
    seconds("count by second", 1.5),
    seconds("point", 0.06),
    seconds("time range", 0.06),
];

/// The last cell of a row: goals that are met, or how far they are missed.
pub fn verdict(row: &Row, scale: f64) -> String {
    let Some(goal) = GOALS.iter().find(|goal| goal.question == row.question) else { return String::new() };
    let Some(analyze) = row.analyze else { return "**no answer**".to_owned() };
    let mut parts = Vec::new();
    let mut part = |what: String, is: f64, wanted: f64| {
        parts.push(match is <= wanted {
            true => format!("{what}: met"),
            false => format!("{what}: **{:.1} times**", is / wanted),
        });
    };
    if let Some(seconds) = goal.seconds {
        // What every process takes does not scale.
        let wanted = if seconds > 0.1 { seconds * scale } else { seconds };
        part(format!("≤ {wanted:.2} s"), analyze.seconds, wanted);
    }
    if let Some(bytes) = goal.bytes {
        part(format!("≤ {} MiB", bytes >> 20), analyze.peak_rss_bytes as f64, bytes as f64);
    }
    if let (Some(times), Some(duckdb)) = (goal.of_duckdb, row.duckdb) {
        part("≤ DuckDB".to_owned(), analyze.seconds, times * duckdb.seconds);
    }
    parts.join("; ")
}
