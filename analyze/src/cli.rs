//! Parses the command line into a [`Request`]. The subcommands of the analyses are made from their headers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

mod library;
mod order;
mod query;

use crate::library::Library;
use crate::output::Target;
use crate::request::{Action, Request};
use crate::session::Options;

const AFTER_HELP: &str = "\
Exit codes:
  0  answered
  1  answered, but there are no rows, or losses or unreadable segments make the answer uncertain
  2  error

Examples:
  analyze run.trace                                        what is in it, what to ask
  analyze listens run.trace --at +1.5s                     who listened where, 1.5 s after the start
  analyze gaps run.trace --from +2s --to +3s               the third second alone, with its own losses
  analyze sql run.trace 'SELECT * FROM leaks(top => 3)'    an analysis inside SQL
  analyze sql a.trace b.trace 'SELECT trace, count(*) FROM listens GROUP BY trace'
  analyze leaks run.trace -o leaks.csv                     into a file, in the format that its name says
  analyze shell run.trace                                  one question after the other
  analyze verify run.trace                                 is it damaged?";

/// The command line as clap knows it, with the analyses of `library`.
pub fn command(library: &Library) -> Command {
    let command = Command::new("analyze")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Answer questions about a trace with SQL")
        .after_help(AFTER_HELP)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true)
        .max_term_width(110)
        .arg(traces("Trace to summarize (a directory made by `recorder record`)"))
        .args(common())
        .subcommand(query::sql())
        .subcommand(query::shell())
        .subcommand(verify())
        .subcommand(Command::new("list").about("List analyses and functions").arg(library::option()));
    let args: Vec<Arg> = [traces("Trace, or several")].into_iter().chain(common()).collect();
    library::subcommands(command, library, &args)
}

fn traces(help: &'static str) -> Arg {
    Arg::new("trace")
        .value_name("TRACE")
        .help(help)
        .num_args(1..)
        .action(ArgAction::Append)
        .required(true)
        .value_parser(value_parser!(PathBuf))
}

/// `analyze verify`
fn verify() -> Command {
    Command::new("verify")
        .about("Read all of a trace and say whether it is as it was recorded")
        .long_about(
            "Read all of a trace and say whether it is as it was recorded: every CRC of every file that the log names, every \
             page, the number of rows of each table against what was counted, the order of its files in time, and that \
             there is no file that the log does not name.\n\nA line for each file that is damaged, missing or too much, \
             and a summary. Of a trace of format 1, which has no CRCs, it says what can be read.",
        )
        .after_help(
            "Exit codes:\n  0  as it was recorded\n  1  damaged, or files are missing\n  2  it cannot be opened\n\n\
             Examples:\n  analyze verify run.trace\n  analyze verify backup/*.trace && rm -r local/*.trace",
        )
        .arg(traces("Trace, or several"))
        .arg(threads())
}

fn threads() -> Arg {
    let help = "Threads [default: one per processor]";
    Arg::new("threads")
        .long("threads")
        .value_name("N")
        .help(help)
        .value_parser(value_parser!(u16).range(1..=1024))
}

fn common() -> impl Iterator<Item = Arg> {
    let options = Options::default();
    let how = [
        Arg::new("memory")
            .long("memory")
            .value_name("SIZE")
            .help(format!(
                "Memory for a query, such as 512M; what needs more goes on in temporary files, or ends with an error. \
                 About 200 MB for the program itself come on top \
                 [default: {}M]",
                options.memory_bytes >> 20
            )),
        threads(),
        time("from", "Only what happened from then on: +1.5s (after the start) or 2027-01-15T08:00:00Z"),
        time("to", "Only what happened before then"),
        library::option(),
    ];
    query::options().into_iter().chain(how)
}

fn time(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("TIME").help(help).help_heading("Window")
}

/// Read `words`, the first of which is the name of the programme.
///
/// Fails as clap says: also for `--help`.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let wrong = |command: &mut Command, error: anyhow::Error| {
        command.error(clap::error::ErrorKind::ValueValidation, format!("{error:#}"))
    };
    let library = match library::of(&words) {
        Ok(library) => library,
        Err(error) => return Err(wrong(&mut command(&Library::shipped()), error)),
    };
    let mut command = command(&library);
    let words = order::ordered(words, &command);
    let matches = command.try_get_matches_from_mut(words)?;
    request(&matches, library).map_err(|error| wrong(&mut command, error))
}

fn request(matches: &ArgMatches, library: Arc<Library>) -> Result<Request> {
    let (action, matches) = match matches.subcommand() {
        None => (Action::Summary(paths(matches)), matches),
        Some(("list", _)) => {
            let (target, options) = (Target::default(), Options { library, ..Options::default() });
            return Ok(Request { action: Action::List, target, options });
        }
        Some(("verify", sub)) => {
            let mut options = Options { library, ..Options::default() };
            if let Some(threads) = sub.get_one::<u16>("threads") {
                options.threads = usize::from(*threads);
            }
            return Ok(Request { action: Action::Verify(paths(sub)), target: Target::default(), options });
        }
        Some(("sql", sub)) => {
            let (traces, source) = query::source(sub)?;
            (Action::Sql(traces, source), sub)
        }
        Some(("shell", sub)) => (Action::Shell(paths(sub)), sub),
        Some((name, sub)) => {
            let Some(analysis) = library.find(name).cloned() else {
                bail!("{}", library.why_broken(name).unwrap_or("unknown command"))
            };
            let given = analysis
                .params
                .iter()
                .filter_map(|p| Some((p.name.clone(), sub.get_one::<String>(&p.name)?.clone())));
            let given = given.collect();
            (Action::Analysis(analysis, paths(sub), given), sub)
        }
    };
    let mut options = Options { library, ..Options::default() };
    if let Some(size) = matches.get_one::<String>("memory") {
        options.memory_bytes = bytes(size)?;
    }
    if let Some(threads) = matches.get_one::<u16>("threads") {
        options.threads = usize::from(*threads);
    }
    options.from = matches.get_one("from").cloned();
    options.to = matches.get_one("to").cloned();
    let texts =
        |name: &str| matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned();
    options.params = texts("param").collect();
    options.tables = texts("table").collect();
    options.epochs = texts("epoch").collect();
    Ok(Request { action, target: query::target(matches)?, options })
}

fn paths(matches: &ArgMatches) -> Vec<PathBuf> {
    matches.get_many("trace").into_iter().flatten().cloned().collect()
}

fn bytes(text: &str) -> Result<usize> {
    let wrong = || format!("--memory: '{text}' is no size: write 512M or 2G, at least 16M");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => bail!(wrong()),
    };
    let bytes = number.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift)).with_context(wrong)?;
    if bytes < 16 << 20 {
        bail!(wrong());
    }
    Ok(bytes)
}
