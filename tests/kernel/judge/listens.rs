//! Recordings of listening sockets against what the workload did and what `ss` showed meanwhile.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use xtask::workload::hold;
use xtask::workload::listens::{Listen, Truth};

use super::same;
use crate::place::Recorded;
use crate::trace::{Row, Trace, int, text};

pub fn thousand(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("listens")?;
    let namespaces: HashSet<u32> = truth.listens.iter().map(|listen| listen.netns).collect();
    ensure!(truth.listens.len() == 1000 && namespaces.len() == 3, "the workload is not what it was");
    all_listens(&place.trace("listens")?, "listens", &truth)
}

pub fn by_kretprobe(place: &Recorded) -> Result<()> {
    let trace = place.trace("listens")?;
    mechanism(&trace, "listens_by_kretprobe", "kretprobe")?;
    all_listens(&trace, "listens_by_kretprobe", &place.truth("listens")?)
}

pub fn by_tracepoint(place: &Recorded) -> Result<()> {
    let trace = place.trace("listens")?;
    mechanism(&trace, "listens_by_tp", "tp_btf")?;
    all_listens(&trace, "listens_by_tp", &place.truth("listens")?)
}

pub fn as_ss_sees_them(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("listens")?;
    ensure!(truth.ss.len() == 3, "there was no ss");
    let mut seen = Vec::new();
    for (netns, listing) in &truth.ss {
        for line in listing.lines() {
            // LISTEN 0 197 127.0.0.1:20696 0.0.0.0:* ino:11102 ...
            let words: Vec<&str> = line.split_whitespace().collect();
            let inode = words.iter().find_map(|word| word.strip_prefix("ino:")).context("no inode in ss")?;
            let port = words[3].rsplit(':').next().context("no port in ss")?;
            seen.push([i64::from(*netns), port.parse()?, words[2].parse()?, inode.parse()?]);
        }
    }
    let inodes: HashSet<i64> = seen.iter().map(|row| row[3]).collect();
    let rows = place.trace("listens")?.rows("listens")?;
    let rows = rows.iter().filter(|row| row.get("ev").is_some_and(|ev| ev == "listen"));
    let recorded: Result<Vec<_>> = rows
        .map(|row| Ok([int(row, "netns")?, int(row, "port")?, int(row, "backlog")?, int(row, "inode")?]))
        .filter(|row| row.as_ref().map_or(true, |row| inodes.contains(&row[3])))
        .collect();
    same("listeners as ss shows them", recorded?, seen)
}

pub fn stops(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("listens")?;
    let inodes: Vec<i64> = truth.listens.iter().map(|listen| listen.inode.cast_signed()).collect();
    let known: HashSet<i64> = inodes.iter().copied().collect();
    let rows = place.trace("listens")?.rows("listens")?;
    let stops = rows.iter().filter(|row| row.get("ev").is_some_and(|ev| ev == "stop"));
    let stopped: Result<Vec<i64>> = stops
        .map(|row| int(row, "inode"))
        .filter(|inode| inode.as_ref().map_or(true, |i| known.contains(i)))
        .collect();
    same("sockets that stopped listening", stopped?, inodes)
}

pub fn edges(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("listens")?;
    let rows = place.trace("listens")?.rows("listens")?;
    let of_edges: HashSet<i64> = truth.edges.iter().map(|(_, listen)| listen.inode.cast_signed()).collect();
    let mut recorded = Vec::new();
    for row in rows.iter().filter(|row| row.get("ev").is_some_and(|ev| ev == "listen")) {
        if of_edges.contains(&int(row, "inode")?) {
            recorded.push(listen(row)?);
        }
    }
    let expected = truth.edges.into_iter().map(|(_, listen)| listen).collect();
    same("rare listens", recorded, expected)
}

pub fn snapshot(place: &Recorded) -> Result<()> {
    let truth: hold::Truth = place.truth("hold")?;
    let mut rows = place.trace("snapshot")?.rows("listens")?;
    rows.retain(|row| {
        truth.namespaces.iter().any(|held| int(row, "netns").ok() == Some(i64::from(held.netns)))
    });
    ensure!(rows.iter().all(|row| row["ev"] == "snapshot"), "not all are snapshots");
    ensure!(
        rows.iter().all(|row| int(row, "pid").ok() == Some(i64::from(truth.pid))),
        "not all are of the holder"
    );
    let recorded = rows.iter().map(listen).collect::<Result<Vec<_>>>()?;
    same("listeners from before", recorded, truth.namespaces.into_iter().map(|held| held.listener).collect())
}

/// Every listen of the truth is a row with the same values, and there is no other of those sockets.
fn all_listens(trace: &Trace, event: &str, truth: &Truth) -> Result<()> {
    let known: HashSet<u64> = truth.listens.iter().map(|listen| listen.inode).collect();
    let mut recorded = Vec::new();
    for row in trace.rows(event)? {
        if row.get("ev").is_none_or(|ev| ev == "listen") {
            let listen = listen(&row)?;
            if known.contains(&listen.inode) {
                ensure!(int(&row, "pid")? == i64::from(truth.pid), "not the workload's: {row:?}");
                recorded.push(listen);
            }
        }
    }
    same("listens", recorded, truth.listens.clone())
}

fn listen(row: &Row) -> Result<Listen> {
    Ok(Listen {
        netns: int(row, "netns")?.try_into()?,
        family: int(row, "family")?.try_into()?,
        addr: text(row, "addr")?.parse()?,
        port: int(row, "port")?.try_into()?,
        backlog: int(row, "backlog")?.try_into()?,
        // A snapshot has none: it is of those that could.
        ret: int(row, "ret").unwrap_or(0).try_into()?,
        protocol: int(row, "protocol")?.try_into()?,
        inode: int(row, "inode")?.try_into()?,
    })
}

fn mechanism(trace: &Trace, event: &str, kind: &str) -> Result<()> {
    let probes = trace.rows("probes")?;
    let own = probes.iter().filter(|row| row["event"] == event);
    let attached = own.filter(|row| row.get("attached").is_some_and(|yes| yes == true));
    let kinds: Vec<&str> = attached.filter_map(|row| row.get("kind")?.as_str()).collect();
    ensure!(kinds.contains(&kind), "not attached as {kind} but as {kinds:?}");
    Ok(())
}
