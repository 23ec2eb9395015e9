//! What was there at the start in, records of events `processes` and `listens` out, as if a probe had seen it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use schemas::column::Layout;
use schemas::text::unescape;

use crate::pipeline::RecordBuilder;
use crate::privileges::{Capability, DAC_READ_SEARCH, Privileges, SYS_ADMIN, SYS_PTRACE};
use crate::snapshot::cgroups::{Existing, Hierarchy};
use crate::snapshot::listeners::{self, Found, Listener};
use crate::snapshot::processes::{self, Process};
use crate::snapshot::starts::Starts;
use crate::snapshot::{clock, netns};

/// Event of the listening sockets.
pub const LISTENS: &str = "listens";
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

/// Which rows are wanted; the same filters that the probes have.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only these processes, if given.
    pub pids: Option<HashSet<u32>>,
    /// Only these names, if any.
    pub comm: Vec<String>,
    /// Only these network namespaces, if any.
    pub netns: Vec<u32>,
    /// Only these cgroups, if any.
    pub cgroup_ids: Vec<u64>,
    /// Listening sockets too.
    pub listeners: bool,
    /// The other filters hold for processes too, because their event was asked for; else only `pids` does.
    pub filter_processes: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Snapshot {
    /// When it began, CLOCK_BOOTTIME: whatever a probe saw later is newer.
    pub ts_ns: u64,
    /// The processes.
    pub processes: Vec<Process>,
    /// Those that hold the listening sockets, whether or not they are among the former.
    pub holders: HashMap<u32, Process>,
    /// The listening sockets, and what could not be looked at.
    pub found: Found,
    /// The cgroups.
    pub cgroups: Vec<Existing>,
    /// Cookies of network namespaces, by inode.
    pub cookies: HashMap<u32, u64>,
    /// What is missing because a capability is: one sentence each.
    pub hidden: Vec<String>,
}

/// Take the snapshot in a thread of its own; rings are to be drained meanwhile.
///
/// `starts` tells when processes were started, twice, or why nothing can.
pub fn start(wanted: Wanted, starts: Result<[File; 2]>) -> Result<JoinHandle<Snapshot>> {
    thread::Builder::new()
        .name("snapshot".to_owned())
        .spawn(move || take(&wanted, starts))
        .context("cannot start a thread")
}

/// The result of a thread that [`start`] started.
pub fn finish(thread: JoinHandle<Snapshot>) -> Result<Snapshot> {
    thread.join().map_err(|_| anyhow!("the snapshot's thread has died"))
}

fn take(wanted: &Wanted, starts: Result<[File; 2]>) -> Snapshot {
    let ts_ns = clock::boottime_ns().unsigned_abs();
    let hierarchy = Hierarchy::open();
    let cgroups = hierarchy.all();
    let (all, inexact) = with_starts(starts, &hierarchy);
    let by_pid: HashMap<u32, &Process> = all.iter().map(|process| (process.pid, process)).collect();
    let mut found = if wanted.listeners { listeners::all(&wanted.netns) } else { Found::default() };
    found.listeners.retain_mut(|listener| wanted.keep_listener(listener, &by_pid));
    let first = found.listeners.iter().filter_map(|listener| listener.pids.first());
    let holders = first.filter_map(|pid| Some((*pid, (*by_pid.get(pid)?).clone()))).collect();
    let processes: Vec<Process> =
        all.iter().filter(|process| wanted.keep_process(process)).cloned().collect();
    let cookies = netns::cookies(&netns::all());
    let mut hidden = hidden(&processes, &found, &cookies);
    hidden.extend(inexact);
    Snapshot { ts_ns, processes, holders, found, cgroups, cookies, hidden }
}

/// All processes with their exact starts, and what is to be said if these are not known.
fn with_starts(starts: Result<[File; 2]>, hierarchy: &Hierarchy) -> (Vec<Process>, Option<String>) {
    let mut known = Starts::default();
    let mut all = Vec::new();
    let looked = starts.and_then(|[before, after]| {
        known.look(before)?;
        all = processes::all(hierarchy);
        all.iter_mut().for_each(|process| known.complete(process));
        // Those that were started between the two.
        known.look(after)?;
        all.iter_mut().for_each(|process| known.complete(process));
        Ok(())
    });
    if all.is_empty() {
        all = processes::all(hierarchy);
    }
    let problem = looked.err().map(|error| format!("start_boottime_ns is NULL in the snapshot: {error:#}"));
    (all, problem)
}

fn hidden(processes: &[Process], found: &Found, cookies: &HashMap<u32, u64>) -> Vec<String> {
    let without_cookie =
        processes.iter().filter(|p| p.netns.is_some_and(|n| !cookies.contains_key(&n))).count();
    let processes = processes.iter().filter(|process| process.netns.is_none()).count();
    let sockets = found.listeners.iter().filter(|listener| listener.pids.is_empty()).count();
    let what = [
        (processes, "namespaces and programs of", "processes", &[SYS_PTRACE][..]),
        (without_cookie, "cookies of network namespaces of", "processes", &[SYS_ADMIN]),
        (sockets, "the processes of", "listening sockets", &[SYS_PTRACE, DAC_READ_SEARCH]),
    ];
    let sentence = |(count, of, what, needed): (usize, &str, &str, &[Capability])| {
        let missing = Privileges::own().missing(needed).join(" and ");
        let is_hidden = count > 0 && !missing.is_empty();
        is_hidden.then(|| format!("{of} {count} {what} are not in the snapshot: that needs {missing}"))
    };
    what.into_iter().filter_map(sentence).collect()
}

