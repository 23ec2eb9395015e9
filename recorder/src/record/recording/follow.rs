//! Processes that are to be followed in, the pid set with them and their descendants out. What ends meanwhile leaves its
//! number to others, who are not to be recorded under it.

use std::io;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::command::Pidfd;
use crate::engine::PidSet;
use crate::snapshot::cgroups::Hierarchy;
use crate::snapshot::processes::{self, Process};

/// A process that was asked for.
pub struct Followed {
    pid: u32,
    process: Pidfd,
}

/// Put processes into the set, before anything is attached. Fails if one is not there.
pub fn insert(set: &mut PidSet, pids: &[u32]) -> Result<Vec<Followed>> {
    let follow = |pid: &u32| {
        let process = i32::try_from(*pid).ok().and_then(|number| Pidfd::open(Pid::from_raw(number)).ok());
        let process = process.with_context(|| {
            format!("--pid {pid}: there is no such process (of a thread, give its process); it may just have ended")
        })?;
        set.insert(*pid)?;
        Ok(Followed { pid: *pid, process })
    };
    pids.iter().map(follow).collect()
}

/// Once the kernel takes out of the set who ends, and adds who is born: take out who has ended before, and add who was
/// born before. Gives what is to be told. Fails if nobody is left to follow, not even a command (`has_command`).
pub fn complete(set: &mut PidSet, followed: &[Followed], has_command: bool) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    let mut alive = Vec::new();
    for Followed { pid, process } in followed {
        if process.is_alive().with_context(|| format!("cannot watch process {pid}"))? {
            alive.push(*pid);
        } else {
            // The number may be another's already, and the kernel take it out itself.
            set.remove(*pid)?;
            gone.push(format!("process {pid} (--pid) has ended before the recording began"));
        }
    }
    if alive.is_empty() && !gone.is_empty() && !has_command {
        bail!("{}: there is nobody left to follow", gone.join("; "));
    }
    // Twice, because one may have been born during the first look.
    for _ in 0..2 {
        if alive.is_empty() {
            break;
        }
        let all = processes::all(&Hierarchy::open());
        let descendants = processes::descendants(&all, &alive);
        for process in all.iter().filter(|process| descendants.contains(&process.pid)) {
            insert_living(set, process)?;
        }
    }
    Ok(gone)
}

/// Add `process`, unless it has ended. If it is alive after that, the kernel has seen that its number is in the set, and
/// will take it out.
fn insert_living(set: &mut PidSet, process: &Process) -> Result<()> {
    let Process { pid, start_ticks, .. } = process;
    if set.contains(*pid)? {
        return Ok(());
    }
    set.insert(*pid)?;
    if processes::start_of(*pid) != Some(*start_ticks) {
        set.remove(*pid)?;
    }
    Ok(())
}

/// Looks whether a followed process is left. A process that has ended and was not waited for has ended.
#[derive(Debug)]
pub struct Watch {
    set: PidSet,
    /// One that was alive at the last look: while it is, the others do not matter.
    witness: Option<Pidfd>,
    /// The whole set at the last look, if nobody in it was alive.
    ended: Option<Vec<u32>>,
}

impl Watch {
    /// Watch the processes of `set`, to which the kernel adds children.
    pub fn new(set: &PidSet) -> Result<Self> {
        Ok(Self { set: set.try_clone()?, witness: None, ended: None })
    }

    /// True if every process in the set has ended.
    pub fn is_over(&mut self) -> Result<bool> {
        if let Some(witness) = &self.witness
            && witness.is_alive().context("cannot watch a followed process")?
        {
            return Ok(false);
        }
        let pids = self.set.pids()?;
        for pid in &pids {
            match alive(*pid) {
                Ok(None) => {}
                Ok(witness) => {
                    (self.witness, self.ended) = (witness, None);
                    return Ok(false);
                }
                // Without a descriptor to spare it is not known.
                Err(_) => return Ok(false),
            }
        }
        // A child can have come into a part of the set that had been read already, and its parent have ended before it
        // was looked at: only a set that stays the same is complete.
        Ok(self.ended.replace(pids.clone()) == Some(pids))
    }
}

/// The process, if it has not ended.
fn alive(pid: u32) -> io::Result<Option<Pidfd>> {
    let Ok(number) = i32::try_from(pid) else { return Ok(None) };
    match Pidfd::open(Pid::from_raw(number)) {
        Ok(process) => Ok(process.is_alive()?.then_some(process)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => Ok(None),
        Err(error) => Err(error),
    }
}
