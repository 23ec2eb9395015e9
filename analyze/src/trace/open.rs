//! Opens a directory as a [`Trace`]: what it says of itself, and its tables with their segments.
//!
//! A trace may come from anywhere, so nothing in it is believed: what `trace.json` and the log say is checked by their
//! reader, what a file says when it is read.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow_schema::{Field, Schema, SchemaRef};
use schemas::column::{Layout, Type, standard_fields};
use schemas::trace::log::Contents;
use schemas::trace::read::read;
use schemas::trace::{Meta, SIDE_TABLES, State};

use crate::trace::format2::Instant;
use crate::trace::{Table, Trace, Wanted, format1, format2, names};

impl Trace {
    /// Open the trace in `dir`. Columns that are `wanted`, and an older recorder did not have, are NULL.
    ///
    /// Fails if it is no trace, is of a newer format, or its `trace.json` or its log is damaged; segments that are
    /// missing are left out with a warning.
    pub fn open(dir: &Path, wanted: Wanted<'_>) -> Result<Self> {
        let description = read(dir)?;
        if description.log.is_none() {
            let mut trace = Self::empty(dir, description.meta, wanted);
            format1::fill(&mut trace)?;
            return Ok(trace);
        }
        Ok(Self::at(dir, format2::open(dir, description, Contents::visible)?, wanted))
    }

    /// The trace in `dir` as it was at that instant.
    pub fn at(dir: &Path, mut instant: Instant, wanted: Wanted<'_>) -> Self {
        let mut trace = Self::empty(dir, instant.description.meta.clone(), wanted);
        trace.is_live = trace.meta.state == State::Open && instant.is_locked;
        trace.until_ns = instant.description.contents.until_ns;
        trace.warnings.append(&mut instant.warnings);
        format2::fill(&mut trace.tables, instant);
        trace
    }

    /// Its tables without rows.
    fn empty(dir: &Path, meta: Meta, wanted: Wanted<'_>) -> Self {
        let (tables, warnings, renamed) = (Vec::new(), Vec::new(), Vec::new());
        let mut trace =
            Self { dir: dir.to_owned(), meta, until_ns: None, tables, warnings, renamed, is_live: false };
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
                is_repeated: false,
            });
        }
        trace
    }
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
        is_repeated: false,
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
