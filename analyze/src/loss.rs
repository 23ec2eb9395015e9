//! Tells what the losses of the tables that an analysis reads make uncertain.

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};

use schemas::trace::{LATE, NOT_OBSERVED};

use crate::session::{KnownUntil, Session};
use crate::times::seconds;

/// A kind of loss within some tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Name of the trace, if several are open.
    pub trace: Option<String>,
    /// Event table.
    pub event: String,
    /// See `schemas::trace::LOSS_REASONS`.
    pub reason: String,
    /// Are rows missing, or only values incomplete.
    pub loses_event: bool,
    /// How many are known of.
    pub events: i64,
    /// There may be more, because a kernel cannot tell.
    pub unknown: bool,
    /// UTC nanoseconds of the beginning of the first interval and of the end of the last.
    pub span_ns: (i64, i64),
    /// What happened.
    pub meaning: String,
    /// What to do about it.
    pub remedy: String,
}

/// The losses in `tables` (all if empty) up to `until_ns`.
///
/// Fails if table losses cannot be read.
pub async fn losses(session: &Session, tables: &[String], until_ns: Option<i64>) -> Result<Vec<Loss>> {
    let filter = events(tables).map_or_else(String::new, |events| format!("WHERE {events}"));
    // What happened at that very time counts.
    let until = until_ns.map_or_else(String::new, |ns| format!("until => {}", ns.saturating_add(1)));
    let sql = format!(
        "SELECT event, reason, loses_event, coalesce(CAST(sum(events) AS BIGINT), 0), bool_or(unknown),
             min(ns(first)), max(ns(last)), meaning, remedy
         FROM losses({until}) {filter}
         GROUP BY event, reason, loses_event, meaning, remedy ORDER BY event, reason"
    );
    let batches = session.collect_each(&sql).await?;
    let rows = batches.iter().map(|(trace, batch)| rows(trace.as_ref(), batch));
    rows.collect::<Result<Vec<_>>>().map(|rows| rows.concat())
}

/// The ways into the events `tables` (all if empty) that no probe observed: one text for each event, which names the
/// traces if that is not so in all.
///
/// Fails if table probes cannot be read.
pub async fn unobserved(session: &Session, tables: &[String]) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT CAST(event AS VARCHAR) AS event, target FROM probes WHERE kind = '{NOT_OBSERVED}' {}
         ORDER BY event, target",
        events(tables).map_or_else(String::new, |events| format!("AND {events}"))
    );
    let mut texts: Vec<(Option<String>, String, String)> = Vec::new();
    for (trace, batch) in session.collect_each(&sql).await? {
        let text = |column: usize| arrow_cast::cast(batch.column(column), &arrow_schema::DataType::Utf8);
        let (names, ways) = (text(0)?, text(1)?);
        for (name, way) in names.as_string::<i32>().iter().zip(ways.as_string::<i32>()) {
            let (name, way) = (name.unwrap_or_default(), way.unwrap_or_default());
            match texts.last_mut() {
                Some((of, last, text)) if last.as_str() == name && *of == trace => text.extend([", ", way]),
                _ => texts.push((trace.clone(), name.to_owned(), way.to_owned())),
            }
        }
    }
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for (trace, event, ways) in texts {
        let text = format!("{event}: {ways}");
        match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, traces)) => traces.extend(trace),
            None => told.push((text, trace.into_iter().collect())),
        }
    }
    let all = session.traces.len();
    Ok(told.into_iter().map(|(text, traces)| of_traces(&traces, all) + &text).collect())
}

/// `a.trace, b.trace: `; nothing if there is no need to tell, because it is so in `all`.
fn of_traces(traces: &[String], all: usize) -> String {
    const TOLD: usize = 3;
    if traces.is_empty() || traces.len() == all {
        return String::new();
    }
    let told = traces[..traces.len().min(TOLD)].join(", ");
    match traces.len().saturating_sub(TOLD) {
        0 => format!("{told}: "),
        more => format!("{told} and {more} more: "),
    }
}

/// The condition that a row is about one of these events, unless all are meant.
fn events(tables: &[String]) -> Option<String> {
    let names: Vec<String> = tables.iter().map(|t| format!("'{}'", t.replace('\'', "''"))).collect();
    (!names.is_empty()).then(|| format!("event IN ({})", names.join(", ")))
}

fn rows(trace: Option<&String>, batch: &RecordBatch) -> Result<Vec<Loss>> {
    let text = |column: usize| -> Result<_> {
        Ok(arrow_cast::cast(batch.column(column), &arrow_schema::DataType::Utf8)?)
    };
    let number = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let (events, reasons, meanings, remedies) = (text(0)?, text(1)?, text(7)?, text(8)?);
    let value = |array: &arrow_array::ArrayRef, row: usize| {
        let array = array.as_string::<i32>();
        if array.is_valid(row) { array.value(row).to_owned() } else { String::new() }
    };
    Ok((0..batch.num_rows())
        .map(|row| Loss {
            trace: trace.cloned(),
            event: value(&events, row),
            reason: value(&reasons, row),
            // A reason that this programme does not know is taken as the worse one.
            loses_event: batch.column(2).is_null(row) || batch.column(2).as_boolean().value(row),
            events: number(3).value(row),
            unknown: batch.column(4).as_boolean().value(row),
            span_ns: (number(5).value(row), number(6).value(row)),
            meaning: value(&meanings, row),
            remedy: value(&remedies, row),
        })
        .collect())
}

