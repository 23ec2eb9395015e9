//! Answers the classic tools' questions from recordings made in a place.
//!
//! `tools/NAME.sh` records a workload into `NAME.trace` and writes what is true of it into CSV files. Each statement of
//! `tools/NAME.sql` is asked of that recording, with the CSV files as tables, and must give no row. The commands that
//! docs/from-bcc.md names for a tool are tried too: recording with `--explain`, asking with the recording at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use xtask::host;

/// What the tool's commands call the trace.
const ANY_TRACE: &str = "x.trace";

/// A script and its questions.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub script: String,
    questions: String,
}

/// How a classic tool's question is answered.
struct Tool {
    name: String,
    record: String,
    ask: String,
}

impl Case {
    /// All of them, by name.
    ///
    /// # Panics
    /// If a file cannot be read.
    pub fn all() -> Vec<Self> {
        let text = |path: &Path| {
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let scripts = files(&host::repo().join("tests/kernel/tools"), "sh");
        let case = |path: PathBuf| Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            script: text(&path),
            questions: text(&path.with_extension("sql")),
        };
        scripts.into_iter().map(case).collect()
    }

    /// Whether it can be recorded without probes of kernel functions, and only what it starts itself.
    pub fn is_native(&self) -> bool {
        self.remark("# native").is_some()
    }

    /// Programs of this machine that the script needs.
    pub fn with(&self) -> Vec<String> {
        let names = self.remark("# with:").unwrap_or_default();
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Programs that the script needs and that are compiled here, of `recorder/tests/cli/programs`.
    pub fn compiled(&self) -> Vec<String> {
        let names = self.remark("# compiled:").unwrap_or_default();
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Where else in a guest the program that is compiled for the script is, because commands of the page name it there.
    pub fn installed_as(&self) -> Vec<String> {
        let paths = self.remark("# installed as:").unwrap_or_default();
        paths.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect()
    }

    /// Size of the disk that it needs: `/dev/vda` with an ext4 in it, in guests only.
    pub fn disk_mib(&self) -> Option<u64> {
        let size = self.remark("# disk:")?;
        Some(size.trim().parse().unwrap_or_else(|error| panic!("{}.sh: '# disk:{size}': {error}", self.name)))
    }

    fn remark(&self, start: &str) -> Option<&str> {
        self.script.lines().take_while(|line| line.starts_with('#')).find_map(|line| line.strip_prefix(start))
    }

    /// The classic tools that it shows.
    fn tools(&self) -> Vec<&str> {
        let named = self.questions.lines().filter_map(|line| line.strip_prefix("-- @tests "));
        named.flat_map(|names| names.split(',')).map(str::trim).collect()
    }

    /// Ask everything of what the script left in `dir`. In a guest each command of a tool has an answer; elsewhere probes of
    /// functions are missing, and the processes of others.
    pub fn judge(&self, dir: &Path, is_guest: bool) -> Result<()> {
        let said = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        let story = || format!("{}\n{}", said("script.log"), said(&format!("{}.log", self.name)));
        ensure!(said("code").trim() == "0", "the script failed: {}", story());
        let trace = dir.join(format!("{}.trace", self.name));
        let statements = statements(&self.questions);
        ensure!(!statements.is_empty(), "{}.sql asks nothing", self.name);
        for (what, sql) in statements {
            let mut analyze = Command::new(host::built("analyze")?);
            analyze.args(["sql", "--format", "ndjson"]).arg(&trace).arg(sql);
            for csv in files(dir, "csv") {
                let name = csv.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                analyze.arg("--table").arg(format!("{name}={}", csv.display()));
            }
            let output = analyze.output().context("cannot run analyze")?;
            let rows = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code().is_some_and(|code| code < 2), "{what}: {errors}\n{}", story());
            ensure!(rows.trim().is_empty(), "not true: {what}\n{rows}{errors}\n{}", story());
        }
        let known = known_tools()?;
        let shown = self.tools();
        for name in &shown {
            ensure!(known.iter().any(|tool| tool.name == *name), "no analysis has '@tool {name}: ...'");
        }
        for tool in known.iter().filter(|tool| shown.contains(&tool.name.as_str())) {
            let ask = tool.ask.replace(ANY_TRACE, &trace.display().to_string()) + " --format ndjson";
            let analyze = host::built("analyze")?;
            let path = format!("{}:/usr/bin:/bin", analyze.parent().unwrap_or(Path::new("/")).display());
            let output = Command::new("sh").args(["-c", &ask]).env("PATH", path).output()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code().is_some_and(|code| code < 2), "{}: {errors}", tool.ask);
            ensure!(!output.stdout.is_empty() || !is_guest, "{} has no answer: {errors}", tool.ask);
        }
        Ok(())
    }
}

