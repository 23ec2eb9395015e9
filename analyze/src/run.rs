//! A [`Request`] goes in, the answer is written, an exit code comes out.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
use futures::StreamExt;

use crate::library::Library;
use crate::library::analysis::{Analysis, Answer};
use crate::library::header::ANY_LOSS;
use crate::library::params::ParamType;
use crate::loss::{Doubts, of_trace};
use crate::ordered::Operator;
use crate::output::{Format, Writer};
use crate::request::{Action, Request};
use crate::session::{Question, Session};
use crate::{functions, summary};

/// Answered.
pub const OK: u8 = 0;
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
    for broken in options.library.broken() {
        writeln!(notes, "analyze: warning: {}; the file is left out", broken.why)?;
    }
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
            list(&options.library, &mut out)?;
            out.flush()?;
            // Whoever asks what there is wants to know what is left out.
            Ok(if options.library.broken().is_empty() { OK } else { DOUBT })
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
            remarks.extend(doubts.lines(&session, ANY_LOSS));
            if rows == 0 {
                remarks.insert(0, "no rows".to_owned());
            }
            write_remarks(&remarks, format, &mut out, notes)?;
            Ok(code(rows > 0 && doubts.is_none(), &session))
        }
        Action::Analysis(analysis, dirs, given) => {
            let session = open(&dirs, notes)?;
            analyze(&analysis, &given, &session, format, &mut out, notes).await
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
    // As a query of its own it keeps its ORDER BY, which SQL does not promise for a table in FROM.
    let question = session.ask_analysis(analysis, given).await?;
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
    let rows = print(session, question, format, out).await?;
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
    let sql = question.sql.clone();
    let mut stream = session.run(question).await?;
    let mut writer = Writer::new(format, shape, &mut *out);
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| session.explain(&error, &sql))?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(rows)
}

fn list_analysis(analysis: &Analysis, out: &mut impl Write) -> Result<()> {
    writeln!(out, "  {:18} {}", analysis.name, analysis.summary)?;
    if !analysis.params.is_empty() {
        writeln!(out, "  {:18} {}", "", analysis.call())?;
    }
    Ok(())
}

fn list(library: &Library, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "Analyses: analyze NAME TRACE, in SQL NAME(PARAMETER => VALUE, ...) or, with defaults, a.NAME"
    )?;
    let (shipped, own): (Vec<_>, Vec<_>) = library.all().iter().partition(|analysis| analysis.file.is_none());
    for analysis in shipped {
        list_analysis(analysis, out)?;
    }
    if !own.is_empty() {
        writeln!(out, "\nYour own analyses")?;
    }
    for analysis in own {
        list_analysis(analysis, out)?;
        if let Some(file) = &analysis.file {
            writeln!(out, "  {:18} {}", "", file.display())?;
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
