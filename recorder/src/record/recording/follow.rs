//! Processes that are to be followed in, the pid set with them and their descendants out. What ends meanwhile leaves its
//! number to others, who are not to be recorded under it.

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
