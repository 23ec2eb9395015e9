//! Answers questions one after the other, from a terminal or from standard input.

mod commands;
mod complete;
mod statements;

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::answer::{self, ERROR, INTERRUPTED, Interrupted, OK};
use crate::interrupts::{Interrupts, Then};
use crate::output::{Target, is_broken_pipe, remove_unfinished};
use crate::session::Session;
use crate::sql::problem::shown;
use complete::Words;
use statements::{Piece, Reader};

const PROMPT: &str = "ktape> ";
/// Files with commands do not read each other deeper than this.
const MAX_DEPTH: usize = 8;

/// What the shell keeps from one question to the next.
struct Shell<'a, W> {
    session: Session,
    /// How rows are written where no file is asked for.
    target: Target,
    /// Where the rows of the next answer go, instead.
    once: Option<Target>,
    is_timed: bool,
    interrupts: Interrupts,
    /// Of the last answer.
    code: u8,
    out: &'a mut W,
    notes: &'a mut dyn Write,
}

/// Whether the shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Ask,
    Leave,
}

/// Answer what is asked until the user leaves. From a terminal that ends well; of what is not asked there, the exit code
/// is that of the worst answer.
///
/// Fails if the terminal cannot be read, or `out` not written.
pub async fn run(
    session: Session,
    target: Target,
    out: &mut (impl Write + Send),
    notes: &mut dyn Write,
) -> Result<u8> {
    let interrupts = Interrupts::catch(Then::GoOn)?;
    let mut shell = Shell { session, target, once: None, is_timed: false, interrupts, code: OK, out, notes };
    // `-o` is for the first answer: each file has one.
    if let Some(path) = shell.target.file.take() {
        shell.once = Some(Target { format: shell.target.format, file: Some(path) });
    }
    if io::stdin().is_terminal() {
        shell.terminal().await?;
        return Ok(OK);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    shell.all(&text, 0).await
}

impl<W: Write + Send> Shell<'_, W> {
    async fn terminal(&mut self) -> Result<()> {
        let config =
            Config::builder().completion_type(CompletionType::List).history_ignore_space(true).build();
        let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Words::of(&self.session).await?));
        let history = history();
        if let Some(path) = &history {
            // There is none yet.
            let _ = editor.load_history(path);
        }
        let count = self.session.traces.len();
        let traces = if count == 1 { "1 trace is".to_owned() } else { format!("{count} traces are") };
        writeln!(
            self.out,
            "{traces} open. End a query with ';'. \\d lists tables, \\? tells more, \\q leaves."
        )?;
        loop {
            self.out.flush()?;
            let line = match editor.readline(PROMPT) {
                Ok(line) => line,
                // Ctrl-C at the prompt gives up what was being written.
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error).context("cannot read the terminal"),
            };
            if line.trim().is_empty() {
                continue;
            }
            editor.add_history_entry(line.trim_end())?;
            if let Some(path) = &history {
                // A history that cannot be kept is no reason to stop.
                let _ = editor.append_history(path);
            }
            let mut reader = Reader::default();
            for piece in line.lines().flat_map(|line| reader.line(line)).collect::<Vec<_>>() {
                if self.piece(piece, 0).await? == Next::Leave {
                    return Ok(());
                }
            }
        }
    }

    /// Answer all of `text`; the exit code is that of the worst answer.
    async fn all(&mut self, text: &str, depth: usize) -> Result<u8> {
        let mut reader = Reader::default();
        let mut pieces: Vec<Piece> = text.lines().flat_map(|line| reader.line(line)).collect();
        pieces.extend(reader.rest());
        let mut worst = OK;
        for piece in pieces {
            self.code = OK;
            let next = self.piece(piece, depth).await?;
            worst = worst.max(self.code);
            if next == Next::Leave || self.code == INTERRUPTED {
                break;
            }
        }
        Ok(worst)
    }

    async fn piece(&mut self, piece: Piece, depth: usize) -> Result<Next> {
        let done = match piece {
            Piece::Command(text) => Box::pin(self.command(&text, depth)).await,
            Piece::Query(sql) => self.query(&sql).await.map(|()| Next::Ask),
        };
        self.out.flush()?;
        match done {
            Ok(next) => Ok(next),
            Err(error) if is_broken_pipe(&error) => Err(error),
            Err(error) => {
                let is_interrupted = error.is::<Interrupted>();
                self.code = if is_interrupted { INTERRUPTED } else { ERROR };
                let text = if is_interrupted { "canceled".to_owned() } else { shown(&error) };
                writeln!(self.notes, "analyze: {text}")?;
                Ok(Next::Ask)
            }
        }
    }

    async fn query(&mut self, sql: &str) -> Result<()> {
        let start = Instant::now();
        let target = self.once.take().unwrap_or_else(|| self.target.clone());
        let answer = async {
            let question = self.session.ask(sql).await?;
            answer::sql(&self.session, question, &target, self.out, self.notes).await
        };
        let answered = tokio::select! {
            biased;
            () = self.interrupts.next() => Err(Interrupted.into()),
            code = answer => code,
        };
        if answered.is_err() {
            remove_unfinished();
        }
        self.code = answered?;
        if let Some(path) = &target.file {
            writeln!(self.out, "-- written to {}", path.display())?;
        }
        if self.is_timed {
            writeln!(self.out, "-- {:.3} s", start.elapsed().as_secs_f64())?;
        }
        Ok(())
    }
}

/// Where what was asked is kept; `None` if there is no place for it.
fn history() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let dir = state.join("ktape");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}
