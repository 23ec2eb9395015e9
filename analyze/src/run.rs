//! A [`Request`] goes in, the answer is written, an exit code comes out.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
use arrow_array::cast::AsArray;
use futures::StreamExt;

use crate::cli::{Action, Request, call};
use crate::library::analysis::{self, Analysis, ParamType};
use crate::library::params;
use crate::loss::{Doubts, of_trace};
use crate::ordered::Operator;
use crate::output::{Format, Writer};
use crate::session::{Question, Session};
use crate::sql::errors::explain;
use crate::{functions, summary};

/// Answered.
pub const OK: u8 = 0;
/// What losses make uncertain in a query about which nothing more is known.
const ANY_QUERY: &str =
    "rows are missing or incomplete: counts may be too small, and that something is not there proves little";
/// Answered, but without rows, or in doubt because of losses or unreadable segments.
pub const DOUBT: u8 = 1;
/// Not answered.
pub const ERROR: u8 = 2;

/// Answer `request` on `out`; remarks go to `notes`.
///
/// Fails if a trace cannot be opened, the question is wrong, or `out` cannot be written.
pub async fn run(request: Request, out: impl Write, notes: &mut dyn Write) -> Result<u8> {
    let mut out = BufWriter::new(out);
    let Request { action, format, options } = request;
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
        Action::Sql(dirs, query) => {
            let session = open(&dirs, notes)?;
            let question = session.ask(&query).await?;
            let events = session.events_of(question.frame.logical_plan())?;
            let notes_of_answer = question.notes.clone();
            let rows = print(&session, question, format, &mut out).await?;
            let doubts = match events.is_empty() {
                // No event, no loss: an empty list would ask for those of all.
                true => Doubts::default(),
                false => Doubts::of(&session, &events, None).await?,
            };
            let mut remarks = notes_of_answer;
            remarks.extend(doubts.lines(&session, ANY_QUERY));
            if rows == 0 {
                remarks.insert(0, "no rows".to_owned());
            }
            write_remarks(&remarks, format, &mut out, notes)?;
            Ok(code(rows > 0 && doubts.is_none(), &session))
        }
        Action::Analysis(analysis, dirs, given) => {
            let session = open(&dirs, notes)?;
            analyze(analysis, &given, &session, format, &mut out, notes).await
        }
    }
}

fn code(good: bool, session: &Session) -> u8 {
    if good && session.warnings().next().is_none() { OK } else { DOUBT }
}

async fn analyze(
    analysis: &Analysis,
    given: &[(String, String)],
    session: &Session,
    format: Format,
    out: &mut impl Write,
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
    let question = session.ask_each(&analysis.query(&args)?).await?;
    let notes_of_answer = question.notes.clone();
    let rows = print(session, question, format, out).await?;
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
    remarks.extend(notes_of_answer);
    remarks.extend(doubts.lines(session, &analysis.loss));
    if !doubts.is_none() && !analysis.note.is_empty() {
        for (trace, batch) in session.collect_each(&analysis.note).await? {
            let of = of_trace(trace.as_deref());
            let texts = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Utf8)?;
            remarks.extend(texts.as_string::<i32>().iter().flatten().map(|text| format!("so: {of}{text}")));
        }
    }
    write_remarks(&remarks, format, out, notes)?;
    Ok(code(if is_the_list { rows == 0 } else { rows > 0 } && doubts.is_none(), session))
}

/// Below the rows for people, beside them for programs.
fn write_remarks(
    remarks: &[String],
    format: Format,
    out: &mut impl Write,
    notes: &mut dyn Write,
) -> Result<()> {
    for remark in remarks {
        let line = remark.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"");
        if format.is_for_people() { writeln!(out, "-- {line}")? } else { writeln!(notes, "analyze: {line}")? }
    }
    Ok(out.flush()?)
}

/// Write the rows of a query; how many there were.
async fn print(session: &Session, question: Question, format: Format, out: &mut impl Write) -> Result<usize> {
    let shape = question.shape();
    let mut stream = session.run(question.frame).await?;
    let mut writer = Writer::new(format, shape, &mut *out);
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| explain(e, session))?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(rows)
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
    for (name, doc) in functions::DOCS {
        writeln!(out, "  {name:22} {doc}")?;
    }
    writeln!(out, "\nOperators over rows in order of time: in SQL, as tables")?;
    for operator in Operator::ALL {
        writeln!(out, "  {}", operator.usage())?;
        writeln!(out, "  {:22} {}", "", operator.doc())?;
    }
    writeln!(out, "\nTables: analyze TRACE lists those of a trace; these are always there")?;
    for (name, doc) in [
        ("traces", "the traces that are open: host, kernel, start_ts, end_ts"),
        ("loss_reasons", "what each reason of table losses means, and the remedy"),
    ] {
        writeln!(out, "  {name:22} {doc}")?;
    }
    Ok(())
}
