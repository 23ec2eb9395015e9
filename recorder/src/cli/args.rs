//! The command line as typed: words in, typed arguments out, and the help text. Nothing here looks at the machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use super::counting::Counting;
use super::flight::Flight;
use super::frames::Frames;
use super::units;

/// Record Linux kernel events into a directory of Parquet files.
#[derive(Debug, Parser)]
#[command(name = "recorder", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  recorder doctor                                  what can be recorded here
  recorder record listens -d 60                    who starts to listen, for a minute
  recorder record mkdirs -- make                   what a command and its children do
  recorder list '*mkdir*'                          what there is to record
'recorder SUBCOMMAND --help' has more.

Exit codes: 0 done; 1 recorded, but events were lost and --fail-on-loss was given; 2 could not be done.
With a COMMAND that failed, 'recorder record' exits as the command did (128 + signal if a signal ended it).")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record events until Ctrl-C, for a time, or while a command runs
    Record(Box<Record>),
    /// List events, and the tracepoints and functions that can be probed
    #[command(after_help = "\
Examples:
  recorder list                                    the built-in events
  recorder list '*mkdir*'                          also tracepoints and functions whose names match
  recorder list 'tp:sock:*'                        the tracepoints of a category
  recorder list 'fn:tcp_*'                         functions
  recorder list 'profile:*'                        rates at which the processors can be sampled
  recorder list '*cache*'                          among others hardware:cache-misses:COUNT
  recorder list 'uprobe:libc:pthread_*'            functions of a program or library
  recorder list 'usdt:/usr/bin/python3:*'          probes that it has built in")]
    List {
        /// Only names that match, such as 'sched*' or '*mkdir*'; without it only the built-in events
        glob: Option<String>,
    },
    /// Show what an event records, and how on this kernel
    #[command(after_help = "\
Examples:
  recorder describe listens                        columns, types, and where they come from
  recorder describe 'mk*'                          several events
  recorder describe 'syscall:openat{ filename:ustring, retval }'
  recorder describe ./my-event.toml")]
    Describe {
        /// Built-in event, TOML file, or inline probe
        event: String,
    },
    /// Say what this kernel and these privileges allow, and what to do about the rest
    #[command(after_help = "\
Examples:
  recorder doctor                                  as the user who is going to record
It attaches every probe for a moment and records nothing. Exit codes: 0 something can be recorded; 2 nothing can.")]
    Doctor,
    /// Keep what a running recording holds now as a closed trace, while it goes on
    #[command(after_help = "\
Examples:
  recorder snapshot flight.trace                   into flight-snapshot-TIME.trace, whose name it prints
  recorder snapshot flight.trace -o before-the-crash.trace")]
    Snapshot {
        /// The trace being recorded
        trace: PathBuf,

        /// Name of the snapshot; it must not exist yet [default: TRACE-snapshot-TIME.trace beside it]
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Tidy up a trace: mark one whose recorder died as recovered, merge small segments
    #[command(after_help = "\
Examples:
  recorder compact crashed.trace                   after kill -9, a power failure, or a disk that was full
A signal ends it; the trace stays right, and the next 'recorder compact' goes on.")]
    Compact {
        /// The trace directory
        trace: PathBuf,
    },
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  recorder completions bash                        save it where bash looks for completions")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `recorder record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recorder record listens -d 60                        who starts to listen, for a minute
  recorder record mkdirs switches -- make              a command with its children; exits as it does
  recorder record 'net*' -o joins.trace                events by pattern, until Ctrl-C
  recorder record packets --netns web --print          one network namespace, shown as it happens
  recorder record kmem --stacks kernel -p 4711         a running process, with kernel stacks
  recorder record 'tp:writeback:writeback_dirty_folio' --explain
  recorder record 'big=fn:vfs_read{ count, retval } if retval > 4096' -d 5
  recorder record 'mkdirs if ret < 0' 'syscalls if nr == 74'    only rows that meet a condition
  recorder record switches --count prev_comm -d 10     a million a second, counted in the kernel: a row for each name
  recorder record mkdirs 'packets --count proto --sum len_bytes'    of several events, one is counted
  recorder record ./my-event.toml --print=ndjson -o none
  recorder record mkdirs --print=ndjson:made.json -- make    events apart from what make writes
  recorder record listens switches --max-age 10m --max-size 2GiB --trigger 'listens: port == 4444'
                                                       keep the last ten minutes, and a copy when it happens
  recorder record kmem -d 5 --keep-frames kmem.frames  keep also what came out of the kernel
  recorder record --from-frames kmem.frames -o again.trace   make the trace again, without a kernel or rights

Ctrl-C, SIGTERM and SIGHUP end the recording well and reach the command; a second one does not wait for it,
a third ends at once, as Ctrl-\\ does. The death of the parent changes nothing.
Under sudo the command runs as root, and the trace is written as you. See docs/running.md.")]
pub struct Record {
    /// Built-in event ('recorder list'; patterns allowed) or TOML file, both also as 'EVENT if condition', or inline probe
    /// 'NAME=KIND:TARGET{ field, name=expr:type } if condition'; any of them also with --count, --sum and --hist, in quotes
    #[arg(value_name = "EVENT")]
    pub events: Vec<String>,

    /// Run this command, record what it and its children do, and end when it ends
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// Where the trace goes; it must not exist yet. 'none' writes no trace, for use with --print
    /// [default: EVENT-TIME.trace in the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// End after this time: 10 (seconds), 500ms, 2m, 1h. A COMMAND that still runs gets SIGTERM
    #[arg(short, long, value_parser = units::duration)]
    pub duration: Option<Duration>,

    /// Show events as they happen: as text or ndjson, on standard output, where what COMMAND writes comes in between, or
    /// in PATH: a new file, a pipe, or /dev/fd/N for descriptor N [text without a value]
    #[arg(
        long,
        value_name = "FORMAT[:PATH]",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        value_parser = Print::parse
    )]
    pub print: Option<Print>,

    #[command(flatten)]
    pub filter: Filter,

    #[command(flatten)]
    pub tuning: Tuning,

    #[command(flatten)]
    pub counting: Counting,

    #[command(flatten)]
    pub flight: Flight,

    #[command(flatten)]
    pub frames: Frames,
}

