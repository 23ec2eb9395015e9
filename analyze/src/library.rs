//! Named questions: those that come with analyze, and the user's own.
//!
//! A file `NAME.sql` with a header is at once the table function `NAME(...)`, the view `a.NAME`, the subcommand `NAME`, an
//! entry of `analyze list`, and help.

pub mod analysis;
pub mod expand;
pub mod header;
pub mod params;
pub mod reserved;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, anyhow, bail};
use datafusion::sql::sqlparser::tokenizer::Span;
use schemas::column::Type;

use crate::library::analysis::Analysis;
use crate::sql::problem::{FILE_LINES, Problem, plain};

/// A query is a page or two; more than this is none.
const MAX_FILE_BYTES: u64 = 1 << 20;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../sql/", $name, ".sql")))),*]
    };
}

/// The files that come with analyze: name and text. A new one gets a line here.
const SHIPPED: &[(&str, &str)] = files![
    "listens",
    "listens_by_netns",
    "leaks",
    "leak_classes",
    "lifetimes",
    "lost_frees",
    "packet_gaps",
    "gaps",
    "gap_histogram",
    "bursts",
    "burst_alerts",
    "switches",
    "switch_pairs",
    "syscalls",
    "runq_latency",
    "runq_waits",
    "runq_length",
    "unclaimed",
    "wakers",
    "cpu_dist",
    "cpu_busy",
    "off_cpu",
    "became_runnable",
    "runq_stays",
    "execs",
    "exits",
    "forks",
    "irq_time",
    "softirq_delay",
    "signals",
    "ooms",
    "work_latency",
    "capabilities",
    "mkdirs",
    "joins",
    "losses",
    "kmem_pairs",
    "net_top",
    "net_subnets",
    "connects",
    "accepts",
    "connect_latency",
    "connections",
    "tcp_states",
    "retransmits",
    "cong_states",
    "backlogs",
    "tcp_rtt",
    "tcp_read_delay",
    "cpu_profile",
    "lock_waits",
    "memory_stalls",
    "drops",
    "cachestat",
    "cache_misses",
    "opens",
    "bios",
    "bio_latency",
    "bio_top",
    "bio_sizes",
    "bio_pattern",
    "bio_stacks",
    "file_lives",
    "files_gone",
    "mounts",
    "file_top",
    "file_latency",
    "file_slow",
    "dir_top",
    "vfs_rates",
];

/// The analyses that can be asked.
#[derive(Clone, Debug, Default)]
pub struct Library {
    analyses: Vec<Arc<Analysis>>,
    /// Texts of the files, in the order in which their lines are numbered.
    texts: Vec<(String, String)>,
    broken: Vec<Broken>,
}

/// A file that is no analysis.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its name without `.sql`.
    pub name: String,
    /// File, line, cause and remedy in one line.
    pub why: String,
}

