//! The rule for names of events, which are tables in SQL and directories on disk: one rule for the recorder, which
//! refuses what breaks it, and for `analyze`, which opens older traces under other names.

use crate::trace::SIDE_TABLES;

/// Longest name of an event or a column, in bytes.
pub const MAX_NAME: usize = 64;

/// Tables that `analyze` makes itself.
pub const ANALYZE_TABLES: &[&str] = &["traces", "loss_reasons", "kmem_pairs"];

/// Tables that later versions make: a trace of today is to open in them under its own names.
const LATER_TABLES: &[&str] = &["mappings", "marks", "gauges", "netns", "namespaces", "epochs", "log"];

/// Words that cannot stand for a table in SQL without quotes, in `analyze` or in DuckDB.
const SQL_WORDS: &[&str] = &[
    "all",
    "analyze",
    "and",
    "anti",
    "any",
    "array",
    "as",
    "asc",
    "asof",
    "asymmetric",
    "at",
    "authorization",
    "binary",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "delete",
    "desc",
    "describe",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "lambda",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "pivot",
    "placing",
    "primary",
    "qualify",
    "references",
    "returning",
    "right",
    "select",
    "semi",
    "session_user",
    "show",
    "similar",
    "some",
    "struct",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "top",
    "trailing",
    "trim",
    "true",
    "union",
    "unique",
    "unnest",
    "unpivot",
    "update",
    "user",
    "using",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// Names that Windows keeps for devices: a trace can be copied there.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "conin", "conout"];

/// Why no event may have this name, and what helps; `None` if one may.
pub fn refusal(name: &str) -> Option<String> {
    let remedy = "choose another one, as in 'NAME=KIND:TARGET' (an event file is named after its event)";
    if let Some(why) = misspelt(name) {
        return Some(format!("event name '{}' {why}: {remedy}", shortened(name)));
    }
    let lower = name.to_ascii_lowercase();
    let taken = if let Some(table) = side_table(&lower) {
        format!("is taken by table {table}")
    } else if LATER_TABLES.contains(&lower.as_str()) {
        "is kept for a table of later versions".to_owned()
    } else if SQL_WORDS.contains(&lower.as_str()) {
        "is a word of SQL, so that queries would have to quote it".to_owned()
    } else if is_device(&lower) {
        "is a device on Windows, where no directory can have it".to_owned()
    } else {
        return None;
    };
    Some(format!("event name '{name}' {taken}: {remedy}"))
}

/// What is wrong with the letters of `name`, an event's or a column's; `None`: nothing.
pub fn misspelt(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("is empty".to_owned())
    } else if name.len() > MAX_NAME {
        Some(format!("has {} bytes, the limit is {MAX_NAME}", name.len()))
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Some("has other characters than letters, digits and '_'".to_owned())
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        Some("begins with a digit".to_owned())
    } else {
        None
    }
}

/// The table of that name, in any case, that `analyze` finds beside the events of a trace.
pub fn side_table(name: &str) -> Option<&'static str> {
    let sides = SIDE_TABLES.iter().map(|table| table.name);
    sides.chain(ANALYZE_TABLES.iter().copied()).find(|table| table.eq_ignore_ascii_case(name))
}

fn is_device(lower: &str) -> bool {
    let port = lower.strip_prefix("com").or_else(|| lower.strip_prefix("lpt"));
    DEVICES.contains(&lower) || port.is_some_and(|n| n.len() == 1 && n.chars().all(|c| c.is_ascii_digit()))
}

/// `name` as a message can hold it: one line, not long.
pub fn shortened(name: &str) -> String {
    let mut text: String = name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_words_of_sql_and_odd_letters_are_refused_in_any_case() {
        let long = "a".repeat(MAX_NAME + 1);
        for name in [
            "",
            "1a",
            "a-b",
            "a.b",
            "a b",
            "../x",
            "a/b",
            "é",
            "a\u{1b}",
            &long,
            "Stacks",
            "TRACES",
            "loss_reasons",
            "Kmem_Pairs",
            "probes",
            "counts",
            "losses",
            "symbols",
            "cgroups",
            "netns",
            "clock",
            "mappings",
            "marks",
            "gauges",
            "Select",
            "order",
            "table",
            "con",
            "COM1",
            "lpt9",
        ] {
            let why = refusal(name).unwrap_or_else(|| panic!("'{name}' is accepted"));
            assert!(
                why.contains("choose another one") && !why.contains(['\n', '\u{1b}']) && why.len() < 300,
                "{why}"
            );
        }
        for name in
            ["Foo", "foo_2", "__alloc_pages", "a", "kmem", "leaks", "gaps", "sql", "com", "com10", &long[1..]]
        {
            assert_eq!(refusal(name), None, "{name}");
        }
    }
}
