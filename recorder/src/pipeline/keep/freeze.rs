//! A trace that is being written in, a closed copy of it beside it out, made of hard links.
//!
//! The publisher only links (or opens, where links are impossible) what is there at that moment; everything else
//! happens in a thread of its own, under a temporary name, so that the copy is there as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use schemas::trace::{Meta, SIDE_TABLES, TRACE_SUFFIX};

use super::super::compact::{compact_table, remove_dir};
use super::super::counts::side_schema;
use super::super::files::{FILE_MODE, Owner, create_dir, sync_dir};
use super::super::meta::write_meta;
use super::super::segment::{Segment, segment_name, writer_properties};
use super::shelf::Table;

/// Snapshots of one second that are told apart by a number.
const MOST_OF_A_SECOND: u32 = 1000;

/// A snapshot to be made.
pub struct Freeze {
    /// Where it goes; of a taken name the next free one with a number if `is_exact` is false.
    pub to: PathBuf,
    /// Fail if there is something called `to`.
    pub is_exact: bool,
    /// Its `trace.json`.
    pub meta: Meta,
    /// Rows of table losses that only a closed trace has.
    pub losses: Option<RecordBatch>,
    /// Gets the directory, or why there is none.
    pub reply: Sender<Result<PathBuf>>,
}

/// A file that could not be linked, and where its copy goes.
type Copy = (File, PathBuf);

/// What is left to do after the publisher has done its part.
pub struct Half {
    work: PathBuf,
    owner: Owner,
    copies: Vec<Copy>,
    /// Rows that are to be added to tables.
    extra: Vec<(String, RecordBatch)>,
    /// Name, number of the next segment, and whether rows came late.
    tables: Vec<(String, u64, bool)>,
}

impl Half {
    /// Link what the `tables` consist of into a directory beside `to`. `counts` are rows that make the numbers of
    /// table counts fit the rows that are there.
    pub fn begin(
        freeze: &mut Freeze,
        tables: &[Table],
        counts: Option<RecordBatch>,
        owner: Owner,
    ) -> Result<Self> {
        let cannot = || format!("cannot make '{}'", freeze.to.display());
        let name = freeze.to.file_name().with_context(cannot)?.to_owned();
        let parent = freeze.to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize().with_context(cannot)?;
        freeze.to = parent.join(&name);
        let work = parent.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
        let named = |name: &str, batch: Option<RecordBatch>| batch.map(|batch| (name.to_owned(), batch));
        let extra = named("counts", counts).into_iter().chain(named("losses", freeze.losses.take()));
        let mut half = Self { work, owner, copies: Vec::new(), extra: extra.collect(), tables: Vec::new() };
        if let Err(error) = create_dir(&half.work, owner).and_then(|()| half.link(tables)) {
            half.give_up();
            return Err(error);
        }
        Ok(half)
    }

    fn link(&mut self, tables: &[Table]) -> Result<()> {
        for table in tables {
            let dir = self.work.join(&table.name);
            create_dir(&dir, self.owner)?;
            for entry in &table.entries {
                let (from, to) = (table.path(entry.number), dir.join(segment_name(entry.number)));
                if fs::hard_link(&from, &to).is_err() {
                    let file =
                        File::open(&from).with_context(|| format!("cannot read '{}'", from.display()))?;
                    self.copies.push((file, to));
                }
            }
            let is_late = table.entries.iter().any(|entry| entry.is_late);
            let next = if table.entries.is_empty() { 0 } else { table.next };
            self.tables.push((table.name.clone(), next, is_late));
        }
        Ok(())
    }

    /// Do the rest in a thread, which replies.
    pub fn finish(self, freeze: Freeze) -> Result<JoinHandle<()>> {
        let name = "freeze".to_owned();
        let run = move || {
            let result = self.complete(&freeze);
            if result.is_err() {
                self.give_up();
            }
            // Whoever asked may have gone.
            let _ = freeze.reply.send(result);
        };
        std::thread::Builder::new().name(name).spawn(run).context("cannot start a thread")
    }

    fn complete(&self, freeze: &Freeze) -> Result<PathBuf> {
        let Self { work, owner, copies, extra, tables } = self;
        for (file, to) in copies {
            copy(file, to).with_context(|| format!("cannot write '{}'", to.display()))?;
        }
        for (name, next, is_late) in tables {
            let dir = work.join(name);
            let schema = schema(&freeze.meta, name)?;
            let rows = extra.iter().find(|(table, _)| table == name).map(|(_, rows)| rows.clone());
            let is_empty = *next == 0;
            if let Some(rows) = rows.or_else(|| is_empty.then(|| RecordBatch::new_empty(schema.clone()))) {
                write(&dir, *next, &schema, &rows, *owner)?;
            }
            if *is_late {
                compact_table(work, name, *owner, &mut |_| Ok(()))?;
            }
            sync_dir(&dir)?;
        }
        write_meta(work, &freeze.meta, *owner)?;
        sync_dir(work)?;
        let to = self.reveal(freeze)?;
        if let Some(parent) = to.parent() {
            sync_dir(parent)?;
        }
        Ok(to)
    }

    fn reveal(&self, freeze: &Freeze) -> Result<PathBuf> {
        let most = if freeze.is_exact { 1 } else { MOST_OF_A_SECOND };
        for number in 1..=most {
            let to = numbered(&freeze.to, number);
            match renameat2(AT_FDCWD, &self.work, AT_FDCWD, &to, RenameFlags::RENAME_NOREPLACE) {
                Ok(()) => return Ok(to),
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot create '{}'", to.display())),
            }
        }
        bail!("'{}' exists already: choose another name", freeze.to.display())
    }

    fn give_up(&self) {
        if self.work.exists() {
            // What cannot be removed has a name that says that it is not whole.
            let _ = remove_dir(&self.work);
        }
    }
}

/// `run-snapshot-X.trace` -> `run-snapshot-X-2.trace`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(TRACE_SUFFIX).unwrap_or(&name);
    path.with_file_name(format!("{stem}-{number}{TRACE_SUFFIX}"))
}

fn schema(meta: &Meta, table: &str) -> Result<SchemaRef> {
    if SIDE_TABLES.iter().any(|side| side.name == table) {
        return side_schema(table);
    }
    let layout = meta.events.iter().find(|layout| layout.event == table);
    Ok(layout.with_context(|| format!("there is no table '{table}'"))?.schema().into())
}

fn write(dir: &Path, number: u64, schema: &SchemaRef, rows: &RecordBatch, owner: Owner) -> Result<()> {
    let mut segment = Segment::create(dir, "more", schema, writer_properties(schema, 1, false)?, owner)?;
    segment.write(rows)?;
    segment.finish()?.publish(&segment_name(number))?;
    Ok(())
}

fn copy(from: &File, to: &Path) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to)?;
    io::copy(&mut { from }, &mut file)?;
    Ok(file.sync_all()?)
}
