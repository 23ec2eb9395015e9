//! `--table`: CSV, NDJSON and Parquet of the user's own.

use std::fs;

use crate::Bench;

const NDJSON: &str = r#"{"At":"2027-01-15T08:00:00.000000300Z","addr":"0x10","big":18446744073709551615,"tags":["a","b"],"n":1}

{"At":null,"addr":"0x20","n":2.5,"extra":{"x":1}}
"#;

#[test]
fn tables_of_the_users_own_are_joined_with_the_trace() {
    let bench = Bench::with(&["kmem"]);
    let csv = "Since,until_ts_ns,Name,ptr,zip,empty\n\
               2027-01-15 08:00:00,1800000000000000450,\"first, one\",0x10,007,\n\
               2027-01-15T08:00:01+00:00,1800000001700000000,second,0x70,,\n";
    fs::write(bench.path("spans.csv"), csv).unwrap();
    let query = "SELECT s.name, s.zip, s.empty, count(*) AS n FROM kmem k JOIN spans s \
                 ON k.ts BETWEEN s.since AND s.until_ts_ns AND k.ptr = s.ptr GROUP BY 1, 2, 3 ORDER BY n";
    let words = ["sql", "kmem.trace", query, "--table", "spans=spans.csv", "-F", "csv"];
    let run = bench.analyze(&words);
    assert_eq!(run.out, "name,zip,empty,n\nsecond,,,1\n\"first, one\",007,,4\n", "{}", run.err);
    assert_eq!(
        run.err,
        "analyze: table spans: since time, until_ts_ns time (nanoseconds since 1970), name text, ptr hexadecimal number, \
         zip text, empty text\n"
    );
    // What analyze wrote is read back, in each of the formats.
    let ask = "SELECT ptr, ts, bytes_req FROM kmem ORDER BY ts, ptr LIMIT 5";
    for name in ["own.csv", "own.ndjson", "own.parquet"] {
        bench.analyze(&["sql", "kmem.trace", ask, "-o", name]);
        let same = "SELECT count(*) AS n FROM own o JOIN kmem k ON o.ptr = k.ptr AND o.ts = k.ts \
                    AND o.bytes_req IS NOT DISTINCT FROM k.bytes_req";
        let run = bench.analyze(&["sql", "kmem.trace", same, "--table", &format!("own={name}"), "-F", "csv"]);
        assert_eq!((run.code, run.out.as_str()), (0, "n\n5\n"), "{name}: {}", run.err);
    }
    // Beside an analysis, and within one.
    let leaks = "SELECT count(*) AS n FROM leaks() JOIN own ON true";
    let run = bench.analyze(&["sql", "kmem.trace", leaks, "--table", "own=own.csv", "-F", "csv"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(bench.analyze(&["leaks", "kmem.trace", "--table", "own=own.csv"]).code, 0);
}

#[test]
fn a_table_of_the_users_own_is_the_same_for_each_of_several_traces() {
    let bench = Bench::with(&["kmem", "kmem_bound"]);
    fs::write(bench.path("own.csv"), "name,event\nallocations,kmem\nopened,listens\n").unwrap();
    fs::create_dir(bench.path("dir")).unwrap();
    let counted = "-- How many rows there are of each name.\n--\n-- @column name text: name\n-- @column n s64: rows\n\
                   SELECT o.name, count(k.ptr) AS n\nFROM own AS o LEFT JOIN kmem AS k ON o.event = 'kmem'\n\
                   GROUP BY o.name\nORDER BY o.name\n";
    fs::write(bench.path("dir/counted.sql"), counted).unwrap();
    let ask = |words: &[&str]| {
        let run =
            bench.analyze(&[words, &["--table", "own=own.csv", "--library", "dir", "-F", "csv"]].concat());
        assert!(
            run.code < 2 && run.err.contains("table own: name text, event text"),
            "{words:?}: {}",
            run.err
        );
        run.out
    };
    let alone = |trace: &str| -> Vec<String> {
        let rows = ask(&["counted", trace]);
        rows.lines().skip(1).map(|row| format!("{trace},{row}")).collect()
    };
    let wanted = [alone("kmem.trace"), alone("kmem_bound.trace")].concat();
    assert_eq!(wanted.len(), 4, "{wanted:?}");
    let found = ask(&["counted", "kmem.trace", "kmem_bound.trace"]);
    let found: Vec<String> = found.lines().skip(1).map(|row| row.replace(",alpha,", ",")).collect();
    assert_eq!(found, wanted);
    let query = "SELECT trace, name, count(*) AS n FROM kmem JOIN own ON own.event = 'kmem' GROUP BY trace, name ORDER BY trace";
    let found = ask(&["sql", "kmem.trace", "kmem_bound.trace", query]);
    let wanted: Vec<&String> = wanted.iter().filter(|row| row.contains(",allocations,")).collect();
    assert_eq!(found.lines().skip(1).collect::<Vec<_>>(), wanted);
}

#[test]
fn ndjson_keeps_numbers_of_64_bits_lists_and_times() {
    let bench = Bench::with(&["kmem"]);
    fs::write(bench.path("own.ndjson"), NDJSON).unwrap();
    let query = "SELECT ns(at) AS at, addr, big, tags, n, extra FROM own ORDER BY addr";
    let run = bench.analyze(&["sql", "kmem.trace", query, "--table", "Own=own.ndjson", "-F", "json"]);
    assert_eq!(
        run.out,
        "[{\"at\":1800000000000000300,\"addr\":\"0x10\",\"big\":\"18446744073709551615\",\"tags\":[\"a\",\"b\"],\"n\":1.0},\
         {\"addr\":\"0x20\",\"n\":2.5,\"extra\":{\"x\":1}}]\n",
        "{}",
        run.err
    );
    let count = "SELECT count(*) AS n FROM own JOIN kmem ON own.addr = kmem.ptr AND own.at = kmem.ts";
    let run = bench.analyze(&["sql", "kmem.trace", count, "--table", "own=own.ndjson", "-F", "csv"]);
    assert_eq!(run.out, "n\n1\n");
}

#[test]
fn a_number_is_a_time_only_where_its_name_or_the_user_says_so() {
    let bench = Bench::with(&["kmem"]);
    fs::write(bench.path("own.csv"), "at,took_ms,ts_s\n1800000000.25,1800000000,1800000001\n").unwrap();
    let query = "SELECT CAST(at AS VARCHAR) AS at, took_ms, CAST(ts_s AS VARCHAR) AS ts FROM own";
    let words = ["sql", "kmem.trace", query, "--table", "own=own.csv", "-F", "csv"];
    let run = bench.analyze(&words);
    assert_eq!(run.out, "at,took_ms,ts\n1800000000.25,1800000000,2027-01-15T08:00:01Z\n", "{}", run.err);
    let run = bench.analyze(&[&words[..], &["--epoch", "own.at=s"]].concat());
    assert_eq!(
        run.out, "at,took_ms,ts\n2027-01-15T08:00:00.250Z,1800000000,2027-01-15T08:00:01Z\n",
        "{}",
        run.err
    );
    let told = |epoch: &str| {
        let run = bench.analyze(&[&words[..], &["--epoch", epoch]].concat());
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{}", run.err);
        run.err
    };
    assert_eq!(
        told("own.at=ns"),
        "analyze: --table own=own.csv: own.csv column at: '1800000000.25' is no number of nanoseconds\n"
    );
    assert!(told("own.att=s").contains(
        "names a column 'att' that it does not have; did you mean 'at'?; columns: at, took_ms, ts_s"
    ));
    assert_eq!(
        told("onw.at=s"),
        "analyze: --epoch onw.at: there is no --table onw: write --table onw=FILE\n"
    );
    assert!(told("own.at=h").contains("write --epoch TABLE.COLUMN=UNIT with the unit s, ms, us or ns"));
}

#[test]
fn what_is_wrong_with_a_file_or_its_name_is_told_with_its_line() {
    let bench = Bench::with(&["kmem"]);
    let write = |name: &str, text: &str| fs::write(bench.path(name), text).unwrap();
    write("ok.csv", "a\n1\n");
    write("fields.csv", "a,b\n1,2\n\n\"x\ny\",2\n1,2,3\n");
    fs::write(bench.path("bytes.csv"), b"a\n1\n\xff\n").unwrap();
    write("twice.csv", "a,A\n1,2\n");
    write("bad.ndjson", "{\"a\":1}\n{\"a\":\n");
    write("array.ndjson", "{\"a\":1}\n\n[1]\n");
    write("bad.parquet", "no Parquet");
    write("rows.xlsx", "");
    let refused = |table: &str, line: &str| {
        bench.refused(
            &["sql", "kmem.trace", "SELECT 1", "--table", table],
            &format!("analyze: --table {table}: {line}"),
        );
    };
    refused("x=none.csv", "cannot read none.csv: No such file or directory (os error 2)");
    refused("x=rows.xlsx", "the name of a file must end with .csv, .tsv, .ndjson, .jsonl or .parquet");
    refused(
        "x=fields.csv",
        "fields.csv line 6: it has 3 fields, and the header has 2: put fields that have a comma in quotes",
    );
    refused("x=bytes.csv", "bytes.csv line 3: field 1 is not UTF-8: convert the file");
    refused("x=twice.csv", "twice.csv line 1: it has two columns 'a', in upper or lower case: rename one");
    refused("x=array.ndjson", "array.ndjson line 3: it is no JSON object: write {\"name\": value}");
    refused("kmem=ok.csv", "there is a table kmem already: give yours another name");
    refused("Losses=ok.csv", "there is a table losses already: give yours another name");
    fs::create_dir(bench.path("dir.csv")).unwrap();
    refused("x=dir.csv", "dir.csv is not a regular file: it is read more than once");
    refused("x", "write --table NAME=FILE");
    let run = bench.analyze(&["sql", "kmem.trace", "SELECT 1", "--table", "x=bad.ndjson"]);
    assert!(run.code == 2 && run.err.contains("bad.ndjson line 2: it is no JSON: "), "{}", run.err);
    let run = bench.analyze(&["sql", "kmem.trace", "SELECT 1", "--table", "x=bad.parquet"]);
    assert!(run.code == 2 && run.err.contains("bad.parquet is damaged, or no Parquet file"), "{}", run.err);
    let run = bench.analyze(&["sql", "kmem.trace", "SELECT 1", "--table", "a b=ok.csv"]);
    assert!(run.code == 2 && run.err.contains("the name 'a b' "), "{}", run.err);
    let twice = ["sql", "kmem.trace", "SELECT 1", "--table", "x=ok.csv", "--table", "X=ok.csv"];
    assert!(bench.analyze(&twice).err.contains("there is a table x already"));
}

#[test]
fn a_table_as_large_as_a_log_is_read_a_part_at_a_time() {
    let bench = Bench::with(&["kmem"]);
    let line = format!("1,{}\n", "x".repeat(1000));
    fs::write(bench.path("wide.csv"), format!("n,text\n{}", line.repeat(200_000))).unwrap();
    // 200 MB of rows; threads, stacks and the program itself take part of the limit.
    let query = "SELECT sum(n) AS n FROM wide";
    let mut command = std::process::Command::new("sh");
    let limited = "ulimit -d 600000; exec \"$0\" \"$@\"";
    command.args(["-c", limited, env!("CARGO_BIN_EXE_analyze"), "sql", "kmem.trace", query]);
    command.args(["--table", "wide=wide.csv", "-F", "csv", "--threads", "2"]).current_dir(bench.dir.path());
    let output = command.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "n\n200000\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
