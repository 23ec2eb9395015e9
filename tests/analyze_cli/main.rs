//! The `analyze` program as users meet it: its words, its exit codes, and what it makes of traces that are not well.

mod damage;
mod dead;
mod epochs;
mod errors;
mod format2;
mod formats;
mod hostile;
mod library;
mod losses;
mod names;
mod order;
mod own_tables;
mod paste;
mod query;
mod shell;
mod verify;
mod window;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Run {
    code: i32,
    out: String,
    err: String,
}

/// A directory with built fixtures, in which `analyze` runs.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn with(fixture: &[&str]) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        for name in fixture {
            fixtures::build(name, &bench.path(&format!("{name}.trace"))).unwrap();
        }
        bench
    }

    /// The same in format 1, as older recorders wrote traces.
    fn old(fixture: &[&str]) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        for name in fixture {
            fixtures::build_format1(name, &bench.path(&format!("{name}.trace"))).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_analyze"));
        // No analyses of whoever runs the tests.
        command.args(words).current_dir(self.dir.path()).env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    fn analyze(&self, words: &[&str]) -> Run {
        self.analyze_from(words, "")
    }

    /// With this on standard input.
    fn analyze_from(&self, words: &[&str], input: &str) -> Run {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever does not read it may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(self.dir.path().to_str().unwrap(), "DIR")
        };
        let code = output.status.code().unwrap_or_else(|| panic!("{words:?} died: {}", output.status));
        Run { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// It must end with code 2 and say this.
    fn refused(&self, words: &[&str], line: &str) {
        let run = self.analyze(words);
        assert_eq!((run.code, run.out.as_str(), run.err.trim_end()), (2, "", line), "{words:?}");
    }
}

#[test]
fn a_summary_tells_what_is_there_and_what_to_ask() {
    let bench = Bench::with(&["joins"]);
    let run = bench.analyze(&["joins.trace"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let expected = "\
joins.trace
  host      alpha, Linux 6.12.0-synthetic x86_64, 2 processors
  recorded  2027-01-15T08:00:00Z to 2027-01-15T08:00:00.000010Z (+0.000s)
  state     closed
  command   recorder record

  table                  rows         first         last  what
  netns_joins               6       +0.000s      +0.000s  a process enters another namespace with setns
";
    assert!(run.out.starts_with(expected), "{}", run.out);
    let next = "\
No losses: every event that the probes saw is there.

Ask next
  analyze joins joins.trace                # Which programs entered other namespaces with setns, and where they went.
  analyze sql joins.trace 'SELECT * FROM netns_joins ORDER BY ts LIMIT 20'
";
    assert!(run.out.ends_with(next), "{}", run.out);
}

#[test]
fn rows_in_each_format() {
    let bench = Bench::with(&["mkdirs"]);
    let query = "SELECT comm, mode, ret, ts FROM mkdirs WHERE ret < -10 ORDER BY ts LIMIT 2";
    let rows = |format: &str| bench.analyze(&["sql", "mkdirs.trace", query, "-F", format]).out;
    let table = "\
comm    mode  ret  ts
mkdir  0x1ff  -17  2027-01-15T08:00:00.000000450Z
mkdir  0x1ff  -13  2027-01-15T08:00:00.000000600Z
";
    assert_eq!(rows("table"), table);
    let csv = "\
comm,mode,ret,ts
mkdir,511,-17,2027-01-15T08:00:00.000000450Z
mkdir,511,-13,2027-01-15T08:00:00.000000600Z
";
    assert_eq!(rows("csv"), csv);
    let first = r#"{"comm":"mkdir","mode":511,"ret":-17,"ts":"2027-01-15T08:00:00.000000450Z"}"#;
    let second = r#"{"comm":"mkdir","mode":511,"ret":-13,"ts":"2027-01-15T08:00:00.000000600Z"}"#;
    assert_eq!(rows("ndjson"), format!("{first}\n{second}\n"));
    assert_eq!(rows("json"), format!("[{first},{second}]\n"));
}

#[test]
fn no_rows_is_exit_code_1_and_each_format_stays_well_formed() {
    let bench = Bench::with(&["open_empty"]);
    let rows = |format: &str| {
        let run = bench.analyze(&["sql", "open_empty.trace", "SELECT comm, ret FROM mkdirs", "-F", format]);
        assert_eq!(run.code, 1);
        run.out
    };
    let known = "counted until +0.000s; what was lost after that is not known, because the recorder died";
    let table = rows("table");
    assert!(table.starts_with(&format!("comm  ret\n-- no rows\n-- loss: {known}\n-- so: ")), "{table}");
    assert_eq!(rows("csv"), "comm,ret\n");
    assert_eq!(rows("json"), "[]\n");
    assert_eq!(rows("ndjson"), "");
    let run = bench.analyze(&["listens", "open_empty.trace"]);
    assert_eq!((run.code, run.out.lines().nth(1)), (1, Some("-- no rows")));
    let page = bench.analyze(&["open_empty.trace"]);
    assert!(page.out.contains("open: the recorder died, up to a second may be missing"), "{}", page.out);
    assert!(page.out.contains(&format!("\nNo losses {known}\n")), "{}", page.out);
    assert_eq!(page.code, 1);
    // Whoever holds the directory is the recorder.
    let dir = fs::File::open(bench.path("open_empty.trace")).unwrap();
    dir.lock().unwrap();
    let page = bench.analyze(&["open_empty.trace"]);
    assert!(page.out.contains("state     open: being recorded\n"), "{}", page.out);
    assert!(
        page.out.contains("No losses counted until +0.000s, and the recording goes on\n"),
        "{}",
        page.out
    );
    assert_eq!(page.code, 0);
}

#[test]
fn parameters_are_options_with_units() {
    let bench = Bench::with(&["packets", "listens"]);
    let run =
        bench.analyze(&["bursts", "packets.trace", "--threshold", "100.001us", "--count", "10", "-F", "csv"]);
    assert_eq!(run.code, 0);
    assert!(run.out.contains(",24,24,960,14,"), "{}", run.out);
    let at = |time: &str| {
        bench.analyze(&["listens", "listens.trace", "--at", time, "-F", "csv"]).out.lines().count() - 1
    };
    assert_eq!((at("+7ns"), at("2027-01-15T08:00:00.000003Z"), at("end")), (1, 3, 3));
    let run = bench.analyze(&["listens", "listens.trace", "--at", "noon"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err.starts_with("analyze: option --at: 'noon' is no time: write +1.5s (after the start)"),
        "{}",
        run.err
    );
    let run = bench.analyze(&["leaks", "listens.trace", "--by", "color"]);
    assert!(run.code == 2 && run.err.contains("[possible values: call_site, stack]"), "{}", run.err);
}

#[test]
fn rows_of_an_analysis_come_in_its_order() {
    let bench = Bench::with(&["kmem"]);
    let run = bench.analyze(&["leak_classes", "kmem.trace", "-F", "csv"]);
    let classes: Vec<&str> = run.out.lines().skip(1).filter_map(|l| l.split(',').next()).collect();
    assert_eq!(classes, ["before_recording", "begin_missed", "end_missed", "outstanding", "paired"]);
}

#[test]
fn errors_are_one_line_with_the_remedy() {
    let bench = Bench::with(&["listens", "newer"]);
    fs::create_dir(bench.path("empty")).unwrap();
    fs::write(bench.path("file"), "x").unwrap();
    bench.refused(
        &["nothing"],
        "analyze: cannot open trace 'nothing': No such file or directory (os error 2)",
    );
    bench.refused(&["file"], "analyze: 'file' is not a trace: a trace is a directory");
    bench.refused(
        &["empty"],
        "analyze: 'empty' is not a trace: it has no trace.json; `recorder record -o DIR` makes one",
    );
    bench.refused(
        &["newer.trace"],
        "analyze: newer.trace/trace.json has format version 99, this program knows up to 2: use a newer one",
    );
    bench.refused(
        &["sql", "listens.trace", ""],
        "analyze: the query is empty: try \"SHOW TABLES\" or \"SELECT * FROM listens LIMIT 10\"",
    );
    let run = bench.analyze(&["leaks", "listens.trace"]);
    assert!(
        run.err
            .starts_with("analyze: event 'kmem' is not in this trace: record it with `recorder record kmem`"),
        "{}",
        run.err
    );
    let run = bench.analyze(&["sql", "listens.trace", "SELECT 1", "--memory", "lots"]);
    assert!(
        run.code == 2 && run.err.contains("--memory: 'lots' is no size: write 512M or 2G"),
        "{}",
        run.err
    );
}

#[test]
fn help_names_every_analysis_and_the_exit_codes() {
    let bench = Bench::with(&[]);
    let run = bench.analyze(&["--help"]);
    assert_eq!(run.code, 0);
    for analysis in analyze::library::Library::shipped().all() {
        assert!(run.out.contains(&format!("\n  {} ", analysis.name)), "{}", run.out);
    }
    assert!(
        run.out.contains("1  answered, but there are no rows, or losses or unreadable segments"),
        "{}",
        run.out
    );
    let run = bench.analyze(&["bursts", "--help"]);
    assert!(
        run.out.contains("--threshold <DURATION>") && run.out.contains("[default: 100us]"),
        "{}",
        run.out
    );
    assert!(
        run.out.contains("SELECT * FROM bursts(threshold_ns => 100000, count => 10, by => 'all')"),
        "{}",
        run.out
    );
    let run = bench.analyze(&["list"]);
    assert!(run.code == 0 && run.out.contains("stack_text(stack_id)"), "{}", run.out);
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let bench = Bench::with(&["gaps"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_analyze"))
        .args(["sql", "gaps.trace", "SELECT a.ts FROM packets a CROSS JOIN packets b", "-F", "csv"])
        .current_dir(bench.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn text_in_a_trace_cannot_steer_the_terminal() {
    let bench = Bench::with(&["mkdirs"]);
    let run =
        bench.analyze(&["sql", "mkdirs.trace", "SELECT comm || chr(27) || '[2J' AS x FROM mkdirs LIMIT 1"]);
    assert_eq!(run.out, "x\nmkdir\\u{1b}[2J\n");
}

#[test]
fn a_sort_larger_than_memory_spills() {
    let bench = Bench::with(&["gaps"]);
    let query = "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY a.ts * 7 % 1013, b.ts) AS n, a.ts AS x, b.ts AS y
                 FROM (SELECT ns(ts) AS ts FROM packets) a CROSS JOIN (SELECT ns(ts) AS ts FROM packets) b) WHERE n > x - y";
    let run = bench.analyze(&["sql", "gaps.trace", query, "--memory", "24M", "--threads", "2"]);
    assert_eq!(run.code, 0, "{}", run.err);
}

#[test]
fn an_unreadable_segment_of_format_1_is_left_out_with_a_warning() {
    let bench = Bench::old(&["gaps"]);
    let second = bench.path("gaps.trace/packets/000001.parquet");
    fs::write(&second, "no Parquet").unwrap();
    let run = bench.analyze(&["sql", "gaps.trace", "SELECT count(*) AS n FROM packets", "-F", "csv"]);
    assert_eq!((run.code, run.out.as_str()), (1, "n\n601\n"));
    assert!(
        run.err.starts_with(
            "analyze: warning: gaps.trace/packets/000001.parquet: damaged or not a Parquet file"
        ),
        "{}",
        run.err
    );
    assert_eq!(run.err.lines().count(), 1);
    // A segment of another table is no better.
    fs::copy(bench.path("gaps.trace/packets/000000.parquet"), &second).unwrap();
    fs::create_dir_all(bench.path("gaps.trace/losses")).unwrap();
    fs::copy(&second, bench.path("gaps.trace/losses/000000.parquet")).unwrap();
    fs::remove_file(&second).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &second).unwrap();
    let run = bench.analyze(&["sql", "gaps.trace", "SELECT count(*) AS n FROM packets", "-F", "csv"]);
    assert!(run.err.contains("packets/000001.parquet: not a regular file"), "{}", run.err);
}

#[test]
fn damage_within_a_segment_of_format_1_names_the_file() {
    let bench = Bench::old(&["gaps"]);
    let path = bench.path("gaps.trace/packets/000001.parquet");
    let mut bytes = fs::read(&path).unwrap();
    // The first pages, after the magic number.
    bytes[4..200].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let run = bench.analyze(&["sql", "gaps.trace", "SELECT min(ns(ts) % 7) FROM packets"]);
    assert_eq!(run.code, 2);
    let (start, end) = (
        "analyze: DIR/gaps.trace/packets/000001.parquet is damaged: ",
        "; move it out of the trace to ask the rest\n",
    );
    assert!(run.err.starts_with(start) && run.err.ends_with(end), "{}", run.err);
}

#[test]
fn names_in_trace_json_cannot_lead_out_of_the_trace() {
    let bench = Bench::old(&["mkdirs"]);
    let path = bench.path("mkdirs.trace/trace.json");
    let text = fs::read_to_string(&path).unwrap();
    for name in ["../../etc", "/etc", "", ".", "a\\u001bb", "MKDIRS\\\" --", "a b"] {
        fs::write(&path, text.replace("\"event\": \"mkdirs\"", &format!("\"event\": \"{name}\""))).unwrap();
        let run = bench.analyze(&["mkdirs.trace"]);
        assert!(
            run.code == 2 && run.err.contains("no recorder writes this: event name '"),
            "{name}: {} {}",
            run.code,
            run.err
        );
    }
    let long = "a".repeat(10 << 20);
    fs::write(&path, text.replace("\"event\": \"mkdirs\"", &format!("\"event\": \"{long}\""))).unwrap();
    let run = bench.analyze(&["mkdirs.trace"]);
    assert!(
        run.code == 2 && run.err.contains("has 10485760 bytes") && run.err.len() < 1000,
        "{}",
        run.err.len()
    );
    fs::write(&path, text.replace("\"name\": \"path\"", "\"name\": \"../path\"")).unwrap();
    let run = bench.analyze(&["mkdirs.trace"]);
    assert!(run.code == 2 && run.err.contains("column name '../path' has other characters"), "{}", run.err);
    fs::write(&path, vec![b' '; (16 << 20) + 1]).unwrap();
    let run = bench.analyze(&["mkdirs.trace"]);
    assert!(run.code == 2 && run.err.contains("16777217 bytes is too large"), "{}", run.err);
}
