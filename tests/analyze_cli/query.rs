//! Where a query comes from, and its parameters.

use std::fs;

use crate::Bench;

#[test]
fn a_query_comes_from_the_command_line_a_file_or_standard_input() {
    let bench = Bench::with(&["mkdirs", "listens"]);
    let query = "SELECT count(*) AS n\nFROM mkdirs -- all\n;\n";
    fs::write(bench.path("q.sql"), query).unwrap();
    let wanted = bench.analyze(&["sql", "mkdirs.trace", "SELECT count(*) AS n FROM mkdirs", "-F", "csv"]);
    assert!(wanted.code == 0 && wanted.out.starts_with("n\n"), "{}", wanted.err);
    for (words, input) in [
        (&["sql", "mkdirs.trace", "-f", "q.sql", "-F", "csv"][..], ""),
        (&["sql", "-f", "q.sql", "-F", "csv", "mkdirs.trace"], ""),
        (&["sql", "mkdirs.trace", "-f", "-", "-F", "csv"], query),
        (&["sql", "mkdirs.trace", "-F", "csv"], query),
        (&["sql", "mkdirs.trace", "listens.trace", "-F", "csv"], query),
    ] {
        let run = bench.analyze_from(words, input);
        assert_eq!((run.code, run.out), (0, wanted.out.clone()), "{words:?}: {}", run.err);
    }
    bench.refused(
        &["sql", "mkdirs.trace", "-f", "none.sql"],
        "analyze: cannot read the query in none.sql: No such file or directory (os error 2)",
    );
    bench.refused(
        &["sql", "mkdirs.trace"],
        "analyze: the query is empty: try \"SHOW TABLES\" or \"SELECT * FROM listens LIMIT 10\"",
    );
}

#[test]
fn a_parameter_has_the_type_of_its_value() {
    let bench = Bench::with(&["mkdirs", "kmem"]);
    let rows = |trace: &str, query: &str, params: &[&str]| {
        let mut words = vec!["sql", trace, query, "-F", "csv"];
        params.iter().for_each(|param| words.extend(["--param", param]));
        let run = bench.analyze(&words);
        assert_eq!(run.code, 0, "{params:?}: {}", run.err);
        run.out
    };
    assert_eq!(
        rows("kmem.trace", "SELECT count(*) AS n FROM kmem WHERE ptr = $ptr", &["ptr=0x20"]),
        "n\n3\n"
    );
    let since = "SELECT count(*) AS n FROM kmem WHERE ts >= $since";
    for time in ["since=+1s", "since=2027-01-15T08:00:01Z", "since=2027-01-15 08:00:01"] {
        assert_eq!(rows("kmem.trace", since, &[time]), "n\n1\n");
    }
    let long =
        "SELECT count(*) AS n FROM kmem WHERE ns(ts) - ns((SELECT start_ts FROM traces)) > $min LIMIT $limit";
    assert_eq!(rows("kmem.trace", long, &["min=1.5s", "limit=1"]), "n\n1\n");
    let text = "SELECT $a AS a, $b AS b, $c AS c, $D AS d";
    let values = ["a='42'", "b=o'brien", "c=x' OR 1=1 --", "d=-2.5"];
    assert_eq!(rows("kmem.trace", text, &values), "a,b,c,d\n42,o'brien,x' OR 1=1 --,-2.5\n");
    // In the arguments of an analysis, too; the name of its own parameter is not in the way.
    let leaks = "SELECT count(*) AS n FROM leaks(top => $top)";
    assert_eq!(rows("kmem.trace", leaks, &["top=1"]), "n\n1\n");
    let leaks = |given: &str| format!("SELECT * FROM leaks({given}) ORDER BY site, stack");
    let written = rows("kmem.trace", &leaks("min_age_ns => 100000000, by => 'stack'"), &[]);
    assert_eq!(
        rows("kmem.trace", &leaks("min_age_ns => $age, by => $by"), &["age=100ms", "by=stack"]),
        written
    );
    // In text and comments there is no parameter.
    assert_eq!(rows("kmem.trace", "SELECT '$x' AS x /* $y */", &[]), "x\n$x\n");
}

#[test]
fn a_parameter_without_a_value_and_a_value_without_a_parameter_are_told() {
    let bench = Bench::with(&["mkdirs"]);
    bench.refused(
        &["sql", "mkdirs.trace", "SELECT $limit", "--param", "limt=5"],
        "analyze: parameter $limit has no value; did you mean 'limt'?\n  line 1, column 8:\n    SELECT $limit\n           ^^^^^^\n  \
         give it one with --param limit=VALUE, in the shell with \\set limit VALUE",
    );
    bench.refused(
        &["sql", "mkdirs.trace", "SELECT 1", "--param", "limit=5"],
        "analyze: --param limit: the query has no parameter $limit: write $limit where its value is to stand",
    );
    bench.refused(
        &["sql", "mkdirs.trace", "SELECT $a", "--param", "a"],
        "analyze: parameter 'a' has no value: write a=VALUE",
    );
    let run = bench.analyze(&["sql", "mkdirs.trace", "SELECT $a", "--param", "a=2027-13-01"]);
    assert!(
        run.code == 2 && run.err.starts_with("analyze: parameter 'a': '2027-13-01' is no time"),
        "{}",
        run.err
    );
}

#[test]
fn losses_of_what_a_function_looks_up_are_told() {
    let bench = Bench::with(&["who"]);
    let query = "SELECT process(102, utc(1800000000000001000)) AS name";
    let run = bench.analyze(&["sql", "who.trace", query]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(run.out.starts_with("name\nsh\n-- loss: processes: 2 lost from "), "{}", run.out);
    let run = bench.analyze(&["sql", "who.trace", "SELECT errno_name(-17) AS name"]);
    assert_eq!((run.code, run.out.as_str()), (0, "name\nEEXIST\n"), "it looks nothing up");
}
