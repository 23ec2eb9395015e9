//! The columns that an operator reads, by name: those that it needs itself, and those that it passes on.
//!
//! What it needs itself has a name that SQL cannot write without quotes. The two kinds are kept apart, so that the
//! optimiser can leave out whatever nobody asks for.

use arrow_schema::{DataType, Field, Schema};
use datafusion::common::{Result, exec_datafusion_err};
use schemas::column::{field, text_dictionary, timestamp};

use super::call::Operator;

/// Time of a row.
pub const TS: &str = "$ts";
/// Number of the trace, where there are several: rows are in order of it, then of time.
pub const TRACE: &str = "$trace";
/// End of an interval.
pub const UNTIL: &str = "$until";
/// Part of the key: `$key0`, `$key1`, ...
pub const KEY: &str = "$key";
/// What decides between rows of the same time: `$tie0`, `$tie1`, ...
pub const TIE: &str = "$tie";
/// Whether a row begins.
pub const BEGIN: &str = "$begin";
/// Whether a row ends what began before.
pub const END: &str = "$end";
/// Columns of the row that ends, followed by the name that they get.
pub const OF_END: &str = "$of_end:";
/// Columns that are added up, followed by the name that the sum gets.
pub const SUM: &str = "$sum:";

/// Which row a column that is passed on comes from, or what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The row itself, or the one that begins.
    Row,
    /// The row that ends.
    End,
    /// A sum over rows.
    Sum,
}

/// The columns of an input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layout {
    /// Columns that are passed on, in order.
    pub passed: Vec<(usize, Role)>,
    /// Time.
    pub ts: usize,
    /// Number of the trace.
    pub trace: Option<usize>,
    /// End of an interval.
    pub until: Option<usize>,
    /// Parts of the key.
    pub keys: Vec<usize>,
    /// What decides between rows of the same time.
    pub ties: Vec<usize>,
    /// Whether a row begins.
    pub begin: Option<usize>,
    /// Whether a row ends.
    pub end: Option<usize>,
}

/// The name that a column has when it is passed on, and its role; `None` if the operator itself needs it.
pub fn passed(name: &str) -> Option<(&str, Role)> {
    if let Some(name) = name.strip_prefix(OF_END) {
        return Some((name, Role::End));
    }
    if let Some(name) = name.strip_prefix(SUM) {
        return Some((name, Role::Sum));
    }
    (!name.starts_with('$')).then_some((name, Role::Row))
}

impl Layout {
    /// The columns of an input with these names.
    ///
    /// Fails if there is no time among them.
    pub fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Self> {
        let find = |wanted: &str| names.clone().position(|name| name == wanted);
        let numbered = |prefix: &str| {
            let columns = names.clone().enumerate().filter(|(_, name)| name.starts_with(prefix));
            columns.map(|(i, _)| i).collect::<Vec<usize>>()
        };
        Ok(Self {
            passed: names
                .clone()
                .enumerate()
                .filter_map(|(i, name)| passed(name).map(|(_, role)| (i, role)))
                .collect(),
            ts: find(TS).ok_or_else(|| exec_datafusion_err!("an ordered operator has no time"))?,
            trace: find(TRACE),
            until: find(UNTIL),
            keys: numbered(KEY),
            ties: numbered(TIE),
            begin: find(BEGIN),
            end: find(END),
        })
    }
}

/// What comes out of `operator`, beside the columns that it passes on.
pub fn own_columns(operator: Operator, has_runs: bool) -> Vec<Field> {
    let number = |name, unit, doc| field(name, DataType::Int64, true, unit, doc);
    let time = |name, doc| field(name, timestamp(), true, Some("ns"), doc);
    match operator {
        Operator::Gaps => {
            let mut fields = vec![
                number("gap_ns", Some("ns"), "time since the row before of the same key; NULL for the first"),
                number("nth", None, "number of the row in its key, from 1"),
            ];
            if has_runs {
                fields.push(number("run", None, "number of the run in its key, from 1"));
                fields.push(number("nth_in_run", None, "number of the row in its run, from 1"));
            }
            fields
        }
        Operator::Runs => vec![
            number("run", None, "number of the run in its key, from 1"),
            time("ts", "first row of the run"),
            time("end_ts", "last row of the run"),
            number("duration_ns", Some("ns"), "from the first to the last row"),
            number("row_count", None, "rows in it"),
        ],
        Operator::Pairs => vec![
            field(
                "class",
                text_dictionary(),
                true,
                None,
                "paired; outstanding: no end until the end of the recording; end_missed: it began once more without an end \
                 between; begin_missed: it ended twice without a begin between; before_recording: it ended, and nothing of \
                 its key was seen before",
            ),
            time("next_ts", "the row that ended the waiting: the end, or of end_missed the next begin"),
        ],
        Operator::Covered => vec![
            time("ts", "begin of the stretch"),
            time("end_ts", "its end"),
            number("duration_ns", Some("ns"), "its length"),
            number("row_count", None, "intervals in it"),
        ],
        Operator::Concurrency => vec![
            time("ts", "from then on"),
            time("end_ts", "until then"),
            number("open", None, "intervals that are open"),
        ],
        Operator::StateAt | Operator::Rate | Operator::Overlaps => Vec::new(),
    }
}

/// The columns that come out: those passed on, then the operator's own.
pub fn output(operator: Operator, has_runs: bool, input: &Schema) -> Vec<Field> {
    let passed = input.fields().iter().filter_map(|field| {
        let (name, role) = passed(field.name())?;
        let ty = match role {
            Role::Sum if field.data_type().is_floating() => DataType::Float64,
            Role::Sum => DataType::Int64,
            _ => field.data_type().clone(),
        };
        let field = field.as_ref().clone().with_name(name).with_data_type(ty);
        Some(field.with_nullable(true))
    });
    passed.chain(own_columns(operator, has_runs)).collect()
}
