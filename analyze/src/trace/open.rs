//! A directory goes in, a [`Trace`] comes out: its `trace.json` and its tables with the segments that can be read.
//!
//! A trace may come from anywhere, so nothing in it is believed: names that lead out of the directory, files that are
//! none, damaged segments and wrong types give an error or a warning that names the file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow_schema::{Field, Schema, SchemaRef};
use schemas::column::{Layout, Type, standard_fields};
use schemas::trace::{FORMAT_VERSION, META_FILE, Meta, PROCESSES, SIDE_TABLES, State};
use serde::Deserialize;

use crate::trace::listing::{Listing, until_it_stays};
use crate::trace::segment::Segment;
use crate::trace::{Table, Trace, Wanted, names, whole};

/// A `trace.json` is a few KiB per event; more than this is not one.
const MAX_META_BYTES: u64 = 16 << 20;
/// More tables than any recording has.
const MAX_EVENTS: usize = 1000;
/// More columns than any event has: faults and cuts have a bit for each.
const MAX_COLUMNS: usize = 1000;

impl Trace {
    /// Open the trace in `dir`. Columns that are `wanted`, and an older recorder did not have, are NULL.
    ///
    /// Fails if it is no trace, is of a newer format, or its `trace.json` is damaged; damaged segments are left out with
    /// a warning. A recording that goes on merges and removes segments: when one that was listed is gone, all are listed
    /// again.
    pub fn open(dir: &Path, wanted: Wanted<'_>) -> Result<Self> {
        until_it_stays(dir, || Self::open_once(dir, wanted))
    }

    /// `None` if it changed meanwhile.
    fn open_once(dir: &Path, wanted: Wanted<'_>) -> Result<Option<Self>> {
        let meta = read_meta(dir)?;
        let is_locked = is_locked(dir);
        let is_live = meta.state == State::Open && is_locked;
        let (tables, warnings, renamed) = (Vec::new(), Vec::new(), Vec::new());
        let mut trace = Self { dir: dir.to_owned(), meta, tables, warnings, renamed, is_live };
        for (layout, name) in trace.meta.events.iter().zip(names::tables(&trace.meta.events)) {
            if !name.eq_ignore_ascii_case(&layout.event) {
                trace.renamed.push(format!(
                    "{}: event {} is table {name} here, because another table has its name",
                    dir.display(),
                    layout.event
                ));
            }
            let table = event_table(layout, name, &wanted(&layout.event));
            let columns = table.schema.fields().iter().zip(&table.names);
            for (field, name) in columns.filter(|(field, name)| !field.name().eq_ignore_ascii_case(name)) {
                trace.renamed.push(format!(
                    "{}: column {} of table {} is {name} here, because another column has its name",
                    dir.display(),
                    field.name(),
                    table.name
                ));
            }
            trace.tables.push(table);
        }
        for side in SIDE_TABLES {
            let schema = nullable(&(side.schema)());
            trace.tables.push(Table {
                name: side.name.to_owned(),
                recorded: side.name.to_owned(),
                summary: side.summary.to_owned(),
                is_event: false,
                names: schema.fields().iter().map(|field| field.name().clone()).collect(),
                schema,
                segments: Vec::new(),
            });
        }
        let listing = Listing::new(dir, &trace.meta, is_locked);
        let mut not_durable = 0;
        // What a dead recorder has not removed stays.
        let going_ns = trace.meta.kept_from_ns.filter(|_| is_live);
        for table in &mut trace.tables {
            let table_dir = dir.join(&table.recorded);
            if fs::symlink_metadata(&table_dir).is_ok_and(|meta| !meta.is_dir()) {
                let path = table_dir.display();
                trace.warnings.push(format!("{path} is not a directory: its table is taken as empty"));
                continue;
            }
            let mut found = listing.of(&table.recorded)?;
            not_durable += found.not_durable;
            for (path, file) in found.files {
                match Segment::open(file, &table.schema) {
                    Ok(segment) if going_ns.is_some_and(|ns| is_going(ns, table, &segment)) => {}
                    Ok(segment) => table.segments.push(segment),
                    Err(_) if path.symlink_metadata().is_err() => return Ok(None),
                    Err(error) => found.unreadable.push((path, error)),
                }
            }
            for (path, error) in found.unreadable {
                trace.warnings.push(format!("{}: {error:#}; its rows are left out", path.display()));
            }
        }
        if not_durable > 0 {
            trace.warnings.push(format!(
                "{}: {not_durable} segments are left out that waited for the disk when that machine stopped: \
                 `recorder compact` drops them",
                dir.display()
            ));
        }
        if trace.meta.state != State::Open {
            if trace.warnings.is_empty() {
                trace.warnings = whole::warnings(&trace);
            }
            return Ok(Some(trace));
        }
        // Rows that went after the first table was listed are not missed in the others, and a recorder that has closed
        // it meanwhile has not died.
        let Meta { kept_from_ns, state, .. } = read_meta(dir)?;
        let is_same = (kept_from_ns, state) == (trace.meta.kept_from_ns, State::Open);
        Ok(is_same.then_some(trace))
    }
}

