//! Names that no analysis of a user's own may have, all in one place.

use schemas::name::side_table;

use crate::ordered::Operator;

/// Subcommands of `analyze` that are no analyses, also those of later versions.
pub const SUBCOMMANDS: &[&str] = &[
    "sql",
    "shell",
    "list",
    "replay",
    "check",
    "diff",
    "report",
    "flamegraph",
    "export",
    "cut",
    "anonymize",
    "verify",
    "serve",
    "scheduler",
    "worker",
    "help",
];
/// Options of each subcommand, so that no parameter can have their names; a test compares with the command line.
pub const OPTIONS: &[&str] = &[
    "format", "memory", "threads", "from", "to", "library", "table", "output", "param", "file", "progress",
    "trace", "words", "help", "version", "host", "epoch",
];

/// Why no analysis may have this name; `None`: it may.
pub fn refusal(name: &str, shipped: impl Fn(&str) -> bool) -> Option<String> {
    let event =
        schemas::def::builtin().iter().find(|event| event.name == name).map(|event| event.name.as_str());
    let taken = if shipped(name) {
        "is the name of an analysis that comes with analyze".to_owned()
    } else if SUBCOMMANDS.contains(&name) {
        "is a subcommand of analyze".to_owned()
    } else if Operator::find(name).is_some() {
        "is an operator of SQL on traces".to_owned()
    } else if let Some(table) = side_table(name).or(event) {
        format!("is the name of table {table}")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        "is no name in SQL, which has small letters, digits and '_'".to_owned()
    } else if schemas::name::refusal(name).is_some() {
        "is a word that SQL, a later version or a file system keeps for itself".to_owned()
    } else {
        return None;
    };
    Some(format!("'{name}' {taken}: rename the file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_else_are_refused() {
        let shipped = |name: &str| name == "leaks";
        for name in [
            "leaks",
            "sql",
            "runs",
            "kmem",
            "losses",
            "kmem_pairs",
            "traces",
            "Foo",
            "1a",
            "a-b",
            "",
            "select",
            "con",
        ] {
            let why = refusal(name, shipped).unwrap_or_else(|| panic!("'{name}' is accepted"));
            assert!(why.ends_with(": rename the file"), "{why}");
        }
        for name in ["slow_calls", "a", "_x", "leaks2", "by_user"] {
            assert_eq!(refusal(name, shipped), None);
        }
    }
}
