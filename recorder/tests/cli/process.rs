//! What /proc says of a process and its threads.

use std::fs;
use std::path::PathBuf;

/// A field of each thread of process `pid`: name of the thread, value.
pub fn of_threads(pid: u32, field: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let read = |task: PathBuf| -> Option<(String, String)> {
        let status = fs::read_to_string(task.join("status")).ok()?;
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"))?;
        Some((name.trim().to_owned(), value.to_owned()))
    };
    tasks.filter_map(|task| read(task.unwrap().path())).collect()
}

/// Whether threads of process `pid` may be raised to nice value 0 without a right.
pub fn may_raise(pid: u32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max nice priority")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u32>().unwrap() >= 20
}

/// Name, policy and nice value of each thread of a process, as the kernel has them.
pub fn threads(pid: u32) -> Vec<(String, i32, i32)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let thread = |stat: String| {
        let (start, rest) = stat.rsplit_once(") ").unwrap();
        // State is field 3, nice 19, policy 41.
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |field: usize| fields[field - 3].parse().unwrap();
        (start.split_once('(').unwrap().1.to_owned(), number(41), number(19))
    };
    stats.map(thread).collect()
}
