//! Command line in, exit code out: reads the arguments ([`args`]), turns them into what is to be done ([`options`]),
//! and calls the module that does it.

pub mod args;
pub mod flight;
pub mod options;
pub mod units;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use nix::sys::stat::fstat;

use args::{Args, Command};

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
        Command::Record(record) => crate::record::run(&options::Options::new(record, &args)?),
        Command::List { glob } => crate::list::list(glob.as_deref(), &mut io::stdout().lock()),
        Command::Describe { event } => crate::list::describe(&event, &mut io::stdout().lock()),
        Command::Doctor => crate::doctor::run(&mut io::stdout().lock()),
        Command::Snapshot { trace, output } => crate::record::snapshot(&trace, output.as_deref()),
        Command::Compact { trace } => crate::record::compact(&trace),
        Command::Completions { shell } => completions(shell),
    }
}

/// Help goes to standard output and is a success; a mistake is one message and exit code 2.
fn usage(error: &clap::Error) -> Result<u8> {
    if !error.use_stderr() {
        error.print().context("cannot write to standard output")?;
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
    io::stdout().write_all(&script).context("cannot write to standard output")?;
    Ok(EXIT_OK)
}

/// One message on standard error. A terminal that went away is no reason to do anything else than without it.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "recorder: {text}");
}

/// True if the reader of our output went away, which is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_reader_gone))
}

/// True if standard output was refused because its reader has ended, or its terminal is closed.
pub fn is_reader_gone(error: &io::Error) -> bool {
    let is_device = || {
        let kind = fstat(io::stdout()).map_or(0, |stat| stat.st_mode & libc::S_IFMT);
        kind == libc::S_IFCHR
    };
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(libc::EIO) && is_device()
}
