//! A [`Request`] goes in, the answer is written, an exit code comes out.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
use arrow_array::cast::AsArray;

use crate::analysis::{self, Analysis, ParamType};
use crate::cli::{Action, Request, call};
use crate::interrupts::{Interrupts, Then};
use crate::loss::Doubts;
use crate::output::{Target, remove_unfinished};
use crate::session::{Question, Session};
use crate::{functions, params, rows, shell, summary};

/// Answered.
pub const OK: u8 = 0;
/// What losses make uncertain in a query about which nothing more is known.
const ANY_QUERY: &str =
    "rows are missing or incomplete: counts may be too small, and that something is not there proves little";
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

/// Answer `request` on `out`; remarks go to `notes`. Ctrl-C ends it, and leaves no part of a file.
///
/// Fails if a trace cannot be opened, the question is wrong, or `out` cannot be written.
pub async fn run(request: Request, out: impl Write + Send, notes: &mut dyn Write) -> Result<u8> {
    if matches!(request.action, Action::Shell(_)) {
        return answer(request, out, notes).await;
    }
    let interrupts = Interrupts::catch(Then::End { cleanup: remove_unfinished, code: INTERRUPTED })?;
    tokio::select! {
        answered = answer(request, out, notes) => answered,
        () = interrupts.next() => Err(Interrupted.into()),
    }
}

async fn answer(request: Request, out: impl Write + Send, notes: &mut dyn Write) -> Result<u8> {
    let mut out = BufWriter::new(out);
    let Request { action, target, options } = request;
    let open = |dirs: &[PathBuf], notes: &mut dyn Write| -> Result<Session> {
        let session = Session::open(dirs, &options)?;
        for warning in session.renamed().chain(session.warnings()) {
            writeln!(notes, "analyze: warning: {warning}")?;
        }
        for note in session.notes() {
            writeln!(notes, "analyze: {note}")?;
        }
        Ok(session)
    };
    match action {
        Action::List => {
            list(&mut out)?;
            out.flush()?;
            Ok(OK)
        }
        Action::Summary(dirs) => {
            let session = open(&dirs, notes)?;
            let doubt = summary::write(&session, &mut out).await?;
            out.flush()?;
            Ok(code(!doubt, &session))
        }
        Action::Sql(dirs, source) => {
            let query = source.read()?;
            let session = open(&dirs, notes)?;
            let question = session.ask(&query).await?;
            session.values().all_used()?;
            sql(&session, question, &target, &mut out, notes).await
        }
        Action::Shell(dirs) => {
            let session = open(&dirs, notes)?;
            shell::run(session, target, &mut out, notes).await
        }
        Action::Analysis(analysis, dirs, given) => {
            let session = open(&dirs, notes)?;
            analyze(analysis, &given, &session, &target, &mut out, notes).await
        }
    }
}

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
    let rows = rows::write(session, question, target, out).await?;
    let doubts = match events.is_empty() {
        // No event, no loss: an empty list would ask for those of all.
        true => Doubts::default(),
        false => Doubts::of(session, &events, None).await?,
    };
    let mut remarks = doubts.lines(session, ANY_QUERY);
    if rows == 0 {
        remarks.insert(0, "no rows".to_owned());
    }
    write_remarks(&remarks, target, out, notes)?;
    Ok(code(rows > 0 && doubts.is_none(), session))
}

fn code(good: bool, session: &Session) -> u8 {
    if good && session.warnings().next().is_none() { OK } else { DOUBT }
}

async fn analyze(
    analysis: &Analysis,
    given: &[(String, String)],
    session: &Session,
    target: &Target,
    out: &mut (impl Write + Send),
    notes: &mut dyn Write,
) -> Result<u8> {
    let mut args = Vec::new();
    let mut until_ns = None;
    for (name, text) in given {
        let Some(param) = analysis.params.iter().find(|p| p.name == *name) else { continue };
        let value = match param.ty == ParamType::Time && text != "end" {
            true => session.moment_ns(text).inspect(|ns| until_ns = Some(*ns)).map(|ns| ns.to_string()),
            false => params::literal(&param.ty, text, session.start_ns()),
        };
        let value = value.map_err(|error| error.context(format!("option --{}", param.flag)))?;
        args.push((name.clone(), value));
    }
    // As a query of its own it keeps its ORDER BY, which SQL does not promise for a table in FROM.
    let mut question = session.ask(&analysis.query(&args)?).await?;
    question.describe(analysis.columns.iter().map(|c| (c.name.as_str(), c.doc.as_str(), c.unit.as_deref())));
    let rows = rows::write(session, question, target, out).await?;
    let is_the_list = analysis.name == "losses";
    // The list is about every event.
    let tables = if is_the_list { &[] } else { &analysis.tables[..] };
    let tables: Vec<String> = tables.iter().map(|t| t.name.clone()).collect();
    let mut doubts = Doubts::of(session, &tables, until_ns).await?;
    if is_the_list {
        // The rows are the losses; what remains to be said is until when they are known.
        doubts.losses.clear();
    }
    let mut remarks = Vec::new();
    if rows == 0 {
        remarks.push("no rows".to_owned());
    }
    remarks.extend(doubts.lines(session, &analysis.loss));
    if !doubts.is_none() && !analysis.note.is_empty() {
        for batch in session.collect(&analysis.note).await? {
            let texts = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Utf8)?;
            remarks.extend(texts.as_string::<i32>().iter().flatten().map(|text| format!("so: {text}")));
        }
    }
    write_remarks(&remarks, target, out, notes)?;
    Ok(code(if is_the_list { rows == 0 } else { rows > 0 } && doubts.is_none(), session))
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

fn list(out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "Analyses: analyze NAME TRACE, in SQL NAME(PARAMETER => VALUE, ...) or, with defaults, a.NAME"
    )?;
    for analysis in analysis::all() {
        writeln!(out, "  {:18} {}", analysis.name, analysis.summary)?;
        if !analysis.params.is_empty() {
            writeln!(out, "  {:18} {}", "", call(analysis))?;
        }
    }
    writeln!(out, "\nFunctions of SQL, beside those of DataFusion")?;
    for (call, doc) in functions::docs() {
        writeln!(out, "  {call:22} {doc}")?;
    }
    writeln!(out, "\nTables: analyze TRACE lists those of a trace; these are always there")?;
    for (name, doc) in [
        ("traces", "the traces that are open: host, kernel, start_ts, end_ts"),
        ("loss_reasons", "what each reason of table losses means, and the remedy"),
        ("kmem_pairs", "kmem paired by pointer: one row per allocation, with its end (only with event kmem)"),
    ] {
        writeln!(out, "  {name:22} {doc}")?;
    }
    Ok(())
}
