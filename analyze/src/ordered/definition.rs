//! A [`Call`] goes in, the plain SQL that defines the operator comes out: for engines that have no ordered operators, and
//! as the truth that these are compared with.

use std::fmt::Write;

use anyhow::{Result, bail};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SetExpr, TableFactor};

use super::call::{Call, Operator, ident};

/// A column of the input.
#[derive(Clone, Debug)]
pub struct InputColumn {
    /// Its name.
    pub name: String,
    /// Can it be added up?
    pub is_number: bool,
    /// Is it a number with a fraction?
    pub is_floating: bool,
}

/// What decides between rows of the same time, of the columns that a recording has.
pub const TIES: [&str; 3] = ["cpu", "probe", "seq"];

/// The longest pause, the width of an interval, or the time of a call, as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constants {
    /// `max_gap`, nanoseconds.
    pub max_gap_ns: Option<i64>,
    /// `interval`, nanoseconds.
    pub interval_ns: Option<i64>,
    /// `time`, UTC nanoseconds.
    pub time_ns: Option<i64>,
}

/// How a part of the key is called, and the expression.
pub fn key_names(keys: &[Expr]) -> Vec<(String, bool)> {
    let name = |(i, key): (usize, &Expr)| match key {
        Expr::Identifier(name) => (name.value.clone(), true),
        Expr::CompoundIdentifier(names) => {
            (names.last().map(|name| name.value.clone()).unwrap_or_default(), true)
        }
        _ => (format!("key{}", i + 1), false),
    };
    keys.iter().enumerate().map(name).collect()
}

/// The names that the columns of the row that ends get: `end_X`, with `_` where the begin has that.
pub fn end_names(call: &Call, columns: &[InputColumn]) -> Vec<(String, String)> {
    let keys = key_names(&call.keys);
    let is_key = |name: &str| keys.iter().any(|(key, is_plain)| *is_plain && key == name);
    prefixed("end_", columns.iter().filter(|column| !is_key(&column.name)), columns)
}

fn prefixed<'a>(
    prefix: &str,
    of: impl Iterator<Item = &'a InputColumn>,
    taken: &[InputColumn],
) -> Vec<(String, String)> {
    let name = |column: &InputColumn| {
        let mut name = format!("{prefix}{}", column.name);
        while taken.iter().any(|column| column.name == name) {
            name.push('_');
        }
        (column.name.clone(), name)
    };
    of.map(name).collect()
}

/// The table that a query takes whole, if it is no more than that.
pub fn whole_table(query: &Query) -> Option<&Ident> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [from] = select.from.as_slice() else { return None };
    match &from.relation {
        TableFactor::Table { name, args: None, alias: None, .. } if from.joins.is_empty() => {
            name.0.last().and_then(|part| part.as_ident())
        }
        _ => None,
    }
}

