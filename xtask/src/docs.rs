//! `cargo xtask docs`: definitions in, the generated pages under `docs/` out; with `--check` says which are stale.

use std::fs;

use crate::host;
use anyhow::{Context, Result, bail};

/// A generated page.
type Page = (&'static str, fn() -> Result<String>);

const PAGES: &[Page] = &[
    ("docs/losses.md", || Ok(schemas::trace::losses_markdown())),
    ("docs/events.md", || Ok(schemas::docs::events_md())),
];

/// Write the pages, or check that they are as they would be written.
pub fn run(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in PAGES {
        let (file, text) = (host::repo().join(path), text()?);
        if fs::read_to_string(&file).is_ok_and(|there| there == text) {
            continue;
        }
        match check {
            true => stale.push(*path),
            false => {
                fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
                println!("docs: wrote {path}");
            }
        }
    }
    if !stale.is_empty() {
        bail!("{} is not what the definitions say; run: cargo xtask docs", stale.join(", "));
    }
    Ok(())
}
