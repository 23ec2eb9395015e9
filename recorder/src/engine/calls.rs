//! The store of calls that were entered and have not returned -> whose they are and when they began.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use schemas::wire::Stash;
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

/// All calls that are kept in `store` for `probe`. Nothing changes there any more once the recording has ended.
pub fn unfinished(probe: ProbeId, store: &OwnedFd) -> Result<Vec<Unfinished>> {
    let mut calls = Vec::new();
    let mut value = vec![0; size_of::<Stash>()];
    let mut key: Option<u64> = None;
    while let Some(next) = sys::map_next_key(store.as_fd(), key).context("cannot list calls")? {
        if sys::map_lookup(store.as_fd(), next, &mut value).context("cannot read calls")? {
            let stash = Stash::read_from_bytes(&value).ok().context("a call has another size")?;
            calls.push(Unfinished { probe, pid_tgid: stash.pid_tgid, began_ns: stash.began_ns });
        }
        key = Some(next);
    }
    Ok(calls)
}