/// The SQL of `call`, whose input has these columns.
///
/// Fails if an argument is missing.
pub fn sql(
    call: &Call,
    constants: Constants,
    columns: &[InputColumn],
    other: &[InputColumn],
) -> Result<String> {
    let name = whole_table(&call.input).cloned().unwrap_or_else(|| ident("$rows"));
    let rows = format!("(SELECT * FROM ({}) AS {name} WHERE ts IS NOT NULL) AS {name}", call.input);
    let partition = match call.keys.as_slice() {
        [] => String::new(),
        keys => format!("PARTITION BY {} ", list(keys)),
    };
    let order = order(call, columns);
    let over = format!("OVER ({partition}ORDER BY ts{order})");
    let keys = key_names(&call.keys);
    let named_keys: String = call
        .keys
        .iter()
        .zip(&keys)
        .fold(String::new(), |text, (key, (name, _))| text + &format!("{key} AS {}, ", ident(name)));
    let key_list: String =
        keys.iter().fold(String::new(), |text, (name, _)| text + &format!("{}, ", ident(name)));
    let by_key = if keys.is_empty() {
        String::new()
    } else {
        format!("PARTITION BY {} ", key_list.trim_end_matches(", "))
    };
    Ok(match call.operator {
        Operator::Gaps => {
            let gaps = format!(
                "SELECT *, ns(ts) - lag(ns(ts)) {over} AS gap_ns, row_number() {over} AS nth FROM {rows}"
            );
            match constants.max_gap_ns {
                None => gaps,
                Some(max_gap_ns) => {
                    let part = if call.keys.is_empty() {
                        String::new()
                    } else {
                        format!("PARTITION BY {}, ", list(&call.keys))
                    };
                    let part = if part.is_empty() { "PARTITION BY ".to_owned() } else { part };
                    format!(
                        "SELECT *, row_number() OVER ({part}run ORDER BY nth) AS nth_in_run FROM (SELECT *, \
                         CAST(sum(CASE WHEN gap_ns <= {max_gap_ns} THEN 0 ELSE 1 END) OVER ({partition}ORDER BY nth) AS BIGINT) \
                         AS run FROM ({gaps}) AS {name}) AS {name}"
                    )
                }
            }
        }
        Operator::Runs => {
            let max_gap_ns = constants.max_gap_ns.unwrap_or_default();
            let is_key =
                |column: &InputColumn| keys.iter().any(|(key, is_plain)| *is_plain && *key == column.name);
            let mut sums = String::new();
            for column in columns.iter().filter(|column| column.is_number && !is_key(column)) {
                let ty = if column.is_floating { "DOUBLE" } else { "BIGINT" };
                let (of, sum) = (ident(&column.name), ident(&format!("sum_{}", column.name)));
                write!(sums, "CAST(sum({of}) AS {ty}) AS {sum}, ")?;
            }
            format!(
                "SELECT {key_list}{sums}\"$run\" AS run, min(ts) AS ts, max(ts) AS end_ts, max(ns(ts)) - min(ns(ts)) AS \
                 duration_ns, count(*) AS row_count FROM (SELECT *, CAST(sum(CASE WHEN \"$gap\" <= {max_gap_ns} THEN 0 ELSE 1 \
                 END) OVER ({by_key}ORDER BY \"$nth\") AS BIGINT) AS \"$run\" FROM (SELECT *, ns(ts) - lag(ns(ts)) {over} AS \
                 \"$gap\", row_number() {over} AS \"$nth\" FROM (SELECT {}* FROM {rows}) AS {name}) AS {name}) AS {name} GROUP \
                 BY {key_list}\"$run\"",
                computed(call, &keys)
            )
        }
        Operator::Pairs => pairs(call, columns, &rows, &name),
        Operator::StateAt => {
            let until = constants.time_ns.map_or_else(String::new, |ns| format!(" WHERE ts <= utc({ns})"));
            let names: Vec<String> = columns.iter().map(|column| ident(&column.name).to_string()).collect();
            let back = descending(call, columns);
            format!(
                "SELECT {} FROM (SELECT *, row_number() OVER ({partition}ORDER BY ts DESC{back}) AS \"$back\" FROM \
                 {rows}{until}) AS {name} WHERE \"$back\" = 1",
                names.join(", ")
            )
        }
        Operator::Rate => {
            let Some(interval_ns) = constants.interval_ns else { bail!("rate has no interval") };
            let start = format!("ns(ts) - ns(ts) % {interval_ns}");
            let group = if call.keys.is_empty() { String::new() } else { format!("{}, ", list(&call.keys)) };
            format!(
                "SELECT {named_keys}utc({start}) AS ts, count(*) AS row_count, count(*) * 1e9 / {interval_ns} AS per_s FROM \
                 {rows} GROUP BY {group}{start}"
            )
        }
        Operator::Covered => format!(
            "SELECT {key_list}min(ts) AS ts, max(end_ts) AS end_ts, max(ns(end_ts)) - min(ns(ts)) AS duration_ns, count(*) AS \
             row_count FROM (SELECT *, sum(CASE WHEN ns(ts) <= \"$before\" THEN 0 ELSE 1 END) OVER ({by_key}ORDER BY ts, \
             end_ts ROWS UNBOUNDED PRECEDING) AS \"$stretch\" FROM (SELECT *, max(ns(end_ts)) OVER ({by_key}ORDER BY ts, end_ts \
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS \"$before\" FROM (SELECT {named_keys}ts, end_ts FROM {rows} \
             WHERE end_ts >= ts) AS {name}) AS {name}) AS {name} GROUP BY {key_list}\"$stretch\""
        ),
        Operator::Concurrency => format!(
            "SELECT {key_list}ts, end_ts, open FROM (SELECT {key_list}ts, lead(ts) OVER ({by_key}ORDER BY ts) AS end_ts, \
             CAST(sum(\"$change\") OVER ({by_key}ORDER BY ts) AS BIGINT) AS open FROM (SELECT {key_list}ts, sum(\"$change\") AS \
             \"$change\" FROM (SELECT {named_keys}ts, 1 AS \"$change\" FROM {rows} WHERE end_ts > ts UNION ALL SELECT \
             {named_keys}end_ts AS ts, -1 AS \"$change\" FROM {rows} WHERE end_ts > ts) AS {name} GROUP BY {key_list}ts) AS \
             {name}) AS {name} WHERE open > 0"
        ),
        Operator::Overlaps => overlaps(call, columns, other)?,
    })
}

/// Parts of the key that are no columns.
fn computed(call: &Call, keys: &[(String, bool)]) -> String {
    let parts = call.keys.iter().zip(keys).filter(|(_, (_, is_plain))| !is_plain);
    parts.fold(String::new(), |text, (key, (name, _))| text + &format!("{key} AS {}, ", ident(name)))
}

