//! A directory in; what its `trace.json` and its log say, checked, out. The one reader of both, for every program.
//!
//! A trace may come from anywhere, so nothing in it is believed: what is too large, names that lead out of the
//! directory, and a later format give an error that names the file.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::log::{Contents, LOG_FILE, Log, Segment, Status};
use super::sums::{BLOCK_BYTES, Summed, Sums, fits_seal};
use super::{FORMAT_VERSION, META_FILE, Meta, SIDE_TABLES, State};
use crate::column::Layout;
use crate::name::{MAX_NAME, misspelt, shortened, side_table};

/// A `trace.json` is a few KiB per event; more than this is not one.
const MAX_META_BYTES: u64 = 16 << 20;
/// The log of a day without a commit that replaces it; more than this is not one.
const MAX_LOG_BYTES: u64 = 256 << 20;
/// More tables than any recording has.
const MAX_EVENTS: usize = 1000;
/// More columns than any event has: faults and cuts have a bit for each.
const MAX_COLUMNS: usize = 1000;
/// A directory cannot have a longer name, and older recorders had no limit of their own.
const MAX_EVENT_NAME: usize = 255;
/// More than any record of a kernel has.
const MAX_COLUMN_NAME: usize = 1024;
/// The first format with a log.
const FIRST_WITH_LOG: u32 = 2;

/// What a trace says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    /// `trace.json`, and what the log says of how the recording is or ended.
    pub meta: Meta,
    /// The log; `None` of a trace of format 1, which consists of the files that are there.
    pub log: Option<Log>,
    /// What the trace consists of, as the log says.
    pub contents: Contents,
}

/// Read `trace.json` and the log of the trace in `dir`.
///
/// Fails if it is no trace, is of a later format, or one of them is damaged so that nothing can be said. Of a log with a
/// bad line, what is before it counts ([`Log::stopped`]).
pub fn read(dir: &Path) -> Result<Description> {
    let mut meta = read_meta(dir)?;
    if meta.format_version < FIRST_WITH_LOG {
        return Ok(Description { meta, log: None, contents: Contents::default() });
    }
    let path = dir.join(LOG_FILE);
    let damaged = || format!("{} is damaged: restore it from a copy, or record again", path.display());
    let log = Log::parse(&read_file(&path, MAX_LOG_BYTES)?);
    let contents = log.contents().with_context(damaged)?;
    if log.commits.is_empty() && log.stopped.as_ref().is_some_and(|stopped| !stopped.is_torn) {
        let why = log.stopped.as_ref().map_or("", |stopped| &stopped.why);
        return Err(anyhow::anyhow!("line 1: {why}")).with_context(damaged);
    }
    let is_table = |name: &str| {
        SIDE_TABLES.iter().any(|table| table.name == name) || meta.events.iter().any(|it| it.event == name)
    };
    let mut rows: u64 = 0;
    for segment in contents.segments.values() {
        let Segment { table, ts, blocks, bytes, .. } = segment;
        ensure!(is_table(table), "{}: it names table '{}', which is none", damaged(), shortened(table));
        let wrong = || format!("{}: what it says of {} makes no sense", damaged(), segment.path());
        ensure!(ts.is_none_or(|(first, last)| first <= last), "{}: it ends before it begins", wrong());
        ensure!(
            blocks.is_empty() || blocks.len() as u64 == bytes.div_ceil(BLOCK_BYTES as u64),
            "{}: {} blocks",
            wrong(),
            blocks.len()
        );
        // Neither the rows of a table nor the bytes of a file are more than numbers of SQL and of files can tell.
        rows = rows.saturating_add(segment.rows);
        ensure!(rows.max(*bytes) <= i64::MAX.cast_unsigned(), "{}: {rows} rows, {bytes} bytes", wrong());
    }
    contents.status.tell(&mut meta);
    Ok(Description { meta, log: Some(log), contents })
}

impl Status {
    /// Say it where `trace.json` says the rest.
    pub fn tell(&self, meta: &mut Meta) {
        let Self { state, start_ns, end_ns, command_exit_code, kept_from_ns } = *self;
        meta.start_ns = start_ns.unwrap_or(meta.start_ns);
        (meta.state, meta.end_ns, meta.kept_from_ns) = (state, end_ns, kept_from_ns);
        meta.command_exit_code = command_exit_code;
    }
}