impl Loss {
    /// One line: what, how much, when (after `start_ns`), why, remedy.
    pub fn line(&self, start_ns: i64) -> String {
        let Self { trace, event, reason, loses_event, events, unknown, span_ns, meaning, remedy } = self;
        let what = if *loses_event { "lost" } else { "incomplete" };
        let count = match (events, unknown) {
            (0, _) => "an unknown number".to_owned(),
            (known, false) => known.to_string(),
            (known, true) => format!("at least {known}, and an unknown number,"),
        };
        let (from, to) = (span_ns.0.saturating_sub(start_ns), span_ns.1.saturating_sub(start_ns));
        let (from, to) = (seconds(from), seconds(to));
        let of = of_trace(trace.as_deref());
        format!("{of}{event}: {count} {what} from {from} to {to} ({reason}: {meaning}); {remedy}")
    }

    /// Does it put an answer in doubt? Rows that came late are in their place by now, or are put there by whoever reads.
    pub fn is_doubt(&self) -> bool {
        self.reason != LATE
    }
}

/// What makes an answer uncertain.
#[derive(Debug, Default)]
pub struct Doubts {
    /// What was lost.
    pub losses: Vec<Loss>,
    /// Until when all losses of a trace are known, if not to the end.
    known_until: Vec<KnownUntil>,
    /// Ways into the events that no probe observed. They put no answer in doubt that is about what was observed.
    unobserved: Vec<String>,
}

impl Doubts {
    /// Those of an answer from `tables` about what happened up to `until_ns`.
    ///
    /// Fails if table losses cannot be read.
    pub async fn of(session: &Session, tables: &[String], until_ns: Option<i64>) -> Result<Self> {
        let mut losses = losses(session, tables, until_ns).await?;
        losses.retain(Loss::is_doubt);
        let mut known_until = session.losses_known_until();
        known_until.retain(|known| until_ns.is_none_or(|until| until > known.ns));
        let unobserved = unobserved(session, tables).await?;
        Ok(Self { losses, known_until, unobserved })
    }

    /// There are none: a recorder that is still counting is none.
    pub fn is_none(&self) -> bool {
        self.losses.is_empty() && self.known_until.iter().all(|known| known.is_live)
    }

    /// A line each, and what they make uncertain.
    pub fn lines(&self, session: &Session, doubt: &str) -> Vec<String> {
        let losses = self.losses.iter().map(|loss| format!("loss: {}", loss.line(session.start_ns())));
        let mut lines: Vec<String> = losses.collect();
        lines.extend(
            self.known_until.iter().map(|known| format!("loss: {}", known_line(known, session.start_ns()))),
        );
        lines.extend((!self.is_none()).then(|| format!("so: {doubt}")));
        lines.extend(self.unobserved.iter().map(|ways| format!("not observed: {ways}")));
        lines
    }
}

/// What is not known of losses.
pub fn known_line(known: &KnownUntil, start_ns: i64) -> String {
    let KnownUntil { trace, ns, is_live } = known;
    let of = of_trace(trace.as_deref());
    let known = seconds(ns.saturating_sub(start_ns));
    of + &match is_live {
        true => format!("counted until {known}, and the recording goes on"),
        false => {
            format!("counted until {known}; what was lost after that is not known, because the recorder died")
        }
    }
}

/// `a.trace: `; nothing if one trace is open.
pub fn of_trace(trace: Option<&str>) -> String {
    trace.map(|trace| format!("{trace}: ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_beside_what_is() {
        let loss = Loss {
            trace: None,
            event: "kmem".to_owned(),
            reason: "recursion".to_owned(),
            loses_event: true,
            events: 3,
            unknown: true,
            span_ns: (1_000_000_000, 2_500_000_000),
            meaning: "skipped".to_owned(),
            remedy: "none".to_owned(),
        };
        let text = |loss: &Loss| loss.line(1_000_000_000).split(" from").next().unwrap().to_owned();
        assert_eq!(text(&loss), "kmem: at least 3, and an unknown number, lost");
        assert_eq!(text(&Loss { events: 0, ..loss.clone() }), "kmem: an unknown number lost");
        assert_eq!(
            Loss { unknown: false, ..loss }.line(1_000_000_000),
            "kmem: 3 lost from +0.000s to +1.500s (recursion: skipped); none"
        );
    }
}
