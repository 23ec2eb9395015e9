//! `recorder compact`: a trace in, the same tidied up and its small segments merged out.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::setup;
use super::signals::Signals;
use crate::cli::{EXIT_OK, say, show};
use crate::privileges::{Identity, renounce};
use crate::store::compaction::{Compacted, compact as compact_trace};

/// Time between two looks of the line on the terminal.
const EVERY: Duration = Duration::from_millis(500);

/// Compact `trace`. SIGINT, SIGTERM and SIGHUP end it; the table that is being merged stays as it was then.
pub fn compact(trace: &Path) -> Result<u8> {
    let signals = Signals::block()?;
    // Segments that overlap are open at a time.
    setup::raise_file_limit();
    // As the user whose trace it is, so that it stays theirs and root cannot be led elsewhere.
    let identity = Identity::of_owner(trace)?;
    renounce(identity.as_ref(), &[], trace)?;
    // So that a third one ends it also while the disk does not answer.
    signals.watch(|| Ok(()))?;
    let is_shown = io::stderr().is_terminal();
    let mut shown = Instant::now();
    let result = compact_trace(trace, &mut |table, segments| {
        if let Some(arrived) = signals.next() {
            bail!("{} came; nothing is lost, the next 'recorder compact' goes on", arrived.signal);
        }
        if is_shown && shown.elapsed() >= EVERY {
            shown = Instant::now();
            show(format_args!("\r\x1b[K{table}: {segments} segments"));
        }
        Ok(())
    });
    if is_shown {
        show("\r\x1b[K");
    }
    let Compacted { recovered, segments_before, segments_after } = result?;
    if let Some(what) = recovered {
        say(what);
    }
    say(format_args!("{} has {segments_after} segments, it had {segments_before}", trace.display()));
    Ok(EXIT_OK)
}
