//! The text of `sql/NAME.sql` goes in, an [`Analysis`] comes out: documentation, parameters, columns, SQL.
//!
//! The header of a file is its comment lines up to the first other line:
//! ```text
//! -- One sentence: the question it answers.
//! --
//! -- More text.
//! --
//! -- @table packets(saddr ip, proto u8)             a table it reads, and the event's columns with their types
//! -- @param min_age_ns duration = 500ms: doc      types: duration, count, time, choice(a|b)
//! -- @column bytes s64 [bytes]: doc               in order; the unit in brackets is optional
//! -- @loss what a loss in those tables makes uncertain
//! -- @note SELECT ...                              optional: a query of one text, said below the rows if there are losses
//! ```
//! In the SQL, `$min_age_ns` stands for the parameter.

use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use schemas::column::Type;

/// One analysis.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Name of the file, the subcommand, the table function and the view in schema `a`.
    pub name: &'static str,
    /// First sentence of the header.
    pub summary: String,
    /// The rest of its text.
    pub doc: String,
    /// Tables it reads.
    pub tables: Vec<TableUse>,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Columns in order.
    pub columns: Vec<ColumnDoc>,
    /// What a loss makes uncertain.
    pub loss: String,
    /// A query that says by how much, if there is one.
    pub note: String,
    /// The query, with `$name` for parameters.
    pub sql: &'static str,
}

/// A table that an analysis reads.
#[derive(Clone, Debug)]
pub struct TableUse {
    /// Its name.
    pub name: String,
    /// Columns that it must have; one that an older recording lacks is NULL.
    pub columns: Vec<(String, Type)>,
}

/// A parameter of an analysis.
#[derive(Clone, Debug)]
pub struct Param {
    /// Name in SQL.
    pub name: String,
    /// Name of its option on the command line: without the unit, `-` for `_`.
    pub flag: String,
    /// Type.
    pub ty: ParamType,
    /// Default, as one would write it on the command line.
    pub default: String,
    /// What it does.
    pub doc: String,
}

/// Type of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamType {
    /// Int64 nanoseconds; `500ms` on the command line.
    Duration,
    /// Int64.
    Count,
    /// Int64 UTC nanoseconds or a timestamp, NULL for the end of the trace; `+1.5s`, RFC 3339 or `end` on the command line.
    Time,
    /// One of these words.
    Choice(Vec<String>),
}

/// A column of an analysis.
#[derive(Clone, Debug)]
pub struct ColumnDoc {
    /// Name.
    pub name: String,
    /// Type, in the words of event definitions, or `time`.
    pub ty: String,
    /// Unit.
    pub unit: Option<String>,
    /// What it says.
    pub doc: String,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../sql/", $name, ".sql")))),*]
    };
}

/// Every analysis there is: name and text. A new file gets a line here.
const FILES: &[(&str, &str)] = files![
    "listens",
    "listens_by_netns",
    "leaks",
    "leak_classes",
    "lifetimes",
    "lost_frees",
    "packet_gaps",
    "gaps",
    "gap_histogram",
    "bursts",
    "burst_alerts",
    "switches",
    "switch_pairs",
    "mkdirs",
    "joins",
    "losses",
    "kmem_pairs",
];

/// All analyses.
pub fn all() -> &'static [Analysis] {
    static ALL: LazyLock<Vec<Analysis>> = LazyLock::new(|| {
        let parsed: Result<Vec<_>> =
            FILES.iter().map(|(n, t)| parse(n, t).with_context(|| format!("sql/{n}.sql"))).collect();
        // The files are part of the programme, and a test reads them all.
        parsed.unwrap_or_else(|error| panic!("{error:#}"))
    });
    &ALL
}

/// The analysis of that name.
pub fn find(name: &str) -> Option<&'static Analysis> {
    all().iter().find(|a| a.name.eq_ignore_ascii_case(name))
}