/// What is recorded of the events.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Filters (decided in the kernel; all given ones must hold)")]
pub struct Filter {
    /// Only this process and its descendants, those there are and those to come (repeatable)
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,

    /// Only threads of this name, at most 15 bytes (repeatable)
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,

    /// Only this network namespace: its inode, a path, a name in /run/netns, or a process in it (repeatable)
    #[arg(long, value_name = "INODE|PATH|NAME|PID")]
    pub netns: Vec<String>,

    /// Only this cgroup (v2) and the ones below it: a path or an id (repeatable)
    #[arg(long, value_name = "PATH|ID")]
    pub cgroup: Vec<String>,

    /// Of what passes, only every Nth event, per probe and processor; column weight is N, and the rest counts as
    /// lost, 'sampled'
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: Option<u32>,
}

/// How it is recorded.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recording")]
pub struct Tuning {
    /// Record the event that this TOML file defines (repeatable); the same as giving its path as EVENT
    #[arg(long = "events", value_name = "FILE.toml")]
    pub files: Vec<PathBuf>,

    /// Record the stack of every event
    #[arg(long, value_name = "WHICH")]
    pub stacks: Option<StackKind>,

    /// Memory for all ring buffers together, such as 64M: one per probe and processor, a power of two from 64K to 64M
    /// each, so that many probes take more. Up to 208M of other buffers come on top while writing is behind
    /// (docs/architecture.md)
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = units::size)]
    pub buffer_size: u64,

    /// Events are on disk at most this long after they happened
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    pub segment_age: Duration,

    /// Fail if any part of an event cannot be observed here, instead of recording the rest
    #[arg(long)]
    pub require: bool,

    /// Exit with 1 if events were lost; a COMMAND that failed goes before that
    #[arg(long)]
    pub fail_on_loss: bool,

    /// Show types, offsets and mechanisms of the events as this kernel has them, and record nothing
    #[arg(long)]
    pub explain: bool,
}

/// Value of `--print`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// What events look like.
    pub format: PrintFormat,
    /// Where they go; standard output without it.
    pub place: Option<PathBuf>,
}

impl Print {
    /// Read `FORMAT` or `FORMAT:PATH`; `-` is standard output.
    fn parse(text: &str) -> Result<Self, String> {
        let (format, place) = match text.split_once(':') {
            Some((_, "")) => return Err("the path behind ':' is missing".to_owned()),
            Some((format, place)) => (format, Some(place)),
            None => (text, None),
        };
        let known = PrintFormat::value_variants();
        let names = || known.iter().filter_map(ValueEnum::to_possible_value);
        let Some(i) = names().position(|name| name.get_name() == format) else {
            let names: Vec<String> = names().map(|name| name.get_name().to_owned()).collect();
            return Err(format!(
                "there is no format '{format}': use one of {}, or FORMAT:PATH",
                names.join(", ")
            ));
        };
        Ok(Self { format: known[i], place: place.filter(|place| *place != "-").map(PathBuf::from) })
    }
}

/// Format of `--print`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrintFormat {
    /// One aligned line per event
    Text,
    /// One JSON object per event
    Ndjson,
}

/// Which stacks `--stacks` records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StackKind {
    /// Where in the kernel
    Kernel,
    /// Where in the program
    User,
    /// Both
    Both,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn print_takes_its_format_only_behind_an_equals_sign() {
        let args = Args::try_parse_from(["recorder", "record", "--print", "mkdirs"]).unwrap();
        let Command::Record(record) = args.command else { panic!("not record: {args:?}") };
        assert_eq!(record.print, Some(Print { format: PrintFormat::Text, place: None }));
        assert_eq!(record.events, ["mkdirs"]);
    }

    #[test]
    fn print_can_name_a_place() {
        let print = |text| Print::parse(text).unwrap();
        assert_eq!(print("ndjson:a:b").place.unwrap(), Path::new("a:b"));
        assert_eq!((print("text:-").format, print("text:-").place), (PrintFormat::Text, None));
        assert_eq!(print("ndjson:/dev/fd/3").format, PrintFormat::Ndjson);
        assert!(Print::parse("xml:f").unwrap_err().contains("text, ndjson"));
        assert!(Print::parse("text:").unwrap_err().contains("missing"));
    }

    #[test]
    fn everything_behind_two_dashes_is_the_command() {
        let args = Args::try_parse_from(["recorder", "record", "mkdirs", "--", "sh", "-c", "true"]).unwrap();
        let Command::Record(record) = args.command else { panic!("not record: {args:?}") };
        assert_eq!(record.command, ["sh", "-c", "true"]);
    }
}
