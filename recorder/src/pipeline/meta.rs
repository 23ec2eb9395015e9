//! `trace.json` in and out, checked.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use schemas::trace::{FORMAT_VERSION, META_FILE, Meta, SIDE_TABLES};

use super::files::{Owner, replace};

/// Which start of this machine this is: another one after each.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Read `trace.json`. Fails if it is damaged, of a later format, or names tables outside its directory.
pub fn read_meta(dir: &Path) -> Result<Meta> {
    let path = dir.join(META_FILE);
    let json = fs::read(&path)
        .with_context(|| format!("'{}' is not a trace: cannot read '{}'", dir.display(), path.display()))?;
    let meta: Meta =
        serde_json::from_slice(&json).with_context(|| format!("'{}' is damaged", path.display()))?;
    ensure!(
        meta.format_version <= FORMAT_VERSION,
        "'{}' is of format {}, this recorder knows {FORMAT_VERSION} and older: use a newer one",
        dir.display(),
        meta.format_version
    );
    check_events(&meta).with_context(|| format!("'{}' is damaged", path.display()))?;
    Ok(meta)
}

/// Write `trace.json`.
pub fn write_meta(dir: &Path, meta: &Meta, owner: Owner) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(meta).context("cannot describe the trace")?;
    json.push(b'\n');
    replace(dir, META_FILE, &json, owner)
}

/// Can each event of `meta` have a directory of its name?
pub fn check_events(meta: &Meta) -> Result<()> {
    for (i, layout) in meta.events.iter().enumerate() {
        let name = &layout.event;
        let is_plain = !name.is_empty()
            && !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        ensure!(is_plain, "event name '{name}' cannot be a directory: use letters, digits and _");
        ensure!(
            SIDE_TABLES.iter().all(|t| t.name != name),
            "event name '{name}' is that of a table of the trace: choose another"
        );
        ensure!(meta.events[..i].iter().all(|e| e.event != *name), "event '{name}' is there twice");
    }
    Ok(())
}

/// Names of all tables: events, then side tables.
pub fn tables(meta: &Meta) -> impl Iterator<Item = &str> {
    meta.events.iter().map(|e| e.event.as_str()).chain(SIDE_TABLES.iter().map(|t| t.name))
}
