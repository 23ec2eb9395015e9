//! Analyses of the user's own.

use std::fs;

use crate::Bench;

/// An analysis that has each tag.
const QUICK: &str = "\
-- Which programs wait less than so long between two listens.
--
-- Of each program, the shortest time.
--
-- @table listens
-- @param below_ns duration = 1ms: waits that are shorter than this
-- @param comm text = any: only this program, if it is not any
-- @column comm text: program
-- @column shortest_ns s64 [ns]: its shortest
--     wait
-- @loss a wait with a lost listen in it is too long
-- @note
--     SELECT 'of $below_ns ' || CAST(count(*) AS VARCHAR) || ' listens below ' || CAST($below_ns AS VARCHAR) AS note
--     FROM listens
WITH waits AS (
    SELECT comm, ns(ts) - lag(ns(ts)) OVER (PARTITION BY comm ORDER BY ts) AS wait_ns FROM listens
)
SELECT comm, min(wait_ns) AS shortest_ns
FROM waits
WHERE wait_ns < $below_ns AND ($comm = 'any' OR comm = $comm)
GROUP BY comm
ORDER BY comm
";

/// A bench with file `dir/NAME.sql` for each of `files`.
fn with(files: &[(&str, &str)]) -> Bench {
    let bench = Bench::with(&["listens", "kmem_lossy"]);
    fs::create_dir(bench.path("dir")).unwrap();
    for (name, text) in files {
        fs::write(bench.path(&format!("dir/{name}.sql")), text).unwrap();
    }
    bench
}

#[test]
fn a_file_is_function_view_subcommand_list_entry_and_help() {
    let bench = with(&[("quick", QUICK)]);
    let answer = |words: &[&str]| {
        let run = bench.analyze(&[words, &["--library", "dir", "-F", "csv"]].concat());
        assert!(
            run.code < 2 && matches!(run.err.as_str(), "" | "analyze: no rows\n"),
            "{words:?}: {}",
            run.err
        );
        run.out
    };
    let all = answer(&["quick", "listens.trace"]);
    assert!(all.starts_with("comm,shortest_ns\n") && all.lines().count() > 1, "{all}");
    let sql = |query: &str| answer(&["sql", "listens.trace", query]);
    assert_eq!(sql("SELECT * FROM a.quick ORDER BY comm"), all);
    assert_eq!(sql("SELECT * FROM quick(below_ns => '1ms') ORDER BY comm"), all);
    assert_eq!(sql("SELECT * FROM Quick(1000000) ORDER BY comm"), all);
    assert_eq!(answer(&["quick", "listens.trace", "--below", "0ns"]), "comm,shortest_ns\n");
    // Text is a value, whatever is in it.
    let odd = "x' OR 1 = 1 --";
    assert_eq!(answer(&["quick", "listens.trace", "--comm", odd]), "comm,shortest_ns\n");
    let list = bench.analyze(&["list", "--library=dir"]);
    assert!(list.code == 0 && list.out.contains("\nYour own analyses\n  quick "), "{}", list.out);
    assert!(list.out.contains("quick(below_ns => 1000000, comm => "), "{}", list.out);
    let help = bench.analyze(&["quick", "--help", "--library", "dir"]);
    assert_eq!(help.code, 0);
    for text in [
        "Of each program, the shortest time.",
        "--below <DURATION>",
        "shortest_ns        its shortest wait",
        "File: dir/quick.sql",
    ] {
        assert!(help.out.contains(text), "{text}: {}", help.out);
    }
    let help = bench.analyze(&["--library", "dir", "--help"]);
    assert!(help.out.contains("\n  quick "), "{}", help.out);
    let page = bench.analyze(&["listens.trace", "--library", "dir"]);
    assert!(page.out.contains("\n  analyze quick listens.trace "), "{}", page.out);
    // Without the directory there is none.
    assert_eq!(bench.analyze(&["quick", "listens.trace"]).code, 2);
}

#[test]
fn the_directory_of_the_user_is_always_there() {
    let bench = Bench::with(&["listens"]);
    fs::create_dir_all(bench.path("config/ktape/sql")).unwrap();
    fs::write(bench.path("config/ktape/sql/ports.sql"), "-- Which ports.\nSELECT DISTINCT port FROM listens")
        .unwrap();
    let run = bench.analyze(&["ports", "listens.trace", "-F", "csv"]);
    assert!(run.code == 0 && run.out.starts_with("port\n"), "{} {}", run.out, run.err);
    // The same file by another way is no second one.
    let run = bench.analyze(&[
        "ports",
        "listens.trace",
        "--library",
        &bench.path("config/ktape/sql").display().to_string(),
    ]);
    assert!(run.code == 0 && run.err.is_empty(), "{}", run.err);
}