/// Is it about to be removed, being older than `kept_from_ns`? What its rows name, such as their processes, may be gone
/// before it. What of processes is as old stays where younger rows need it.
fn is_going(kept_from_ns: i64, table: &Table, segment: &Segment) -> bool {
    let is_old = segment.ts_range.is_some_and(|(_, last_ns)| last_ns < kept_from_ns);
    is_old && table.is_event && table.name != PROCESSES
}

/// Does a recorder hold the directory? It does as long as it lives.
fn is_locked(dir: &Path) -> bool {
    // Let go at once: `recorder compact` may want it.
    fs::File::open(dir).is_ok_and(|dir| matches!(dir.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

fn read_meta(dir: &Path) -> Result<Meta> {
    let path = dir.join(META_FILE);
    let is_file = match fs::symlink_metadata(&path) {
        Ok(meta) => {
            ensure!(
                meta.len() <= MAX_META_BYTES,
                "{}: {} bytes is too large for one",
                path.display(),
                meta.len()
            );
            meta.is_file()
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(error)
                .with_context(|| format!("cannot read {}: ask its owner, or use sudo", path.display()));
        }
        Err(_) => false,
    };
    if !is_file {
        match fs::metadata(dir) {
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open trace '{}'", dir.display()));
            }
            Ok(meta) if !meta.is_dir() => bail!("'{}' is not a trace: a trace is a directory", dir.display()),
            Ok(_) => bail!(
                "'{}' is not a trace: it has no {META_FILE}; `recorder record -o DIR` makes one",
                dir.display()
            ),
        }
    }
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let damaged = || format!("{} is damaged: restore it from a copy, or record again", path.display());
    let Version { format_version } = serde_json::from_slice(&text).with_context(damaged)?;
    ensure!(
        format_version <= FORMAT_VERSION,
        "{} has format version {format_version}, this analyze reads up to {FORMAT_VERSION}: use a newer analyze",
        path.display()
    );
    let meta: Meta = serde_json::from_slice(&text).with_context(damaged)?;
    check_layouts(&meta).with_context(damaged)?;
    Ok(meta)
}

/// No more of anything than a recording has, and names that are some.
fn check_layouts(meta: &Meta) -> Result<()> {
    ensure!(meta.events.len() <= MAX_EVENTS, "it has {} events", meta.events.len());
    names::check(&meta.events).context("no recorder writes this")?;
    for Layout { event, columns, .. } in &meta.events {
        ensure!(columns.len() <= MAX_COLUMNS, "event {event} has {} columns", columns.len());
    }
    Ok(())
}

/// The table of an event under `name`. A column that has the name of a standard one takes its place in the files.
fn event_table(layout: &Layout, name: String, wanted: &[(String, Type)]) -> Table {
    let own = names::columns(layout);
    let standard = standard_fields().len();
    let schema = layout.schema();
    let is_own = |field: &str| layout.columns.iter().any(|column| column.name == field);
    let (mut fields, mut names) = (Vec::new(), Vec::new());
    for (i, field) in schema.fields().iter().enumerate() {
        match i.checked_sub(standard) {
            None if is_own(field.name()) => continue,
            None => names.push(field.name().clone()),
            Some(i) => names.push(own[i].clone()),
        }
        fields.push(field.as_ref().clone());
    }
    let schema = complete(wanted, &Schema::new(fields).with_metadata(schema.metadata().clone()));
    names.extend(schema.fields().iter().skip(names.len()).map(|field| field.name().clone()));
    Table {
        name,
        recorded: layout.event.clone(),
        summary: layout.summary.clone(),
        is_event: true,
        schema,
        names,
        segments: Vec::new(),
    }
}

fn nullable(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields).with_metadata(schema.metadata().clone()))
}

/// The columns of an event, and those that are wanted and an older recorder did not have: these are NULL.
fn complete(wanted: &[(String, Type)], schema: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = nullable(schema).fields().iter().map(|f| f.as_ref().clone()).collect();
    for (name, ty) in wanted {
        if fields.iter().all(|f| !f.name().eq_ignore_ascii_case(name)) {
            let doc = "not in this recording: an older recorder did not have it";
            fields.push(schemas::column::field(name, ty.arrow(), true, None, doc));
        }
    }
    Arc::new(Schema::new(fields).with_metadata(schema.metadata().clone()))
}
