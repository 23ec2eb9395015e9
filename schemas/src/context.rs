//! The names that every table keeps for the task and the processor on which the probe ran, and what a field or
//! argument of such a name is called instead. Both programs and all ways to define an event follow this one rule.

/// Columns and values that are always about the task or processor on which the probe ran, and `retval` and `dur`, which are
/// what the function returned and how long it took.
pub const CONTEXT: [&str; 19] = [
    "ts",
    "cpu",
    "ctx",
    "pid",
    "tid",
    "probe",
    "seq",
    "faults",
    "cuts",
    "weight",
    "comm",
    "cgroup_id",
    "netns",
    "uid",
    "gid",
    "kstack",
    "ustack",
    "retval",
    "dur",
];

/// Whether `name` is one of [`CONTEXT`], in whatever case: SQL does not tell the cases apart.
pub fn is_context(name: &str) -> bool {
    CONTEXT.iter().any(|context| context.eq_ignore_ascii_case(name))
}

/// What a field of a record, a member or an argument called `name` is called in columns and expressions: `name`, but
/// with `_` behind it if the name without its `_` is one of [`CONTEXT`]. Different names stay different.
///
/// ```
/// assert_eq!(schemas::context::own_name("comm"), "comm_");
/// assert_eq!(schemas::context::own_name("comm_"), "comm__");
/// assert_eq!(schemas::context::own_name("newcomm"), "newcomm");
/// ```
pub fn own_name(name: &str) -> String {
    if is_context(name.trim_end_matches('_')) { format!("{name}_") } else { name.to_owned() }
}
