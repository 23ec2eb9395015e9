//! What is in a trace: what it says of itself, and its tables with their segments.

pub mod clock;
pub mod counts;
pub mod file;
pub mod footer;
pub mod format1;
pub mod format2;
pub mod logged;
pub mod names;
mod open;
pub mod segment;
pub mod symbols;

use std::path::PathBuf;

use arrow_schema::SchemaRef;
use schemas::column::Type;
use schemas::trace::{Meta, State};

use self::segment::Segment;

/// Columns that analyses ask for of the event of that name.
pub type Wanted<'a> = &'a dyn Fn(&str) -> Vec<(String, Type)>;

/// An open trace.
#[derive(Debug)]
pub struct Trace {
    /// Its directory.
    pub dir: PathBuf,
    /// Its `trace.json`, and what the log says of how it is or ended.
    pub meta: Meta,
    /// Every row before this time (UTC nanoseconds) that is not late is there, as the log says.
    pub until_ns: Option<i64>,
    /// Event tables, then side tables.
    pub tables: Vec<Table>,
    /// What could not be read, one line each.
    pub warnings: Vec<String>,
    /// Which tables and columns have other names than were recorded, one line each.
    pub renamed: Vec<String>,
    /// A recorder holds it.
    pub is_live: bool,
}

/// A table of a trace; without segments it is empty.
#[derive(Debug)]
pub struct Table {
    /// Name in SQL, which finds it in any case.
    pub name: String,
    /// Its directory; of an event, its name as recorded, and as tables `probes`, `counts` and `losses` have it.
    pub recorded: String,
    /// One sentence.
    pub summary: String,
    /// Is it a table of events, not a side table.
    pub is_event: bool,
    /// Columns as in the files, all of them nullable: an older recording may lack some.
    pub schema: SchemaRef,
    /// The name in SQL of each column of `schema`: lower case.
    pub names: Vec<String>,
    /// Files in order of time.
    pub segments: Vec<Segment>,
    /// Its segments are of several epochs, so that what has an id can be there once in each.
    pub is_repeated: bool,
}

impl Table {
    /// Rows in all segments.
    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|s| s.rows).sum()
    }

    /// Events that its rows stand for, as the log says; `None` where there is none.
    pub fn counted(&self) -> Option<u64> {
        let mut events = 0;
        for segment in &self.segments {
            let sources = &segment.file.logged()?.segment.sources;
            events += sources.iter().map(|(_, _, events)| events).sum::<u64>();
        }
        Some(events)
    }

    /// First and last `ts`, UTC nanoseconds.
    pub fn span(&self) -> Option<(i64, i64)> {
        let spans = self.segments.iter().filter_map(|s| s.ts_range);
        spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

impl Trace {
    /// Its name: the directory, as the user gave it.
    pub fn name(&self) -> String {
        self.dir.display().to_string()
    }

    /// The table of that name in SQL.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|t| t.name.eq_ignore_ascii_case(name))
    }

    /// UTC nanoseconds of its end: as recorded, or until when rows are there if the recorder did not come to that.
    pub fn end_ns(&self) -> i64 {
        let last = self.tables.iter().filter(|t| t.name != "clock").filter_map(|t| Some(t.span()?.1)).max();
        self.meta.end_ns.or(last.max(self.until_ns)).unwrap_or(self.meta.start_ns).max(self.meta.start_ns)
    }

    /// Do the rows of this event stand for several events each?
    pub fn is_aggregate(&self, event: &str) -> bool {
        self.meta.events.iter().any(|layout| layout.event == event && layout.aggregate)
    }

    /// UTC nanoseconds until which all losses are known; `None`: to the end.
    pub fn losses_known_until(&self) -> Option<i64> {
        let counted = self.table("counts").and_then(Table::span).map(|(_, last)| last);
        let known = counted.max(self.until_ns).unwrap_or(self.meta.start_ns).max(self.meta.start_ns);
        (self.meta.state != State::Closed && !self.is_ended()).then_some(known)
    }

    /// All rows are there, whatever the recorder had still to do.
    fn is_ended(&self) -> bool {
        // In format 1 the end could be there without the last counts.
        self.meta.format_version > 1 && self.meta.end_ns.is_some()
    }

    /// How the recording ended, for people.
    pub fn state_text(&self) -> &'static str {
        match (self.meta.state, self.is_live) {
            (State::Closed, _) => "closed",
            (State::Recovered, _) if self.is_ended() => "recovered: all rows are there",
            (State::Recovered, _) => {
                "recovered after the recorder died: up to a second may be missing at the end"
            }
            (State::Open, true) if self.is_ended() => "open: being closed, all rows are there",
            (State::Open, false) if self.is_ended() => {
                "open: the recorder died while it merged small segments, all rows are there"
            }
            (State::Open, true) => "open: being recorded",
            (State::Open, false) => "open: the recorder died, up to a second may be missing at the end",
        }
    }
}