#[test]
fn analyses_use_each_other_and_losses_are_told() {
    let bench = with(&[
        (
            "big_leaks",
            "-- Big.\n-- @param least count = 1: bytes\nSELECT * FROM leaks(0, top => $least) WHERE outstanding >= $least",
        ),
        ("twice", "-- Twice.\nSELECT a.site FROM big_leaks() AS a JOIN a.big_leaks AS b ON a.site = b.site"),
        ("round", "-- Round.\nSELECT * FROM a.round"),
        ("sites", "-- Sites.\n-- @as table\nSELECT site FROM leaks()"),
    ]);
    let run = bench.analyze(&["twice", "kmem_lossy.trace", "--library", "dir"]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(
        run.out.contains("\n-- loss: kmem: ") && run.out.contains("\n-- so: rows are missing"),
        "{}",
        run.out
    );
    // It is none where a query gives the name to a table of its own, as leaks does.
    let alone = "SELECT count(*) > 0 AS some FROM Sites WHERE site <> ''";
    let run = bench.analyze(&["sql", "kmem_lossy.trace", alone, "--library", "dir", "-F", "csv"]);
    assert!(run.out.starts_with("some\ntrue\n"), "{} {}", run.out, run.err);
    let run = bench.analyze(&["round", "kmem_lossy.trace", "--library", "dir"]);
    let wanted = "analyze: analysis 'round' is used too deeply: does it use itself?\n  dir/round.sql, line 2, column 15:\n    \
                  SELECT * FROM a.round\n                  ^^^^^^^\n";
    assert_eq!((run.code, run.err.as_str()), (2, wanted));
}

#[test]
fn what_is_wrong_in_a_file_is_shown_there_when_it_is_used() {
    let bench = with(&[("mine", "-- Mine.\nSELECT comm,\n    prt FROM listens")]);
    let wanted = "analyze: there is no column 'prt'; did you mean 'port' or 'pid' or 'ret'?\n  dir/mine.sql, line 3, column 5:\n        \
                  prt FROM listens\n        ^^^\n";
    for words in [&["mine", "listens.trace"][..], &["sql", "listens.trace", "SELECT * FROM a.mine"]] {
        let run = bench.analyze(&[words, &["--library", "dir"]].concat());
        assert!(run.code == 2 && run.err.starts_with(wanted), "{}", run.err);
    }
}

#[test]
fn a_file_that_is_no_analysis_is_named_and_left_out() {
    let own = "-- Mine.\nSELECT 1 AS one";
    let files = [
        ("bare", "SELECT 1", "1: the file has no header: begin it with a comment that says what it answers"),
        ("silent", "--\nSELECT 1", "1: the first line must say in one sentence what it answers"),
        ("empty", "-- Mine.\n", "2: there is no query below the header"),
        ("wrong", "-- Mine.\n\nSELECT 1\nFROM listens WHERE", "4:19: expected an expression, found the end"),
        ("two", "-- Mine.\nSELECT 1; SELECT 2", "2:11: there are 2 statements; give one query at a time"),
        ("change", "-- Mine.\nDROP TABLE x", "2: an analysis must be a query: SELECT or WITH"),
        ("tag", "-- Mine.\n-- @colum a\nSELECT 1", "2: unknown tag @colum; did you mean 'column'?"),
        (
            "kind",
            "-- Mine.\n--\n-- @param n color = 1: x\nSELECT $n",
            "3: @param: 'color' is no type of a parameter: write duration, count, number, address, text, time or choice(a|b)",
        ),
        (
            "value",
            "-- Mine.\n-- @param n count = x: y\nSELECT $n",
            "2: @param: the default of n: 'x' is no whole number",
        ),
        (
            "form",
            "-- Mine.\n-- @param n count\nSELECT $n",
            "2: @param: ': ' and a description are missing: write NAME TYPE = DEFAULT: what it does",
        ),
        ("unused", "-- Mine.\n-- @param n count = 1: y\nSELECT 1", "2: @param n: the SQL does not use $n"),
        (
            "unknown",
            "-- Mine.\n-- @param number count = 1: y\nSELECT $numbr, $number",
            "3:8: there is no parameter 'numbr'; did you mean 'number'?; declare it in the header: -- @param numbr count = 10: what it does",
        ),
        (
            "option",
            "-- Mine.\n-- @param from count = 1: y\nSELECT $from",
            "2: @param: --from is an option of every analysis: give from another name",
        ),
        (
            "nothing",
            "-- Mine.\nSELECT 1 WHERE 1 = NULL",
            "2:20: a comparison with NULL is never true; write IS NULL",
        ),
        (
            "title",
            "-- Mine.\n-- @column a\nSELECT 1",
            "2: @column: ': ' and a description are missing: write NAME TYPE [UNIT]: what it says",
        ),
        ("leaks", own, " 'leaks' is the name of an analysis that comes with analyze: rename the file"),
        ("kmem", own, " 'kmem' is the name of table kmem: rename the file"),
        ("traces", own, " 'traces' is the name of table traces: rename the file"),
        ("sql", own, " 'sql' is a subcommand of analyze: rename the file"),
        ("runs", own, " 'runs' is an operator of SQL on traces: rename the file"),
        ("a-b", own, " 'a-b' is no name in SQL, which has small letters, digits and '_': rename the file"),
    ];
    let texts: Vec<(&str, &str)> = files.iter().map(|(name, text, _)| (*name, *text)).collect();
    let bench = with(&[&texts[..], &[("good", "-- Good.\nSELECT 1 AS one")]].concat());
    // What does not use them is answered.
    let run = bench.analyze(&["good", "listens.trace", "--library", "dir", "-F", "csv"]);
    assert_eq!((run.code, run.out.as_str()), (0, "one\n1\n"));
    let mut wanted: Vec<(&str, String)> = files
        .iter()
        .map(|(name, _, why)| {
            (*name, format!("analyze: warning: dir/{name}.sql:{why}; the file is left out"))
        })
        .collect();
    wanted.sort_by_key(|(name, _)| format!("{name}.sql"));
    let found: Vec<&str> = run.err.lines().collect();
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, (_, wanted)) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    // Whoever asks what there is, and whoever asks for one of them, is told.
    assert_eq!(bench.analyze(&["list", "--library", "dir"]).code, 1);
    let run = bench.analyze(&["wrong", "listens.trace", "--library", "dir"]);
    assert!(run.code == 2 && run.err.contains("dir/wrong.sql:4:19: expected"), "{}", run.err);
    let run = bench.analyze(&["sql", "listens.trace", "SELECT * FROM wrong()", "--library", "dir"]);
    assert!(
        run.code == 2 && run.err.contains("analysis 'wrong' cannot be used: dir/wrong.sql:4:19: "),
        "{}",
        run.err
    );
    let run = bench.analyze(&["sql", "listens.trace", "SELECT 1", "--library", "nowhere"]);
    assert!(
        run.code == 2 && run.err.contains("--library nowhere: cannot be read: No such file"),
        "{}",
        run.err
    );
}

