//! Recordings of kernel memory against files opened and held, and rules added and deleted.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::workload::kmem::Truth;

use crate::place::Recorded;
use crate::trace::{Row, int, text};

pub fn held_files(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("kmem")?;
    let trace = place.trace("kmem")?;
    let rows = trace.rows("kmem")?;
    let of_workload = |row: &&Row| int(row, "pid").ok() == Some(i64::from(truth.pid));
    let files = |row: &&Row| row.get("cache").is_some_and(|cache| cache == "filp") && row["kind"] == "alloc";
    let opened = rows.iter().filter(of_workload).filter(files).count() as u32;
    let asked = truth.held + truth.churned;
    // Libraries, sockets and namespaces of the workload are files too.
    ensure!((asked..asked + 300).contains(&opened), "{opened} files allocated, {asked} opened");
    let left = outstanding(&rows)?;
    let left = left.into_iter().filter(of_workload).filter(files).count() as u32;
    // A free in an interrupt that came while a free was being recorded is missed, and counted.
    let counts = trace.rows("losses")?;
    let missed: i64 =
        counts.iter().filter(|row| row["event"] == "kmem").filter_map(|row| int(row, "count").ok()).sum();
    let held = i64::from(truth.held + truth.mapped);
    ensure!(
        (held..=held + missed).contains(&i64::from(left)),
        "{left} files outstanding, {held} held, {missed} events missed"
    );
    Ok(())
}

pub fn rules(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("kmem")?;
    let trace = place.trace("kmem")?;
    let rows = trace.rows("kmem")?;
    let mut names = HashMap::new();
    for row in trace.rows("symbols")? {
        let addr = row.get("addr").and_then(Value::as_u64).context("a symbol without address")?;
        names.insert(addr, text(&row, "name")?.to_owned());
    }
    let of_rule = |row: &&Row| {
        let site = row.get("call_site").and_then(Value::as_u64);
        row["kind"] == "alloc"
            && int(row, "pid").ok() == Some(i64::from(truth.pid))
            && site.and_then(|site| names.get(&site)).is_some_and(|name| name.starts_with("fib_nl"))
    };
    let made = rows.iter().filter(of_rule).count();
    ensure!(made >= truth.rules as usize, "{made} allocations for {} rules", truth.rules);
    let left = outstanding(&rows)?.into_iter().filter(of_rule).count();
    ensure!(left == 0, "{left} of {made} allocations for rules look leaked: kfree_rcu is not seen");
    Ok(())
}

pub fn stacks(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("kmem")?;
    let trace = place.trace("kmem")?;
    let known: Vec<i64> =
        trace.rows("stacks")?.iter().map(|row| int(row, "stack_id")).collect::<Result<_>>()?;
    let mut stacked = 0;
    for row in trace.rows("kmem")? {
        if row["kind"] == "alloc" && int(&row, "pid")? == i64::from(truth.pid) {
            let stack = int(&row, "kstack")?;
            ensure!(known.contains(&stack), "stack {stack} is not in table stacks");
            stacked += 1;
        }
    }
    ensure!(stacked >= truth.churned, "{stacked} allocations with a stack");
    Ok(())
}

/// Allocations that nothing freed after.
fn outstanding(rows: &[Row]) -> Result<Vec<&Row>> {
    let mut live: HashMap<u64, &Row> = HashMap::new();
    for row in rows {
        let address = row.get("ptr").and_then(Value::as_u64).with_context(|| format!("no ptr in {row:?}"))?;
        match row["kind"] == "alloc" {
            true => live.insert(address, row),
            false => live.remove(&address),
        };
    }
    Ok(live.into_values().collect())
}
