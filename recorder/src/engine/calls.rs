//! Reads from the kernel which calls were entered and have not returned: whose they are and when they began.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use schemas::wire::{Stash, subject};
use zerocopy::FromBytes;

use super::sys;
use crate::source::ProbeId;

/// A call that had not returned when the recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The probe that would have seen its return.
    pub probe: ProbeId,
    /// Whose call it is ([`schemas::wire::subject`]).
    pub pid_tgid: u64,
    /// When it began (boot time).
    pub began_ns: u64,
}

/// The calls of threads that are kept in `store` for `probe`. Once the recording has ended, only programs that run at that
/// moment still change it.
///
/// What is kept for an interrupt is left out: none lasts until it is read here, so its return was skipped.
pub fn unfinished(probe: ProbeId, store: &OwnedFd) -> Result<Vec<Unfinished>> {
    let mut calls = Vec::new();
    // The kernel begins again if the last one has gone.
    let mut seen = HashSet::new();
    let mut value = vec![0; size_of::<Stash>()];
    let mut key: Option<u64> = None;
    while let Some(next) = sys::map_next_key(store.as_fd(), key).context("cannot list calls")? {
        if seen.insert(next)
            && sys::map_lookup(store.as_fd(), next, &mut value).context("cannot read calls")?
        {
            let Stash { pid_tgid, began_ns, .. } =
                Stash::read_from_bytes(&value).ok().context("a call has another size")?;
            let is_of_thread = matches!(subject::context(pid_tgid), None | Some("task"));
            // One without a time is just being entered.
            if is_of_thread && began_ns != 0 {
                calls.push(Unfinished { probe, pid_tgid, began_ns });
            }
        }
        key = Some(next);
    }
    Ok(calls)
}