impl Library {
    /// The analyses that come with analyze.
    ///
    /// # Panics
    /// If one of their files is wrong, which a test excludes.
    pub fn shipped() -> Arc<Self> {
        static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| {
            let mut library = Library::default();
            for (name, text) in SHIPPED {
                let added = library.add(name, text, &format!("analysis {name}"), None);
                added.unwrap_or_else(|error| panic!("{error:#}"));
            }
            Arc::new(library)
        });
        LIBRARY.clone()
    }

    /// Those and the user's own: the files of `dirs`, and of `own` if that is there. Files that are wrong are left out.
    ///
    /// Fails if one of `dirs` cannot be read.
    pub fn open(dirs: &[PathBuf], own: Option<&Path>) -> Result<Arc<Self>> {
        let mut library = Self::clone(&Self::shipped());
        for dir in dirs {
            library.read(dir).with_context(|| format!("--library {}", dir.display()))?;
        }
        if let Some(dir) = own.filter(|own| own.is_dir() && !dirs.iter().any(|dir| dir == own))
            && let Err(error) = library.read(dir)
        {
            library
                .broken
                .push(Broken { name: String::new(), why: plain(&format!("{}: {error:#}", dir.display())) });
        }
        Ok(Arc::new(library))
    }

    /// The directory of the user's own files: `$XDG_CONFIG_HOME/ktape/sql`, or `~/.config/ktape/sql`.
    pub fn own_dir() -> Option<PathBuf> {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".config"));
        Some(config.or_else(home)?.join("ktape/sql"))
    }

    fn read(&mut self, dir: &Path) -> Result<()> {
        let entries = fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut paths: Vec<PathBuf> =
            entries.context("cannot be read")?.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.extension() == Some(OsStr::new("sql")));
        paths.sort();
        for path in paths {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if let Err(error) = self.read_file(&name, &path) {
                self.broken.push(Broken { name, why: plain(&format!("{error:#}")) });
            }
        }
        Ok(())
    }

    fn read_file(&mut self, name: &str, path: &Path) -> Result<()> {
        let title = path.display().to_string();
        let is_shipped = |name: &str| self.find(name).is_some_and(|found| found.file.is_none());
        if let Some(why) = reserved::refusal(name, is_shipped) {
            bail!("{title}: {why}");
        }
        if let Some(other) = self.find(name).and_then(|found| found.file.as_ref()) {
            bail!("{title}: '{name}' is there already, in {}: rename one of them", other.display());
        }
        let meta = fs::metadata(path).with_context(|| title.clone())?;
        if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
            bail!("{title}: not a file of at most {} KiB", MAX_FILE_BYTES >> 10);
        }
        let text = fs::read(path).with_context(|| title.clone())?;
        let text = String::from_utf8(text).map_err(|_| anyhow!("{title}: the text is not UTF-8"))?;
        self.add(name, &text, &title, Some(path))
    }

    fn add(&mut self, name: &str, text: &str, title: &str, file: Option<&Path>) -> Result<()> {
        let first_line = (self.texts.len() as u64 + 1) * FILE_LINES;
        let analysis = header::parse(name, text, title, file, first_line)?;
        self.texts.push((title.to_owned(), text.to_owned()));
        self.analyses.push(Arc::new(analysis));
        Ok(())
    }

    /// All analyses, those that come with analyze first.
    pub fn all(&self) -> &[Arc<Analysis>] {
        &self.analyses
    }

    /// The analysis of that name, in any case.
    pub fn find(&self, name: &str) -> Option<&Arc<Analysis>> {
        self.analyses.iter().find(|analysis| analysis.name.eq_ignore_ascii_case(name))
    }

    /// The files that are no analyses.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// Why the file of that name is no analysis, if there is one and it is none.
    pub fn why_broken(&self, name: &str) -> Option<&str> {
        let is_it = |broken: &&Broken| broken.name.eq_ignore_ascii_case(name);
        self.broken.iter().find(is_it).map(|broken| broken.why.as_str())
    }

    /// The names of all analyses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.analyses.iter().map(|analysis| analysis.name.as_str())
    }

    /// Columns of table `event` that analyses ask for.
    pub fn wanted<'a>(&'a self, event: &'a str) -> impl Iterator<Item = (&'a str, &'a Type)> {
        let uses = self.analyses.iter().flat_map(|analysis| &analysis.tables);
        let uses = uses.filter(move |table| table.name == event);
        uses.flat_map(|table| &table.columns).map(|(name, ty)| (name.as_str(), ty))
    }

    /// The problem at `span` of `sql`, or of the file in whose lines it is.
    pub fn problem(&self, message: String, span: Span, sql: &str, help: String) -> Problem {
        match self.text_of(span.start.line) {
            None => Problem::at(message, span, sql, help),
            Some((title, text, true)) => Problem::at(message, span, text, help).in_file(title),
            Some((title, _, false)) => {
                Problem { message: format!("{message} (in {title})"), place: None, help }
            }
        }
    }

    /// Title and text of the file that has line `line` of a span, and whether it is the user's own.
    pub fn text_of(&self, line: u64) -> Option<(&str, &str, bool)> {
        let index = usize::try_from((line / FILE_LINES).checked_sub(1)?).ok()?;
        let (title, text) = self.texts.get(index)?;
        let is_own = self.analyses.get(index).is_some_and(|analysis| analysis.file.is_some());
        Some((title, text, is_own))
    }
}
