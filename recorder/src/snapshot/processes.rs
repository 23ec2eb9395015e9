//! /proc in, the processes that run now out: what table `processes` knows of them with `ev = 'snapshot'`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use procfs::process::{Process as Proc, Stat};
use schemas::text::escape;

use super::cgroups::Hierarchy;

/// The first pid namespace has this inode on every kernel.
const INITIAL_PIDNS: &str = "pid:[4026531836]";

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Name, as [text](schemas::text).
    pub comm: String,
    /// Target of /proc/PID/exe, as [text](schemas::text); none for kernel threads, and for others' processes without CAP_SYS_PTRACE.
    pub filename: Option<String>,
    /// When it was started, CLOCK_BOOTTIME, in clock ticks (10 ms): with the number, that is who it is, here.
    pub start_ticks: u64,
    /// The same to the nanosecond, if it is known ([`Starts`](super::starts::Starts)).
    pub start_boottime_ns: Option<i64>,
    /// Effective user.
    pub uid: u32,
    /// Id of its cgroup (v2).
    pub cgroup_id: Option<u64>,
    /// Network namespace.
    pub netns: Option<u32>,
    /// Mount namespace.
    pub mntns: Option<u32>,
    /// Pid namespace of its children.
    pub pidns: Option<u32>,
}

/// Fails in a pid namespace other than the first: the kernel's programs know processes by other numbers than we do.
pub fn check_pid_namespace() -> Result<()> {
    let own = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    ensure!(
        own.to_str() == Some(INITIAL_PIDNS),
        "this is not the initial pid namespace, so processes cannot be followed (--pid, COMMAND): in a container use \
         the host's pid namespace (docker run --pid=host)"
    );
    Ok(())
}

/// Ids of all processes.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every process that runs; one that ends meanwhile is left out, and so is one that has ended and waits for its parent.
pub fn all(cgroups: &Hierarchy) -> Vec<Process> {
    pids().filter_map(|pid| read(pid, cgroups)).collect()
}

/// Process `pid`, or `None` if none of its threads is there any more.
pub fn read(pid: u32, cgroups: &Hierarchy) -> Option<Process> {
    let proc = Proc::new(i32::try_from(pid).ok()?).ok()?;
    let stat = proc.stat().ok()?;
    let status = proc.status().ok()?;
    // A main thread that has ended has neither program nor namespaces, while its process lives on in other threads.
    let place = if is_alive(&stat) { format!("/proc/{pid}") } else { living_thread(&proc)? };
    Some(Process {
        pid,
        ppid: u32::try_from(stat.ppid).unwrap_or(0),
        comm: name(&place, stat.comm),
        filename: fs::read_link(format!("{place}/exe"))
            .ok()
            .map(|path| escape(path.as_os_str().as_bytes()).into_owned()),
        start_ticks: stat.starttime,
        start_boottime_ns: None,
        uid: status.euid,
        cgroup_id: cgroups.of(&place),
        netns: namespace(&place, "net"),
        mntns: namespace(&place, "mnt"),
        pidns: namespace(&place, "pid_for_children"),
    })
}

/// The name of the thread that /proc has at `place`, which is `stat` if that could be read as UTF-8 there.
fn name(place: &str, stat: String) -> String {
    if !stat.contains(char::REPLACEMENT_CHARACTER) {
        return escape(stat.as_bytes()).into_owned();
    }
    match fs::read(format!("{place}/comm")) {
        Ok(raw) => escape(raw.strip_suffix(b"\n").unwrap_or(&raw)).into_owned(),
        Err(_) => stat,
    }
}

/// When process `pid` was started, in clock ticks.
pub fn start_of(pid: u32) -> Option<u64> {
    Some(Proc::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?.starttime)
}

fn is_alive(stat: &Stat) -> bool {
    !matches!(stat.state, 'Z' | 'X' | 'x')
}

/// The directory of a thread of this process that has not ended.
fn living_thread(process: &Proc) -> Option<String> {
    let living = |thread: &procfs::process::Task| thread.stat().is_ok_and(|stat| is_alive(&stat));
    let thread = process.tasks().ok()?.flatten().find(living)?;
    Some(format!("/proc/{}/task/{}", thread.pid, thread.tid))
}

/// `roots` and all their descendants.
pub fn descendants(processes: &[Process], roots: &[u32]) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in processes {
        children.entry(process.ppid).or_default().push(process.pid);
    }
    let mut found: HashSet<u32> = HashSet::new();
    let mut todo = roots.to_vec();
    while let Some(pid) = todo.pop() {
        if found.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Processes that hold one of `sockets` (inodes) open: socket, then processes, lowest id first.
pub fn holders(sockets: &HashSet<u64>) -> HashMap<u64, Vec<u32>> {
    let mut found: HashMap<u64, Vec<u32>> = HashMap::new();
    let mut pids: Vec<u32> = pids().collect();
    pids.sort_unstable();
    for pid in pids {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for link in entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()) {
            if let Some(inode) = number_in(link, "socket")
                && sockets.contains(&inode)
            {
                let holders = found.entry(inode).or_default();
                if holders.last() != Some(&pid) {
                    holders.push(pid);
                }
            }
        }
    }
    found
}

fn namespace(place: &str, kind: &str) -> Option<u32> {
    let link = fs::read_link(format!("{place}/ns/{kind}")).ok()?;
    let kind = kind.split('_').next().unwrap_or(kind);
    u32::try_from(number_in(link, kind)?).ok()
}

/// 17 of `kind:[17]`.
fn number_in(link: PathBuf, kind: &str) -> Option<u64> {
    link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_as_it_is() {
        let me = read(std::process::id(), &Hierarchy::open()).unwrap();
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me.ppid, std::os::unix::process::parent_id());
        assert_eq!(me.filename.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(me.netns.is_some() && me.mntns.is_some() && me.pidns.is_some());
        assert_eq!(start_of(me.pid), Some(me.start_ticks));
    }

    #[test]
    fn a_process_that_has_ended_is_not_there_though_nobody_has_waited_for_it() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert_eq!(read(child.id(), &Hierarchy::open()), None);
        child.wait().unwrap();
    }

    #[test]
    fn descendants_are_children_and_theirs() {
        let process =
            |pid, ppid| Process { pid, ppid, ..read(std::process::id(), &Hierarchy::open()).unwrap() };
        let all = [process(1, 0), process(10, 1), process(11, 10), process(12, 11), process(20, 1)];
        assert_eq!(descendants(&all, &[10]), HashSet::from([10, 11, 12]));
    }

    #[test]
    fn the_holder_of_a_socket_is_found() {
        use std::os::fd::AsRawFd;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = number_in(link, "socket").unwrap();
        assert_eq!(holders(&HashSet::from([inode])), HashMap::from([(inode, vec![std::process::id()])]));
    }
}
