//! What `analyze` prints is accepted back, and JSON changes no number: the truth is the fixture's text and Python's reader.

use std::process::Command;

use super::Bench;

/// Rows of fixture kmem (fixtures/synthetic/kmem/kmem.csv) with this pointer: two allocations and two frees.
const PTR: &str = "0x10";

fn count(bench: &Bench, trace: &str, query: &str) -> String {
    let run = bench.analyze(&["sql", trace, query, "-F", "csv"]);
    assert!(run.code < 2, "{query}: {}", run.err);
    run.out.lines().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn addresses_are_accepted_as_they_are_printed() {
    let bench = Bench::with(&["kmem"]);
    for condition in [
        format!("ptr = {PTR}"),
        "ptr = 0X10".to_owned(),
        format!("ptr = '{PTR}'"),
        format!("'{PTR}' = ptr"),
        format!("ptr IN ({PTR}, 0xffff888100dc7000)"),
        format!("ptr IN ('{PTR}', '0xffff888100dc7000')"),
        format!("ptr BETWEEN {PTR} AND 0x1f"),
        format!("ptr BETWEEN '{PTR}' AND '0x1f'"),
        format!("ptr & 0xf0 = {PTR}"),
        format!("ptr <> 0xffff888100dc7000 AND NOT ptr > '{PTR}' -- 0x99"),
        format!("PTR = {PTR} AND 'a 0x10' = 'a ' || '0x10'"),
    ] {
        let query = format!("SELECT count(*) FROM kmem WHERE {condition}");
        assert_eq!(count(&bench, "kmem.trace", &query), "4", "{condition}");
    }
    let names =
        "SELECT symbol(0xa0) AS a, symbol('0xa0') AS b, symbol(160) AS c, symbol(0xffff888100dc7000) AS d";
    let run = bench.analyze(&["sql", "kmem.trace", names, "-F", "csv"]);
    let name = "make_thing+0x10";
    assert_eq!(run.out.lines().nth(1), Some(&*format!("{name},{name},{name},0xffff888100dc7000")));
    let by_name = format!("SELECT count(*) FROM kmem WHERE call_site = '{name}'");
    let by_address = "SELECT count(*) FROM kmem WHERE call_site = 0xa0";
    assert_eq!(count(&bench, "kmem.trace", &by_name), count(&bench, "kmem.trace", by_address));
    // An address without a name is printed as an address, in a column of text.
    let nameless = "SELECT count(*) FROM leaks() WHERE site = 0xb0";
    let bench = Bench::with(&["kmem_lossy"]);
    assert_eq!(count(&bench, "kmem_lossy.trace", nameless), "1");
    let times = "SELECT count(*) FROM kmem WHERE ts = '2027-01-15T08:00:00.000000300Z'";
    assert_eq!(count(&bench, "kmem_lossy.trace", times), "1");
    bench.refused(
        &["sql", "kmem_lossy.trace", "SELECT 0xfg"],
        "analyze: '0xfg' is no hexadecimal number of at most 64 bits\n  line 1, column 8:\n    SELECT 0xfg\n           ^^^^",
    );
}

#[test]
fn names_are_found_in_any_case_and_titles_stay_as_asked() {
    let bench = Bench::with(&["kmem"]);
    for query in [
        "SELECT \"PTR\" FROM \"Kmem\" WHERE \"Kmem\".\"Ptr\" = 0x10 LIMIT 1",
        "SELECT Ptr FROM KMEM AS \"K\" WHERE k.ptr = 16 LIMIT 1",
        "SELECT ptr FROM (SELECT ptr FROM Leaks() CROSS JOIN kmem) AS X WHERE \"x\".PTR = 0x10 LIMIT 1",
    ] {
        assert_eq!(count(&bench, "kmem.trace", query), "16", "{query}");
    }
    let titles = "SELECT 1 AS \"Two Words\", 2 AS \"lower\" ORDER BY \"Two Words\"";
    assert_eq!(bench.analyze(&["sql", "kmem.trace", titles, "-F", "csv"]).out, "Two Words,lower\n1,2\n");
    let run = bench.analyze(&["sql", "kmem.trace", "SELECT 1 FROM \"Kmems\""]);
    assert!(run.err.contains("there is no table 'kmems'; did you mean 'kmem'?"), "{}", run.err);
}

/// Doubles are what jq, browsers and pandas make of numbers.
const AS_DOUBLES: &str = "import json, sys
keep = json.load(sys.stdin)
doubles = json.loads(json.dumps(keep), parse_int=lambda text: int(float(text)))
assert keep == doubles, [(a, b) for a, b in zip(keep, doubles) if a != b]
print(json.dumps(keep))";

#[test]
fn no_reader_of_json_changes_an_identifier_and_measures_are_numbers() {
    let bench = Bench::with(&[]);
    let trace = fixtures::root().join("captured/kmem.trace");
    let query =
        "SELECT ptr, ptr AS p, max(ptr) OVER () AS most, ptr + 8 AS next, ptr & 0xfff AS low, k.call_site,
            coalesce(k.ptr, 0) AS c, k.kstack, cgroup_id, frames, bytes_alloc, seq, row_number() OVER () AS n
        FROM kmem AS k JOIN stacks AS s ON k.kstack = s.stack_id
        WHERE bytes_alloc IS NOT NULL ORDER BY k.ts, k.seq LIMIT 50";
    let run = bench.analyze(&["sql", trace.to_str().unwrap(), query, "-F", "json"]);
    let python = std::env::var_os("KTAPE_PYTHON").map(std::path::PathBuf::from).unwrap_or_else(|| {
        let target = std::path::Path::new(env!("CARGO_BIN_EXE_analyze")).ancestors().nth(2).unwrap();
        target.join("python/bin/python")
    });
    let mut child = Command::new(python)
        .args(["-c", AS_DOUBLES])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), run.out.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", run.out);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.len(), 50, "{}", run.err);
    // CSV has the numbers of the file itself, in decimal.
    let csv = bench.analyze(&["sql", trace.to_str().unwrap(), query, "-F", "csv"]).out;
    for (row, line) in rows.iter().zip(csv.lines().skip(1)) {
        let cells: Vec<&str> = line.split(',').collect();
        let hex =
            |name: &str| u64::from_str_radix(row[name].as_str().unwrap().strip_prefix("0x").unwrap(), 16);
        for (cell, name) in ["ptr", "p", "most", "next", "low", "call_site", "c"].iter().enumerate() {
            assert_eq!(hex(name).unwrap().to_string(), cells[cell], "{name}");
        }
        assert_eq!((row["kstack"].as_str(), row["cgroup_id"].as_str()), (Some(cells[7]), Some(cells[8])));
        assert!(
            row["frames"].as_array().unwrap().iter().all(|frame| frame.as_str().unwrap().starts_with("0x"))
        );
        for name in ["bytes_alloc", "seq", "n"] {
            assert!(row[name].is_number(), "{name}: {}", row[name]);
        }
    }
    // What JSON has as text is accepted back.
    let first = &rows[0];
    let again = format!(
        "SELECT count(*) > 0 FROM kmem WHERE ptr = '{}' AND kstack = '{}' AND cgroup_id = '{}'",
        first["ptr"].as_str().unwrap(),
        first["kstack"].as_str().unwrap(),
        first["cgroup_id"].as_str().unwrap()
    );
    assert_eq!(count(&bench, trace.to_str().unwrap(), &again), "true");
}
