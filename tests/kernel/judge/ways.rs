//! What is done by every way into an event is recorded, or its way is named: judged by what the workload did.

use std::fs;

use anyhow::{Context, Result, ensure};
use schemas::trace::NOT_OBSERVED;
use xtask::workload::ways::{Asked, Opened, Truth};

use super::same;
use crate::place::Recorded;
use crate::trace::{Row, Trace, int, text};

/// A 64-bit call, `int $0x80` and io_uring: every directory that was asked for.
pub fn mkdirs(place: &Recorded) -> Result<()> {
    let (trace, truth) = (place.trace("ways")?, place.truth::<Truth>("ways")?);
    let mut recorded = Vec::new();
    for row in rows(&trace, "mkdirs", &truth)? {
        recorded.push(Asked {
            syscall: text(&row, "syscall")?.to_owned(),
            via: text(&row, "via")?.to_owned(),
            dfd: number(&row, "dfd")?,
            path: text(&row, "path")?.to_owned(),
            mode: int(&row, "mode")?.try_into()?,
            ret: number(&row, "ret")?.unwrap_or(UNKNOWN),
        });
    }
    let ways = Unobserved::read(place, &trace, "mkdirs")?;
    let mut expected = truth.mkdirs.clone();
    if ways.names("mkdir of 32-bit programs") {
        ensure!(ways.names("mkdirat of 32-bit programs"), "one of two is named: {:?}", ways.texts);
        expected.retain(|asked| asked.via != "ia32");
    }
    if truth.has_x32 && ways.names("mkdir of x32 programs") {
        expected.retain(|asked| !asked.path.ends_with("/x32"));
    }
    if ways.names("results of io_uring requests") {
        for asked in expected.iter_mut().filter(|asked| asked.via == "io_uring") {
            asked.ret = UNKNOWN;
        }
    }
    ensure!(expected.iter().any(|asked| asked.via == "io_uring"), "io_uring made directories");
    same("directories asked for", recorded, expected)
}

/// Where functions can be probed, nothing is left that is only named.
pub fn all(place: &Recorded) -> Result<()> {
    let (trace, truth) = (place.trace("ways")?, place.truth::<Truth>("ways")?);
    let via_32 = |asked: &&Asked| asked.via == "ia32" && asked.ret == 0;
    ensure!(truth.mkdirs.iter().filter(via_32).count() == 4, "int 0x80 works here: {:?}", truth.mkdirs);
    for event in ["mkdirs", "netns_joins"] {
        let ways = Unobserved::read(place, &trace, event)?;
        ensure!(ways.texts.is_empty(), "{event}: {:?}", ways.texts);
    }
    Ok(())
}

/// The user's own event of a system call whose 32-bit function has a prototype of its own.
pub fn opens(place: &Recorded) -> Result<()> {
    let (trace, truth) = (place.trace("ways")?, place.truth::<Truth>("ways")?);
    let mut recorded = Vec::new();
    for row in rows(&trace, "opens", &truth)? {
        if text(&row, "abi")? == "ia32" {
            recorded.push(Opened {
                dfd: int(&row, "dfd")?.try_into()?,
                path: text(&row, "filename")?.to_owned(),
                flags: int(&row, "flags")?.try_into()?,
                is_open: int(&row, "retval")? >= 0,
            });
        }
    }
    let ways = Unobserved::read(place, &trace, "opens")?;
    ensure!(ways.names("openat by io_uring (IORING_OP_OPENAT)"), "io_uring opens files: {:?}", ways.texts);
    let expected = if ways.names("openat of 32-bit programs") { Vec::new() } else { truth.opened };
    same("files opened by 32-bit calls", recorded, expected)
}

/// A 32-bit number keeps its sign in a column of 64 bits.
pub fn seeks(place: &Recorded) -> Result<()> {
    let (trace, truth) = (place.trace("ways")?, place.truth::<Truth>("ways")?);
    let mut recorded = Vec::new();
    for row in rows(&trace, "seeks", &truth)? {
        if text(&row, "abi")? == "ia32" {
            recorded.push((int(&row, "offset")?.try_into()?, int(&row, "retval")?.try_into()?));
        }
    }
    let ways = Unobserved::read(place, &trace, "seeks")?;
    ensure!(ways.names("lseek of 32-bit programs (and int 0x80) by _llseek"), "{:?}", ways.texts);
    let is_named = ways.texts.iter().any(|way| way == "lseek of 32-bit programs (and int 0x80)");
    same("32-bit calls of lseek", recorded, if is_named { Vec::new() } else { truth.sought })
}

/// setns by `int $0x80`.
pub fn joins(place: &Recorded) -> Result<()> {
    let (trace, truth) = (place.trace("ways")?, place.truth::<Truth>("ways")?);
    let mut recorded = Vec::new();
    for row in rows(&trace, "netns_joins", &truth)? {
        recorded.push((int(&row, "fd")?.try_into()?, int(&row, "ret")?.try_into()?));
    }
    let ways = Unobserved::read(place, &trace, "netns_joins")?;
    let expected = if ways.names("setns of 32-bit programs") { Vec::new() } else { truth.joined };
    same("32-bit calls of setns", recorded, expected)
}

/// The result of what was seen only when it was submitted.
const UNKNOWN: i32 = i32::MIN;

/// What table probes says that no probe saw; the end of the recording said the same.
struct Unobserved {
    texts: Vec<String>,
}

impl Unobserved {
    fn read(place: &Recorded, trace: &Trace, event: &str) -> Result<Self> {
        let mut texts = Vec::new();
        for row in trace.rows("probes")? {
            if text(&row, "event")? == event && text(&row, "kind")? == NOT_OBSERVED {
                ensure!(row.get("attached").is_some_and(|yes| yes == false), "it is not attached: {row:?}");
                text(&row, "reason")?;
                texts.push(text(&row, "target")?.to_owned());
            }
        }
        let said = fs::read_to_string(place.dir.join("ways.log"))?;
        let line = said.lines().find(|line| line.contains(&format!("{event}: not observed: ")));
        ensure!(line.is_none() == texts.is_empty(), "{event}: {texts:?} in probes, told: {line:?}");
        for way in &texts {
            ensure!(line.is_some_and(|line| line.contains(way)), "{way} is not told: {line:?}");
        }
        Ok(Self { texts })
    }

    fn names(&self, way: &str) -> bool {
        self.texts.iter().any(|text| text.starts_with(way))
    }
}

fn rows(trace: &Trace, table: &str, truth: &Truth) -> Result<Vec<Row>> {
    let mut rows = trace.rows(table)?;
    rows.retain(|row| int(row, "pid").ok() == Some(i64::from(truth.pid)));
    Ok(rows)
}

fn number(row: &Row, column: &str) -> Result<Option<i32>> {
    match row.get(column) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_i64().with_context(|| format!("{column} is not a number: {row:?}"))?;
            Ok(Some(number.try_into()?))
        }
    }
}