fn pairs(call: &Call, columns: &[InputColumn], rows: &str, name: &Ident) -> String {
    let condition = |name: &str| call.argument(name).map(Expr::to_string).unwrap_or_default();
    let ends = end_names(call, columns);
    let own = |column: &InputColumn| !ends.iter().any(|(of, _)| *of == column.name);
    let (mut parts, mut known) = (String::new(), String::new());
    for (i, key) in call.keys.iter().enumerate() {
        parts += &format!("{key} AS \"$key{i}\", ");
        known += &format!(" AND ({key}) IS NOT NULL");
    }
    let keys: Vec<String> = (0..call.keys.len()).map(|i| format!("\"$key{i}\"")).collect();
    let over =
        format!("OVER (PARTITION BY {} ORDER BY ts, \"$role\"{})", keys.join(", "), order(call, columns));
    let (mut begin, mut end, mut next) = (String::new(), String::new(), String::new());
    for column in columns {
        let of = ident(&column.name);
        begin += &match own(column) {
            true => format!("{of}, "),
            false => format!("CASE WHEN \"$role\" = 1 THEN {of} END AS {of}, "),
        };
    }
    for (i, (of, end_name)) in ends.iter().enumerate() {
        let (of, end_name) = (ident(of), ident(end_name));
        next += &format!("lead({of}) {over} AS \"$next{i}\", ");
        end += &format!(
            "CASE WHEN \"$role\" = 0 THEN {of} WHEN \"$next_role\" = 0 THEN \"$next{i}\" END AS {end_name}, "
        );
    }
    format!(
        "SELECT {begin}{end}CASE WHEN \"$role\" = 1 AND \"$next_role\" = 0 THEN 'paired' WHEN \"$role\" = 1 AND \"$next_role\" = 1 \
         THEN 'end_missed' WHEN \"$role\" = 1 THEN 'outstanding' WHEN \"$last_role\" IS NULL THEN 'before_recording' ELSE \
         'begin_missed' END AS class, CASE WHEN \"$role\" = 1 THEN \"$next_ts\" ELSE ts END AS next_ts FROM (SELECT *, \
         {next}lead(\"$role\") {over} AS \"$next_role\", lag(\"$role\") {over} AS \"$last_role\", lead(ts) {over} AS \"$next_ts\" \
         FROM (SELECT {parts}0 AS \"$role\", * FROM {rows} WHERE ({}){known} UNION ALL SELECT {parts}1 AS \"$role\", * FROM {rows} \
         WHERE ({}){known}) AS {name}) AS {name} WHERE \"$role\" = 1 OR \"$last_role\" IS NULL OR \"$last_role\" = 0",
        condition("end"),
        condition("begin")
    )
}

/// The names that the columns of the second table get.
pub fn other_names(columns: &[InputColumn], other: &[InputColumn]) -> Vec<(String, String)> {
    prefixed("other_", other.iter(), columns)
}

fn overlaps(call: &Call, columns: &[InputColumn], other: &[InputColumn]) -> Result<String> {
    let Some(second) = &call.other else { bail!("overlaps has no second table") };
    let mut list = String::new();
    for column in columns {
        write!(list, "\"$a\".{}, ", ident(&column.name))?;
    }
    for (of, name) in other_names(columns, other) {
        write!(list, "\"$b\".{} AS {}, ", ident(&of), ident(&name))?;
    }
    let mut same = String::new();
    for (key, is_plain) in key_names(&call.keys) {
        if !is_plain {
            bail!("the key of overlaps must be a column that both tables have, not an expression");
        }
        let key = ident(&key);
        write!(same, "(\"$a\".{key} IS NOT DISTINCT FROM \"$b\".{key}) AND ")?;
    }
    Ok(format!(
        "SELECT {list}greatest(\"$a\".ts, \"$b\".ts) AS overlap_ts, least(\"$a\".end_ts, \"$b\".end_ts) AS overlap_end_ts FROM ({}) \
         AS \"$a\" JOIN ({second}) AS \"$b\" ON {same}\"$a\".ts < \"$b\".end_ts AND \"$b\".ts < \"$a\".end_ts",
        call.input
    ))
}

fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(Expr::to_string).collect::<Vec<_>>().join(", ")
}

/// What decides between rows of the same time.
fn order(call: &Call, columns: &[InputColumn]) -> String {
    let tie = call.argument("tie").map_or_else(String::new, |tie| format!(", {tie} NULLS LAST"));
    ties(columns).fold(tie, |text, name| text + &format!(", {name}"))
}

fn descending(call: &Call, columns: &[InputColumn]) -> String {
    let tie = call.argument("tie").map_or_else(String::new, |tie| format!(", {tie} DESC NULLS FIRST"));
    ties(columns).fold(tie, |text, name| text + &format!(", {name} DESC"))
}

/// Columns of the input that decide between rows of the same time.
pub fn ties(columns: &[InputColumn]) -> impl Iterator<Item = &'static str> + '_ {
    TIES.into_iter().filter(|name| columns.iter().any(|column| column.name == *name))
}
