//! What `analyze sql` says of the mistakes that people make. `errors.txt` has query and message; KTAPE_BLESS=1 writes it.

use std::path::Path;

use crate::Bench;

/// Fixtures that are open; the last is the one that is asked.
const TRACE: &str = "listens.trace";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/analyze_cli/errors.txt");

/// The queries of the file: a paragraph each, which begins with `> `.
fn queries(text: &str) -> Vec<String> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    let query = |block: &str| {
        let lines = block.trim_start().lines().map_while(|line| line.strip_prefix("> "));
        lines.collect::<Vec<_>>().join("\n")
    };
    blocks.map(query).collect()
}

#[test]
fn a_comma_that_may_be_missing_is_told() {
    let bench = Bench::with(&["listens"]);
    let note = "-- 'pid' is another name of 'comm' here, and a column, too: is a comma missing before it?\n";
    let ask = |query: &str| bench.analyze(&["sql", TRACE, query]).out;
    assert!(ask("SELECT comm pid FROM listens").ends_with(note));
    for good in
        ["SELECT comm AS pid FROM listens", "SELECT comm name FROM listens", "SELECT comm, pid FROM listens"]
    {
        assert!(!ask(good).contains("comma"), "{good}");
    }
}

#[test]
fn an_error_of_sql_says_what_is_wrong_where_and_how_to_write_it() {
    let bench = Bench::with(&["listens"]);
    let wanted = std::fs::read_to_string(Path::new(FILE)).unwrap();
    let mut found = Vec::new();
    for query in queries(&wanted) {
        let run = bench.analyze(&["sql", TRACE, &query]);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{query}");
        let shown: Vec<String> = query.lines().map(|line| format!("> {line}")).collect();
        found.push(format!("{}\n{}", shown.join("\n"), run.err));
    }
    assert!(found.len() >= 50, "{} queries", found.len());
    let found = found.join("\n");
    if std::env::var_os("KTAPE_BLESS").is_some() {
        return std::fs::write(Path::new(FILE), &found).unwrap();
    }
    assert!(found == wanted, "KTAPE_BLESS=1 cargo test --test analyze_cli errors:: writes this:\n{found}");
}
