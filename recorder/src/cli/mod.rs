//! Command line in, exit code out: reads the arguments ([`args`]), turns them into what is to be done ([`options`]),
//! and calls the module that does it.

pub mod args;
pub mod counting;
pub mod flight;
pub mod frames;
pub mod options;
mod output;
pub mod units;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Args, Command};
use frames::Replay;
pub use output::{is_broken_pipe, is_reader_gone, mark, output, say, show};

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// The recording ended well, but events were lost and `--fail-on-loss` was given.
pub const EXIT_LOSS: u8 = 1;
/// It could not be done.
pub const EXIT_ERROR: u8 = 2;

/// Run the command line `args` (the program's name first) and give the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<u8> {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = match Args::try_parse_from(&args) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    match parsed.command {
        Command::Record(record) => match Replay::new(&record)? {
            Some(replay) => crate::record::replay(&replay),
            None => crate::record::run(&options::Options::new(record, &args)?),
        },
        Command::List { glob } => crate::list::list(glob.as_deref(), &mut output()),
        Command::Describe { event } => crate::list::describe(&event, &mut output()),
        Command::Doctor => crate::doctor::run(&mut output()),
        Command::Snapshot { trace, output } => crate::record::snapshot(&trace, output.as_deref()),
        Command::Compact { trace } => crate::record::compact(&trace),
        Command::Completions { shell } => completions(shell),
    }
}

/// Help goes to standard output and is a success; a mistake is one message and exit code 2.
fn usage(error: &clap::Error) -> Result<u8> {
    if !error.use_stderr() {
        let text = error.render();
        match io::stdout().is_terminal() {
            true => write!(output(), "{}", text.ansi())?,
            false => write!(output(), "{text}")?,
        }
        return Ok(EXIT_OK);
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let line = lines.collect::<Vec<_>>().join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    say(format_args!("{line}; see 'recorder --help'"));
    Ok(EXIT_ERROR)
}

fn completions(shell: clap_complete::Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "recorder", &mut script);
    output().write_all(&script)?;
    Ok(EXIT_OK)
}
