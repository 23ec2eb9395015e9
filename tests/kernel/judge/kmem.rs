//! Recordings of kernel memory against files opened and held, and rules added and deleted.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::workload::kmem::Truth;

use crate::place::Recorded;
use crate::trace::{Row, Trace, int, text};

pub fn held_files(place: &Recorded) -> Result<()> {
    files(place, "kmem")
}

/// With a filter by process too: the allocations are the workload's, the frees are anybody's.
pub fn own(place: &Recorded) -> Result<()> {
    files(place, "own")?;
    let trace = place.trace("own")?;
    let processes = trace.rows("processes")?;
    let followed: HashSet<i64> = processes.iter().map(|row| int(row, "pid")).collect::<Result<_>>()?;
    let mut begun = HashSet::new();
    let mut elsewhere = 0;
    for row in trace.rows("kmem")? {
        let (pid, ptr) = (row.get("pid").and_then(Value::as_i64), row.get("ptr").and_then(Value::as_u64));
        // In an interrupt there is no process.
        let is_followed = pid.is_some_and(|pid| followed.contains(&pid));
        if row["kind"] == "alloc" {
            ensure!(is_followed, "allocated by a process that is not followed: {row:?}");
            begun.insert(ptr);
        } else {
            ensure!(begun.contains(&ptr), "freed without having been allocated: {row:?}");
            elsewhere += u32::from(!is_followed);
        }
    }
    ensure!(elsewhere > 0, "all frees were in processes of the workload, so nothing was tested");
    Ok(())
}

/// The files that look leaked are those that are held.
fn files(place: &Recorded, case: &str) -> Result<()> {
    let truth: Truth = place.truth(case)?;
    let trace = place.trace(case)?;
    let rows = trace.rows("kmem")?;
    let of_workload = |row: &&Row| int(row, "pid").ok() == Some(i64::from(truth.pid));
    let files = |row: &&Row| row.get("cache").is_some_and(|cache| cache == "filp") && row["kind"] == "alloc";
    let opened = rows.iter().filter(of_workload).filter(files).count() as u32;
    let asked = truth.held + truth.churned;
    // Libraries, sockets and namespaces of the workload are files too.
    ensure!((asked..asked + 300).contains(&opened), "{opened} files allocated, {asked} opened");
    let left = outstanding(&rows)?;
    let left = left.into_iter().filter(of_workload).filter(files).count() as u32;
    let missed = missed(&trace)?;
    let held = i64::from(truth.held + truth.mapped);
    ensure!(
        (held..=held + missed).contains(&i64::from(left)),
        "{left} files outstanding, {held} held, {missed} frees missed"
    );
    Ok(())
}

/// Frees that may be missing. A file is never freed in bulk.
fn missed(trace: &Trace) -> Result<i64> {
    let probes = trace.rows("probes")?;
    let frees: HashSet<i64> = probes
        .iter()
        .filter(|row| row["source"] == "kmem_cache_free")
        .filter_map(|row| int(row, "probe").ok())
        .collect();
    let mut missed = 0;
    for row in trace.rows("losses")?.iter().filter(|row| row["event"] == "kmem") {
        let incomplete = ["fetch_fault", "string_cut", "stack_fault", "late"].contains(&text(row, "reason")?);
        if !incomplete && frees.contains(&int(row, "probe")?) {
            missed += int(row, "count").unwrap_or(0);
        }
    }
    Ok(missed)
}

pub fn rules(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("kmem")?;
    let trace = place.trace("kmem")?;
    let rows = trace.rows("kmem")?;
    let names = names(&trace)?;
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

/// Rows of items against the sizes of the calls, which another event records.
pub fn bulk(place: &Recorded) -> Result<()> {
    /// Items that a program visited when it ran once for a call.
    const BEFORE: i64 = 128;
    let trace = place.trace("kmem")?;
    // kmem has what the recorder frees too, as memory changes hands; an event of one's own leaves the recorder out.
    let is_recorder = |row: &Row| int(row, "pid").ok() == Some(i64::from(trace.meta.recorder_pid));
    let items = trace.rows("kmem")?.iter().filter(|row| row["via"] == "bulk" && !is_recorder(row)).count();
    let calls = trace.rows("bulks")?;
    let longest = calls.iter().map(|row| int(row, "size")).collect::<Result<Vec<_>>>()?.into_iter().max();
    ensure!(
        longest.is_some_and(|size| size > BEFORE),
        "no call was long, so nothing was tested: {longest:?}"
    );
    let size = super::sum(&calls, "size")?;
    ensure!(items as i64 == size, "{items} items recorded, {} calls freed {size}", calls.len());
    let lost = trace.rows("losses")?;
    let lost: Vec<_> =
        lost.iter().filter(|row| row["event"] == "bulks" || row["reason"] == "each_cut").collect();
    ensure!(lost.is_empty(), "{lost:?}");
    Ok(())
}

pub fn stacks(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("kmem")?;
    let trace = place.trace("kmem")?;
    let names = names(&trace)?;
    let mut first = HashMap::new();
    for row in trace.rows("stacks")? {
        let frame = row["frames"].as_array().and_then(|frames| frames.first()).and_then(Value::as_u64);
        first.insert(int(&row, "stack_id")?, frame.context("a stack without frames")?);
    }
    let mut stacked = 0;
    for row in trace.rows("kmem")? {
        if row["kind"] == "alloc" && int(&row, "pid").ok() == Some(i64::from(truth.pid)) {
            let stack = int(&row, "kstack")?;
            let frame = first.get(&stack).with_context(|| format!("stack {stack} is not in table stacks"))?;
            let name = names.get(frame).with_context(|| format!("{frame:#x} has no name"))?;
            // kmem_cache_alloc_noprof, __kmalloc_cache_noprof, kmalloc_trace, __kmem_cache_alloc_bulk ...
            ensure!(name.contains("alloc"), "a stack begins with {name}");
            stacked += 1;
        }
    }
    ensure!(stacked >= truth.churned, "{stacked} allocations with a stack");
    Ok(())
}

/// Names of code addresses.
fn names(trace: &Trace) -> Result<HashMap<u64, String>> {
    let mut names = HashMap::new();
    for row in trace.rows("symbols")? {
        let addr = row.get("addr").and_then(Value::as_u64).context("a symbol without address")?;
        names.insert(addr, text(&row, "name")?.to_owned());
    }
    Ok(names)
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