/// Compile what the cases need into `dir`, so that it needs nothing else where it runs. Each program, and where it is to be
/// in a guest.
pub fn compile(dir: &Path) -> Result<Vec<(PathBuf, Vec<String>)>> {
    let sources = host::repo().join("recorder/tests/cli/programs");
    let mut made = Vec::new();
    for (case, name) in
        Case::all().iter().flat_map(|case| case.compiled().into_iter().map(move |name| (case, name)))
    {
        let program = dir.join(&name);
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-g0", "-static", "-fno-omit-frame-pointer", "-o"]).arg(&program);
        let output = cc.arg(sources.join(&name).with_extension("c")).output().context("cannot run cc")?;
        ensure!(output.status.success(), "cc {name}: {}", String::from_utf8_lossy(&output.stderr));
        let mut paths = case.installed_as();
        paths.push(format!("/usr/bin/{name}"));
        made.push((program, paths));
    }
    Ok(made)
}

/// A script that tries in a guest whether the command that records for each tool is possible there; it writes the ones
/// that are not, one to a line, into `impossible`.
pub fn try_to_record() -> Result<String> {
    let mut script = String::from(": >impossible\n");
    for Tool { name, record, .. } in known_tools()? {
        let Some(rest) = record.strip_prefix("recorder record ") else {
            bail!("@tool {name}: '{record}' does not begin with 'recorder record'");
        };
        script += &format!(
            "recorder record --explain {rest} >explained 2>&1 || {{ echo '{name}:'; cat explained; }} >>impossible\n"
        );
    }
    Ok(script)
}

/// Every tool of the page is shown by a case, and can be recorded in the place that left `dir`.
pub fn judge_commands(dir: &Path) -> Result<()> {
    let impossible = fs::read_to_string(dir.join("impossible")).context("nothing was tried")?;
    ensure!(impossible.is_empty(), "cannot be recorded here: {impossible}");
    let cases = Case::all();
    let shown: Vec<&str> = cases.iter().flat_map(Case::tools).collect();
    let known = known_tools()?;
    let names = known.iter().map(|tool| tool.name.as_str());
    let not_shown: Vec<_> = names.filter(|name| !shown.contains(name)).collect();
    ensure!(not_shown.is_empty(), "no file of tests/kernel/tools has '-- @tests' for {not_shown:?}");
    Ok(())
}

/// From the headers of the analyses, and of the questions where an event and a query of their own answer it.
fn known_tools() -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    let repo = host::repo();
    for file in
        [files(&repo.join("analyze/sql"), "sql"), files(&repo.join("tests/kernel/tools"), "sql")].concat()
    {
        let text = fs::read_to_string(&file)?;
        for line in text.lines().filter_map(|line| line.strip_prefix("-- @tool ")) {
            let parts = line.split_once(": ").and_then(|(name, rest)| {
                let mut commands = rest.split(" | ").skip(1).map(str::to_owned);
                Some((name, commands.next()?, commands.next()?))
            });
            let (name, record, ask) = parts.with_context(|| format!("{}: @tool {line}", file.display()))?;
            tools.push(Tool { name: name.to_owned(), record, ask });
        }
    }
    Ok(tools)
}

/// What each statement says, and its SQL. The lines right above it say it.
fn statements(text: &str) -> Vec<(String, String)> {
    let mut statements = Vec::new();
    let (mut says, mut sql) = (String::new(), String::new());
    for line in text.lines() {
        match line.strip_prefix("--") {
            _ if line.trim().is_empty() => says.clear(),
            Some(comment) => says = format!("{says} {}", comment.trim()).trim().to_owned(),
            None => sql.extend([line, "\n"]),
        }
        if !sql.is_empty() && line.ends_with(';') {
            let sql = std::mem::take(&mut sql);
            statements.push((std::mem::take(&mut says), sql.trim_end().trim_end_matches(';').to_owned()));
        }
    }
    statements
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = dir.read_dir() else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == extension));
    files.sort();
    files
}