/// Read `trace.json`, without what the log says.
///
/// Fails as [`read`] does.
pub fn read_meta(dir: &Path) -> Result<Meta> {
    let path = dir.join(META_FILE);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(error)
                .with_context(|| format!("cannot read {}: ask its owner, or use sudo", path.display()));
        }
        Ok(meta) if meta.is_file() => {}
        _ => match fs::metadata(dir) {
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open trace '{}'", dir.display()));
            }
            Ok(meta) if !meta.is_dir() => bail!("'{}' is not a trace: a trace is a directory", dir.display()),
            Ok(_) => bail!(
                "'{}' is not a trace: it has no {META_FILE}; `recorder record -o DIR` makes one",
                dir.display()
            ),
        },
    }
    let text = read_file(&path, MAX_META_BYTES)?;
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
        state: Option<serde_json::Value>,
    }
    let damaged = || format!("{} is damaged: restore it from a copy, or record again", path.display());
    let Version { format_version, state } = serde_json::from_slice(&text).with_context(damaged)?;
    ensure!(
        format_version <= FORMAT_VERSION,
        "{} has format version {format_version}, this program knows up to {FORMAT_VERSION}: use a newer one",
        path.display()
    );
    let is_sealed = fits_seal(&text);
    ensure!(is_sealed != Some(false), "{}: it does not fit its CRC", damaged());
    match format_version < FIRST_WITH_LOG {
        true => ensure!(state.is_some(), "{}: it does not say how the recording ended", damaged()),
        false => ensure!(is_sealed.is_some(), "{}: it does not end with its CRC", damaged()),
    }
    let meta: Meta = serde_json::from_slice(&text).with_context(damaged)?;
    check_events(&meta.events).context("no recorder writes this").with_context(damaged)?;
    if meta.format_version >= FIRST_WITH_LOG {
        check_tables(&meta.events).with_context(damaged)?;
    }
    Ok(meta)
}

/// A regular file as a whole. Fails if it is more than `most` bytes.
fn read_file(path: &Path, most: u64) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let metadata = fs::symlink_metadata(path).with_context(cannot)?;
    ensure!(metadata.is_file(), "{}: it is not a regular file", cannot());
    ensure!(metadata.len() <= most, "{}: {} bytes is too large for one", path.display(), metadata.len());
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut text)).with_context(cannot)?;
    Ok(text)
}

/// Check names that become directories and SQL: identifiers, each once, and no more of anything than a recording has.
///
/// Fails if no recorder writes that.
pub fn check_events(events: &[Layout]) -> Result<()> {
    ensure!(events.len() <= MAX_EVENTS, "it has {} events", events.len());
    let mut names: Vec<&str> = Vec::new();
    for Layout { event, columns, .. } in events {
        ensure!(columns.len() <= MAX_COLUMNS, "event {event} has {} columns", columns.len());
        spelt(event, MAX_EVENT_NAME)
            .map_err(|why| anyhow::anyhow!("event name '{}' {why}", shortened(event)))?;
        ensure!(!names.contains(&event.as_str()), "there are two events '{event}'");
        names.push(event);
        let mut own: Vec<&str> = Vec::new();
        for column in columns {
            let name = column.name.as_str();
            spelt(name, MAX_COLUMN_NAME)
                .map_err(|why| anyhow::anyhow!("event {event}: column name '{}' {why}", shortened(name)))?;
            ensure!(!own.contains(&name), "event {event} has two columns '{}'", shortened(name));
            own.push(name);
        }
    }
    Ok(())
}

/// Check that no event has the name of a side table, whose directory would be the same.
///
/// Fails if one has.
pub fn check_tables(events: &[Layout]) -> Result<()> {
    for Layout { event, .. } in events {
        ensure!(
            side_table(event).is_none(),
            "event name '{event}' is that of a table of the trace: choose another"
        );
    }
    Ok(())
}

fn spelt(name: &str, limit: usize) -> Result<(), String> {
    if name.len() > limit {
        return Err(format!("has {} bytes", name.len()));
    }
    // Of a long name, what it begins with stands for the rest.
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    match misspelt(&name[..name.floor_char_boundary(MAX_NAME)]) {
        None if name.bytes().all(is_word) => Ok(()),
        None => Err("has other characters than letters, digits and '_'".to_owned()),
        Some(why) => Err(why),
    }
}