fn parse(name: &'static str, text: &'static str) -> Result<Analysis> {
    let body = text.find(|_| true).and_then(|_| text.lines().position(|l| !l.starts_with("--")));
    let body = body.context("there is only a comment")?;
    let header: Vec<&str> = text.lines().take(body).map(|l| l.trim_start_matches("--").trim()).collect();
    let sql_at = text.lines().take(body).map(|l| l.len() + 1).sum();
    let mut analysis = Analysis {
        name,
        summary: header.first().copied().unwrap_or_default().to_owned(),
        doc: String::new(),
        tables: Vec::new(),
        params: Vec::new(),
        columns: Vec::new(),
        loss: String::new(),
        note: String::new(),
        sql: text.get(sql_at..).unwrap_or_default().trim().trim_end_matches(';'),
    };
    for line in header.iter().skip(1) {
        match line.split_once(' ') {
            Some(("@table", rest)) => {
                analysis.tables.push(table(rest.trim()).with_context(|| rest.to_owned())?)
            }
            Some(("@param", rest)) => analysis.params.push(param(rest).with_context(|| rest.to_owned())?),
            Some(("@column", rest)) => analysis.columns.push(column(rest).with_context(|| rest.to_owned())?),
            Some(("@loss", rest)) => analysis.loss = rest.trim().to_owned(),
            Some(("@note", rest)) => analysis.note = rest.trim().to_owned(),
            Some((tag, _)) if tag.starts_with('@') => bail!("unknown tag {tag}"),
            _ => {
                analysis.doc.push_str(line);
                analysis.doc.push('\n');
            }
        }
    }
    analysis.doc = analysis.doc.trim().to_owned();
    ensure!(!analysis.summary.is_empty(), "the first line must say what it answers");
    ensure!(!analysis.columns.is_empty() && !analysis.tables.is_empty(), "@table or @column is missing");
    Ok(analysis)
}

fn table(text: &str) -> Result<TableUse> {
    let (name, list) = match text.split_once('(') {
        Some((name, list)) => (name, list.strip_suffix(')').context("')' is missing")?),
        None => (text, ""),
    };
    let mut columns = Vec::new();
    for column in list.split(", ").filter(|c| !c.is_empty()) {
        let (name, ty) = column.split_once(' ').context("a type is missing")?;
        columns.push((name.to_owned(), ty.parse()?));
    }
    Ok(TableUse { name: name.to_owned(), columns })
}

fn param(text: &str) -> Result<Param> {
    let (head, doc) = text.split_once(": ").context("': doc' is missing")?;
    let (typed, default) = head.split_once('=').context("'= default' is missing")?;
    let (name, ty) = typed.trim().split_once(' ').context("a type is missing")?;
    let ty = match ty.trim() {
        "duration" => ParamType::Duration,
        "count" => ParamType::Count,
        "time" => ParamType::Time,
        other => {
            let list =
                other.strip_prefix("choice(").and_then(|l| l.strip_suffix(')')).context("unknown type")?;
            ParamType::Choice(list.split('|').map(str::to_owned).collect())
        }
    };
    let flag = name.trim_end_matches("_ns").replace('_', "-");
    Ok(Param {
        name: name.to_owned(),
        flag,
        ty,
        default: default.trim().to_owned(),
        doc: doc.trim().to_owned(),
    })
}

fn column(text: &str) -> Result<ColumnDoc> {
    let (head, doc) = text.split_once(": ").context("': doc' is missing")?;
    let (name, rest) = head.split_once(' ').context("a type is missing")?;
    let (ty, unit) = match rest.split_once('[') {
        Some((ty, unit)) => (ty.trim(), Some(unit.trim_end_matches(']').to_owned())),
        None => (rest.trim(), None),
    };
    Ok(ColumnDoc { name: name.to_owned(), ty: ty.to_owned(), unit, doc: doc.trim().to_owned() })
}

impl Analysis {
    /// The query with each parameter replaced by SQL: what `given` says, else its default.
    ///
    /// Fails if a default is wrong.
    pub fn query(&self, given: &[(String, String)]) -> Result<String> {
        let mut sql = self.sql.to_owned();
        // Longer names first: $count_min is not $count.
        let mut params: Vec<&Param> = self.params.iter().collect();
        params.sort_by_key(|p| std::cmp::Reverse(p.name.len()));
        for param in params {
            let value = match given.iter().find(|(name, _)| *name == param.name) {
                Some((_, value)) => value.clone(),
                None => crate::library::params::literal(&param.ty, &param.default, 0)?,
            };
            sql = sql.replace(&format!("${}", param.name), &value);
        }
        Ok(sql)
    }
}