impl Wanted {
    fn keep_process(&self, process: &Process) -> bool {
        self.keep_pid(process.pid) && (!self.filter_processes || self.passes(process, &self.netns))
    }

    fn keep_pid(&self, pid: u32) -> bool {
        self.pids.as_ref().is_none_or(|pids| pids.contains(&pid))
    }

    fn passes(&self, process: &Process, netns: &[u32]) -> bool {
        let Self { comm, cgroup_ids, .. } = self;
        (comm.is_empty() || comm.contains(&process.comm))
            && (netns.is_empty() || process.netns.is_some_and(|inode| netns.contains(&inode)))
            && (cgroup_ids.is_empty() || process.cgroup_id.is_some_and(|id| cgroup_ids.contains(&id)))
    }

    /// Keeps the processes that pass; the namespace has been looked at already, and it is the socket's that counts.
    fn keep_listener(&self, listener: &mut Listener, processes: &HashMap<u32, &Process>) -> bool {
        let Self { pids, comm, cgroup_ids, .. } = self;
        if pids.is_none() && comm.is_empty() && cgroup_ids.is_empty() {
            return true;
        }
        let keep = |pid: &u32| {
            self.keep_pid(*pid) && processes.get(pid).is_some_and(|process| self.passes(process, &[]))
        };
        listener.pids.retain(keep);
        !listener.pids.is_empty()
    }
}

/// Records of event `processes`.
pub fn process_records(layout: &Layout, snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let record = |(seq, process): (usize, &Process)| {
        let Process { pid, ppid, comm, filename, uid, cgroup_id, netns, mntns, pidns, .. } = process;
        let mut row = RecordBuilder::new(layout, snapshot.ts_ns)
            .seq(seq as u32)
            .task(*pid, *pid)
            .set_text("ev", "snapshot")
            .set_u64("ppid", u64::from(*ppid))
            .set_text("comm", unescape(comm))
            .set_u64("uid", u64::from(*uid));
        if let Some(filename) = filename {
            row = row.set_text("filename", unescape(filename));
        }
        let start = process.start_boottime_ns.map(i64::unsigned_abs);
        let numbers = [
            ("start_boottime_ns", start),
            ("cgroup_id", *cgroup_id),
            ("netns", netns.map(u64::from)),
            ("netns_cookie", netns.and_then(|netns| snapshot.cookies.get(&netns).copied())),
            ("mntns", mntns.map(u64::from)),
            ("pidns", pidns.map(u64::from)),
        ];
        set_known(row, numbers).build()
    };
    snapshot.processes.iter().enumerate().map(record).collect()
}

/// Records of event `cgroup_changes`.
pub fn cgroup_records(layout: &Layout, snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let record = |(seq, cgroup): (usize, &Existing)| {
        let Existing { id, parent, path } = cgroup;
        let row = RecordBuilder::new(layout, snapshot.ts_ns)
            .seq(seq as u32)
            .set_text("ev", "snapshot")
            .set_u64("id", *id)
            .set_text("name", path.rsplit('/').next().unwrap_or(path))
            .set_text("path", path);
        set_known(row, [("parent_id", *parent)]).build()
    };
    snapshot.cgroups.iter().enumerate().map(record).collect()
}

/// Records of event [`LISTENS`].
pub fn listener_records(layout: &Layout, snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let record = |(seq, listener): (usize, &Listener)| {
        let Listener { netns, addr, port, backlog, v6only, protocol, inode, pids } = listener;
        let mut row = RecordBuilder::new(layout, snapshot.ts_ns)
            .seq(seq as u32)
            .set_text("ev", "snapshot")
            .set_i64("ret", 0)
            .set_u64("netns", u64::from(*netns))
            .set_u64("family", if addr.is_ipv4() { AF_INET } else { AF_INET6 })
            .set_ip("addr", *addr)
            .set_u64("port", u64::from(*port))
            .set_u64("backlog", u64::from(*backlog))
            .set_u64("protocol", u64::from(*protocol))
            .set_u64("inode", *inode);
        let pid = pids.first();
        if let Some(pid) = pid {
            row = row.task(*pid, *pid);
        }
        let process = pid.and_then(|pid| snapshot.holders.get(pid));
        if let Some(process) = process {
            row = row.set_text("comm", unescape(&process.comm));
        }
        let numbers = [
            ("netns_cookie", snapshot.cookies.get(netns).copied()),
            ("v6only", v6only.map(u64::from)),
            ("cgroup_id", process.and_then(|p| p.cgroup_id)),
        ];
        set_known(row, numbers).build()
    };
    snapshot.found.listeners.iter().enumerate().map(record).collect()
}

fn set_known<'a>(
    row: RecordBuilder<'a>,
    values: impl IntoIterator<Item = (&'static str, Option<u64>)>,
) -> RecordBuilder<'a> {
    values.into_iter().fold(row, |row, (name, value)| match value {
        Some(value) => row.set_u64(name, value),
        None => row,
    })
}
