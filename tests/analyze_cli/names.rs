//! Traces of older recorders, which took any name for an event: they open, and what has another name here is said.

use std::fs;

use super::Bench;

/// Fixture mkdirs with its event, and each of `others`, under these names.
fn trace(bench: &Bench, names: &[&str]) {
    let dir = bench.path("mkdirs.trace");
    let path = dir.join("trace.json");
    let mut meta: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let layout = meta["events"][0].clone();
    let renamed = |name: &&str| {
        let mut layout = layout.clone();
        layout["event"] = (*name).into();
        layout
    };
    meta["events"] = names.iter().map(renamed).collect();
    fs::write(&path, meta.to_string()).unwrap();
    for name in names {
        fs::create_dir(dir.join(name)).unwrap();
        fs::copy(dir.join("mkdirs/000000.parquet"), dir.join(name).join("000000.parquet")).unwrap();
    }
}

#[test]
fn events_with_names_of_tables_or_names_that_differ_in_case_get_others() {
    let bench = Bench::old(&["mkdirs"]);
    trace(&bench, &["Foo", "foo", "Stacks", "traces", "loss_reasons", "Kmem_Pairs"]);
    let rows = |table: &str| {
        let query = format!("SELECT count(*) AS n FROM {table}");
        let run = bench.analyze(&["sql", "mkdirs.trace", &query, "-F", "csv"]);
        assert!(run.err.contains("warning: mkdirs.trace: event foo is table foo_2 here"), "{}", run.err);
        assert!(run.err.contains("event Stacks is table stacks_event here"), "{}", run.err);
        (run.code, run.out.trim_start_matches("n\n").trim_end().parse::<u32>().unwrap())
    };
    let all = rows("Foo");
    assert!(all.1 > 0 && all.0 == 0, "a rename is no doubt: {all:?}");
    for table in [
        "foo",
        "FOO",
        "\"Foo\"",
        "foo_2",
        "stacks_event",
        "traces_event",
        "loss_reasons_event",
        "kmem_pairs_event",
    ] {
        assert_eq!(rows(table), all, "{table}");
    }
    assert_eq!((rows("stacks").1, rows("traces").1), (0, 1));
    let page = bench.analyze(&["mkdirs.trace"]);
    assert!(
        page.code == 0 && page.out.contains("\n  Foo ") && page.out.contains("\n  stacks_event "),
        "{}",
        page.out
    );
}

#[test]
fn columns_with_names_of_others_get_others() {
    let bench = Bench::old(&["mkdirs"]);
    let dir = bench.path("mkdirs.trace");
    let before = bench
        .analyze(&["sql", "mkdirs.trace", "SELECT mode, ret FROM mkdirs ORDER BY ts, seq", "-F", "csv"])
        .out;
    let text = fs::read_to_string(dir.join("trace.json")).unwrap();
    let text = text
        .replace("\"name\": \"mode\"", "\"name\": \"Host\"")
        .replace("\"name\": \"ret\"", "\"name\": \"PATH\"");
    fs::write(dir.join("trace.json"), text).unwrap();
    // The file has them under the same names as trace.json.
    let script = "import sys, pyarrow.parquet as pq\n\
                  t = pq.read_table(sys.argv[1])\n\
                  pq.write_table(t.rename_columns([{'mode': 'Host', 'ret': 'PATH'}.get(c, c) for c in t.column_names]), sys.argv[1])";
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_analyze")).ancestors().nth(2).unwrap();
    let python =
        std::env::var_os("KTAPE_PYTHON").map_or_else(|| target.join("python/bin/python"), Into::into);
    let file = dir.join("mkdirs/000000.parquet");
    assert!(std::process::Command::new(python).args(["-c", script]).arg(&file).status().unwrap().success());
    let run = bench.analyze(&[
        "sql",
        "mkdirs.trace",
        "SELECT host_, path_2 FROM mkdirs ORDER BY ts, seq",
        "-F",
        "csv",
    ]);
    assert!(run.err.contains("column Host of table mkdirs is host_ here"), "{}", run.err);
    assert!(run.err.contains("column PATH of table mkdirs is path_2 here"), "{}", run.err);
    assert_eq!(run.out.lines().skip(1).collect::<Vec<_>>(), before.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn a_column_with_capitals_is_found_in_any_case_and_shown_as_recorded() {
    let bench = Bench::old(&["mkdirs"]);
    let dir = bench.path("mkdirs.trace");
    let text = fs::read_to_string(dir.join("trace.json")).unwrap();
    fs::write(dir.join("trace.json"), text.replace("\"name\": \"mode\"", "\"name\": \"fMode\"")).unwrap();
    // The file has none of that name: it is NULL, and found.
    for column in ["fmode", "fMode", "\"fMode\"", "\"FMODE\""] {
        let query = format!("SELECT {column}, count({column}) FROM mkdirs GROUP BY {column}");
        let run = bench.analyze(&["sql", "mkdirs.trace", &query, "-F", "csv"]);
        assert!(
            run.code == 0 && run.out.lines().next().unwrap().ends_with(")"),
            "{column}: {} {}",
            run.out,
            run.err
        );
        assert_eq!(run.err, "");
    }
    let run = bench.analyze(&["sql", "mkdirs.trace", "SELECT fmode FROM mkdirs LIMIT 1", "-F", "csv"]);
    assert!(run.out.starts_with("fMode\n"), "{}", run.out);
}