#[test]
fn two_files_of_one_name_are_not_mixed_up() {
    let bench = with(&[("mine", "-- Mine.\nSELECT 1 AS one")]);
    fs::create_dir(bench.path("other")).unwrap();
    fs::write(bench.path("other/mine.sql"), "-- Mine.\nSELECT 2 AS two").unwrap();
    let run =
        bench.analyze(&["mine", "listens.trace", "--library", "dir", "--library", "other", "-F", "csv"]);
    let warning = "analyze: warning: other/mine.sql: 'mine' is there already, in dir/mine.sql: rename one of them; the file is left out\n";
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "one\n1\n", warning));
}

#[test]
fn the_example_of_the_page_works() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/adding-an-analysis.md")).unwrap();
    let (_, example) = page.split_once("cat > sql/failed_mkdirs.sql <<'END'\n").unwrap();
    let (example, _) = example.split_once("\nEND\n").unwrap();
    let bench = Bench::with(&["mkdirs"]);
    fs::create_dir(bench.path("sql")).unwrap();
    fs::write(bench.path("sql/failed_mkdirs.sql"), example).unwrap();
    let rows = |words: &[&str]| {
        let words = [&["failed_mkdirs", "mkdirs.trace", "--library", "sql", "-F", "csv"], words].concat();
        let run = bench.analyze(&words);
        assert!(run.code == 0 && run.err.is_empty(), "{}", run.err);
        run.out.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[]), ["-13", "-30"]);
    assert_eq!(rows(&["--existing", "yes"]), ["-17", "-13", "-30"]);
    assert_eq!(rows(&["--existing", "yes", "--like", "mk%"]), ["-17", "-13"]);
}
