//! Answers a question: writes its rows and, below them, what the user should know about them; returns the exit code.

use std::io::Write;

use anyhow::Result;

use crate::library::analysis::{Analysis, Answer};
use crate::library::header::ANY_LOSS;
use crate::library::params::ParamType;
use crate::loss::{Doubts, of_trace};
use crate::output::Target;
use crate::rows;
use crate::session::{Question, Session};

/// Answered.
pub const OK: u8 = 0;
/// Answered, but without rows, or in doubt because of losses or unreadable segments.
pub const DOUBT: u8 = 1;
/// Not answered.
pub const ERROR: u8 = 2;
/// Ended by Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Ctrl-C, as an error.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Answer `question`, with what the losses make uncertain.
///
/// Fails if the query does, or the rows cannot be written.
pub async fn sql(
    session: &Session,
    question: Question,
    target: &Target,
    out: &mut (impl Write + Send),
    notes: &mut dyn Write,
) -> Result<u8> {
    let events = session.events_of(question.frame.logical_plan())?;
    let mut remarks = question.notes.clone();
    let rows = rows::write(session, question, target, out).await?;
    let doubts = match events.is_empty() {
        // No event, no loss: an empty list would ask for those of all.
        true => Doubts::default(),
        false => Doubts::of(session, &events, None).await?,
    };
    remarks.extend(doubts.lines(session, ANY_LOSS));
    if rows == 0 {
        remarks.insert(0, "no rows".to_owned());
    }
    write_remarks(&remarks, target, out, notes)?;
    Ok(code(rows > 0 && doubts.is_none(), session))
}

/// Answer `analysis` with these values of parameters, with what the losses make uncertain.
///
/// Fails as [`Session::ask_analysis`] does, or if the rows cannot be written.
pub async fn analysis(
    session: &Session,
    analysis: &Analysis,
    given: &[(String, String)],
    target: &Target,
    out: &mut (impl Write + Send),
    notes: &mut dyn Write,
) -> Result<u8> {
    // As a query of its own it keeps its ORDER BY, which SQL does not promise for a table in FROM.
    let mut question = session.ask_analysis(analysis, given).await?;
    question.describe(analysis.columns.iter().map(|c| (c.name.as_str(), c.doc.as_str(), c.unit.as_deref())));
    let is_time = |name: &str| analysis.param(name).is_some_and(|param| param.ty == ParamType::Time);
    let until = given.iter().find(|(name, text)| is_time(name) && text != "end");
    let until_ns = until.map(|(_, text)| session.moment_ns(text)).transpose()?;
    let is_the_list = analysis.answer == Answer::Losses;
    let tables: Vec<String> = match (is_the_list, analysis.tables.as_slice()) {
        // The list is about every event.
        (true, _) => Vec::new(),
        (false, []) => session.events_of(question.frame.logical_plan())?,
        (false, tables) => tables.iter().map(|table| table.name.clone()).collect(),
    };
    let notes_of_answer = question.notes.clone();
    let rows = rows::write(session, question, target, out).await?;
    let mut doubts = match tables.is_empty() && !is_the_list {
        // No event, no loss: an empty list would ask for those of all.
        true => Doubts::default(),
        false => Doubts::of(session, &tables, until_ns).await?,
    };
    if is_the_list {
        // The rows are the losses; what remains to be said is until when they are known.
        doubts.losses.clear();
    }
    let mut remarks = Vec::new();
    if rows == 0 {
        remarks.push("no rows".to_owned());
    }
    remarks.extend(notes_of_answer);
    remarks.extend(doubts.lines(session, &analysis.loss));
    if !doubts.is_none() {
        let notes = session.note_of(analysis, given).await?;
        remarks.extend(
            notes.into_iter().map(|(trace, text)| format!("so: {}{text}", of_trace(trace.as_deref()))),
        );
    }
    write_remarks(&remarks, target, out, notes)?;
    Ok(code(if is_the_list { rows == 0 } else { rows > 0 } && doubts.is_none(), session))
}

/// The exit code of an answer that is `good`, if all segments could be read.
pub fn code(good: bool, session: &Session) -> u8 {
    if good && session.warnings().next().is_none() { OK } else { DOUBT }
}

/// Below the rows for people, beside them for programs.
fn write_remarks(
    remarks: &[String],
    target: &Target,
    out: &mut impl Write,
    notes: &mut dyn Write,
) -> Result<()> {
    for remark in remarks {
        let line = remark.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"");
        if target.has_remarks() { writeln!(out, "-- {line}")? } else { writeln!(notes, "analyze: {line}")? }
    }
    Ok(out.flush()?)
}
