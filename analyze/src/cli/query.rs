//! The words of `analyze sql` -> traces and where the query comes from; the options that say how rows are written.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::builder::EnumValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{common, traces};
use crate::output::{Format, Target};
use crate::request::Source;

/// `analyze sql`
pub fn sql() -> Command {
    Command::new("sql")
        .about("Run a query on one or several traces")
        .long_about(
            "Run a query on one or several traces.\n\nTables of several traces are put together and get columns trace and host. \
             `analyze list` shows analyses and functions, `SHOW TABLES` and `DESCRIBE TABLE` the tables.",
        )
        .after_help(
            "Examples:\n  \
             analyze sql run.trace 'SELECT comm, count(*) FROM mkdirs GROUP BY comm'\n  \
             analyze sql run.trace -f slow.sql --param min=5ms       $min in the file stands for 5000000\n  \
             echo 'SELECT * FROM mkdirs' | analyze sql run.trace -o mkdirs.parquet\n  \
             analyze sql run.trace --table deploys=deploys.csv \\\n    \
             'SELECT d.version, count(*) FROM mkdirs m JOIN deploys d ON m.ts >= d.at GROUP BY d.version'",
        )
        .arg(
            Arg::new("words")
                .value_names(["TRACE", "QUERY"])
                .help("Traces, then the query, unless that is in a file or on standard input; options may stand anywhere")
                .num_args(1..)
                .action(ArgAction::Append)
                .required(true)
                .value_parser(value_parser!(OsString)),
        )
        .arg(
            Arg::new("file")
                .long("file")
                .short('f')
                .value_name("FILE")
                .help("Read the query from FILE; - is standard input")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(param())
        .args(common())
}

/// `analyze shell`
pub fn shell() -> Command {
    Command::new("shell")
        .about("Ask one question after the other")
        .long_about(
            "Ask one question after the other: SQL that ends with ';', on one or several lines, and commands such as \
             \\d, which lists the tables (\\? tells all). Tab completes names. Ctrl-C cancels a query, Ctrl-D leaves.\n\n\
             What was asked is kept in $XDG_STATE_HOME/ktape/history (~/.local/state/ktape/history).",
        )
        .after_help(
            "Examples:\n  analyze shell run.trace\n  analyze shell run.trace < questions.sql        each answer in turn",
        )
        .arg(traces("Trace, or several"))
        .arg(param())
        .args(common())
}

fn param() -> Arg {
    Arg::new("param")
        .long("param")
        .value_name("NAME=VALUE")
        .help("The value of $NAME in the query: a number, a duration (5ms), a time (+1.5s, 2027-01-15T08:00:00Z) or text")
        .action(ArgAction::Append)
}

/// Options of every question: how rows are written, and tables of the user's own.
pub fn options() -> [Arg; 4] {
    [
        Arg::new("format")
            .long("format")
            .short('F')
            .help("How rows are written [default: as the ending of --output says, else table]")
            .value_parser(EnumValueParser::<Format>::new()),
        Arg::new("output")
            .long("output")
            .short('o')
            .value_name("FILE")
            .help("Write the rows to FILE, which gets its name once it is whole; its ending says the format")
            .value_parser(value_parser!(PathBuf)),
        Arg::new("table")
            .long("table")
            .value_name("NAME=FILE")
            .help("Make FILE (.csv, .tsv, .ndjson, .jsonl or .parquet) a table beside those of the trace; may be repeated")
            .help_heading("Own data")
            .action(ArgAction::Append),
        Arg::new("epoch")
            .long("epoch")
            .value_name("TABLE.COLUMN=UNIT")
            .help("A column of such a table counts s, ms, us or ns since 1970; may be repeated")
            .help_heading("Own data")
            .action(ArgAction::Append),
    ]
}

/// Where the rows go and how.
pub fn target(matches: &ArgMatches) -> Result<Target> {
    Target::new(matches.get_one("format").copied(), matches.get_one("output").cloned())
}

/// Traces and query in `matches` of [`sql`].
pub fn source(matches: &ArgMatches) -> Result<(Vec<PathBuf>, Source)> {
    let mut words: Vec<OsString> = matches.get_many("words").into_iter().flatten().cloned().collect();
    let paths = |words: Vec<OsString>| words.into_iter().map(PathBuf::from).collect();
    if let Some(file) = matches.get_one::<PathBuf>("file") {
        let source = if file == Path::new("-") { Source::Stdin } else { Source::File(file.clone()) };
        return Ok((paths(words), source));
    }
    // A query is no directory, so the last word is one or the other.
    if words.len() == 1 || words.last().is_some_and(|word| Path::new(word).is_dir()) {
        ensure!(
            !io::stdin().is_terminal(),
            "give a trace and a query: analyze sql TRACE 'SELECT ...', or ask in `analyze shell TRACE`"
        );
        return Ok((paths(words), Source::Stdin));
    }
    let Some(Ok(query)) = words.pop().map(OsString::into_string) else { bail!("the query is not UTF-8") };
    Ok((paths(words), Source::Text(query)))
}
