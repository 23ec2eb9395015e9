//! Answers a [`Request`] and returns the exit code.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;

use crate::answer::{self, DOUBT, INTERRUPTED, Interrupted, OK, code};
use crate::interrupts::{Interrupts, Then};
use crate::library::Library;
use crate::library::analysis::Analysis;
use crate::ordered::Operator;
use crate::output::remove_unfinished;
use crate::request::{Action, Request};
use crate::session::Session;
use crate::{functions, shell, summary, verify};

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
        Action::Verify(dirs) => {
            // In a thread of its own, so that Ctrl-C need not wait for a file that takes long.
            let verified = tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                let is_sound = verify::write(&dirs, options.threads, &mut text)?;
                anyhow::Ok((is_sound, text))
            });
            let (is_sound, text) = verified.await??;
            out.write_all(&text)?;
            out.flush()?;
            Ok(if is_sound { OK } else { DOUBT })
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
            answer::sql(&session, question, &target, &mut out, notes).await
        }
        Action::Shell(dirs) => {
            let session = open(&dirs, notes)?;
            shell::run(session, target, &mut out, notes).await
        }
        Action::Analysis(analysis, dirs, given) => {
            let session = open(&dirs, notes)?;
            answer::analysis(&session, &analysis, &given, &target, &mut out, notes).await
        }
    }
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
    for (call, doc) in functions::docs() {
        writeln!(out, "  {call:22} {doc}")?;
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