/// Size and CRCs of a file, read as a whole. Fails if it cannot be read.
pub fn sums(file: &mut impl Read) -> std::io::Result<Summed> {
    let mut sums = Sums::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sums.finish()),
            read => sums.update(&buffer[..read]),
        }
    }
}

/// Size and CRC-32 of a file, read as a whole. Fails if it cannot be read.
pub fn checksum(file: &mut impl Read) -> std::io::Result<(u64, u32)> {
    let Summed { bytes, crc, .. } = sums(file)?;
    Ok((bytes, crc))
}

impl Segment {
    /// Is the file in the trace `dir` the one that the log names, byte for byte? Fails if it cannot be read.
    pub fn is_whole(&self, dir: &Path) -> std::io::Result<bool> {
        let path = dir.join(self.path());
        if !fs::symlink_metadata(&path)?.is_file() {
            return Ok(false);
        }
        Ok(checksum(&mut File::open(&path)?)? == (self.bytes, self.crc))
    }
}

impl Description {
    /// Was the machine started again since, so that of what was not durable the disk may have only parts?
    /// `boot_id` is that of this machine now.
    pub fn may_be_torn(&self, boot_id: &str) -> bool {
        let Meta { state, boot_id: recorded, .. } = &self.meta;
        *state == State::Open && (recorded.is_empty() || recorded != boot_id)
    }

    /// After a power-off: forget the commits behind the durable ones from the first on whose files are not whole. The
    /// result is how many segments that leaves out. Fails if a file cannot be read for a reason that is not its own.
    pub fn forget_torn(&mut self, dir: &Path) -> Result<usize> {
        let Some(log) = &mut self.log else { return Ok(0) };
        let durable = log.durable();
        let removed: Vec<_> = log.commits.iter().flat_map(|commit| &commit.remove).cloned().collect();
        let mut whole = 0;
        for commit in &log.commits {
            let is_durable = durable.is_some_and(|durable| commit.n <= durable);
            // What a later commit removed may be gone already.
            let needed = commit.add.iter().filter(|segment| !removed.contains(&segment.name()));
            let mut is_whole = true;
            for segment in needed.filter(|_| !is_durable) {
                is_whole &= match segment.is_whole(dir) {
                    Ok(is_whole) => is_whole,
                    Err(error) if error.kind() == ErrorKind::NotFound => false,
                    Err(error) => {
                        return Err(error).with_context(|| format!("cannot read {}", segment.path()));
                    }
                };
            }
            if !is_whole {
                break;
            }
            whole += 1;
        }
        if whole == log.commits.len() {
            return Ok(0);
        }
        let bytes: u64 = log.commits[..whole]
            .iter()
            .map(|commit| commit.line().map(|line| line.len() as u64))
            .sum::<Result<u64>>()?;
        let before = self.contents.segments.len();
        log.commits.truncate(whole);
        log.bytes = bytes;
        self.contents = log.contents()?;
        self.contents.status.tell(&mut self.meta);
        Ok(before.saturating_sub(self.contents.segments.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;

    fn layout(event: &str, columns: &[&str]) -> Layout {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            ty: "u32".parse().unwrap(),
            unit: None,
            doc: String::new(),
            offset: 0,
            bit: 0,
        };
        Layout::new(event, "", columns.iter().map(column).collect(), |_| false).0
    }

    #[test]
    fn names_that_no_recorder_writes_are_refused() {
        let long = "a".repeat(10 << 20);
        for event in ["", "../../etc", "/etc", "a\u{1b}b", "MKDIRS\" --", "é", &long, "1a"] {
            let error = check_events(&[layout(event, &[])]).unwrap_err().to_string();
            assert!(error.len() < 300 && !error.contains('\u{1b}'), "{error}");
            assert!(check_events(&[layout("e", &[event])]).is_err());
        }
        assert!(check_events(&[layout("e", &[]), layout("e", &[])]).is_err());
        assert!(check_events(&[layout("e", &["a", "a"])]).is_err());
        check_events(&[layout(&"a".repeat(200), &["a", "A"])]).unwrap();
        check_tables(&[layout("Stacks", &[])]).unwrap_err();
    }
}
