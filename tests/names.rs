//! Whatever name a user gives an event: the recorder refuses it at the start, or `analyze` opens the trace and finds the
//! table. Both programs are asked, on the running kernel; the names are those of the tables that `analyze` itself lists.

use std::path::Path;
use std::process::{Command, Output};

use xtask::host;

fn run(program: &str, words: &[&str], dir: &Path) -> Output {
    let program = host::built(program).expect("built");
    Command::new(program).args(words).current_dir(dir).output().expect("it runs")
}

/// Record `mkdir` under `names`; `Err` with what is said if that is refused.
fn record(names: &[&str], trace: &str, dir: &Path) -> Result<(), String> {
    let events: Vec<String> = names.iter().map(|name| format!("{name}=syscall:mkdir{{ mode }}")).collect();
    let mut words = vec!["record"];
    words.extend(events.iter().map(String::as_str));
    let made = format!("made-by-{trace}");
    words.extend(["-o", trace, "--", "mkdir", &made]);
    let output = run("recorder", &words, dir);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(2) if !dir.join(trace).exists() => Err(said),
        code => panic!("{names:?}: {code:?} {said}"),
    }
}

fn ask(trace: &str, query: &str, dir: &Path) -> String {
    let output = run("analyze", &["sql", trace, query, "-F", "csv"], dir);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code < 2), "{query}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_name_is_refused_at_the_start_or_its_table_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    record(&["first"], "first.trace", dir).expect("recorded");
    let tables = ask(
        "first.trace",
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
        dir,
    );
    let tables: Vec<String> = tables.lines().skip(1).map(str::to_owned).collect();
    assert!(["losses", "traces", "stacks"].iter().all(|name| tables.iter().any(|t| t == name)), "{tables:?}");
    let capital = |name: &String| name[..1].to_uppercase() + &name[1..];
    let own: Vec<String> = tables.iter().filter(|name| *name != "first").cloned().collect();
    let mut names: Vec<String> =
        own.iter().flat_map(|name| [name.clone(), capital(name), name.to_uppercase()]).collect();
    names.extend(
        ["kmem_pairs", "mappings", "marks", "gauges", "select", "Table", "1a", "a-b", "a.b", ".a", "con"]
            .map(str::to_owned),
    );
    names.push("a".repeat(300));
    let mut refused = Vec::new();
    for name in &names {
        match record(&[name], "other.trace", dir) {
            Err(said) => {
                // What is no name at all ends the expression before the "=".
                let is_explained = ["choose another one", "expected", "there is no probe kind"];
                assert!(is_explained.iter().any(|text| said.contains(text)), "{name}: {said}");
                refused.push(name);
            }
            Ok(()) => panic!("'{name}' was recorded"),
        }
    }
    assert_eq!(refused.len(), names.len());
    let said = record(&["Foo", "foo"], "twice.trace", dir).expect_err("two names");
    assert!(said.contains("Foo and foo differ only in case"), "{said}");
    // Names of events, analyses and subcommands, and capitals, are none of these.
    let free = [
        "Foo",
        "leaks",
        "gaps",
        "kmem",
        "listens",
        "sql",
        "list",
        "_x",
        "__do_sys_mkdir",
        "information_schema",
    ];
    record(&free, "free.trace", dir).expect("recorded");
    for name in free {
        for written in [name.to_owned(), name.to_uppercase(), format!("\"{name}\"")] {
            let rows =
                ask("free.trace", &format!("SELECT count(*) AS n FROM {written} WHERE mode = 0x1ff"), dir);
            assert_eq!(rows, "n\n1\n", "{written}");
        }
    }
}
