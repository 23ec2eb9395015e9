//! Built-in definitions are sound; wrong ones say what is wrong, where.

use super::*;

#[test]
fn the_built_in_events_are_sound() {
    let always: Vec<&str> = builtin().iter().filter(|e| e.always).map(|e| e.name.as_str()).collect();
    assert_eq!(always, ["cgroup_changes", "processes"]);
}

#[test]
fn every_definition_file_is_built_in() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/events");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".toml", ""))
        .collect();
    files.sort();
    let names: Vec<&str> = builtin().iter().map(|e| e.name.as_str()).collect();
    assert_eq!(files, names);
}

#[test]
fn a_probe_overrides_its_source() {
    let text = r#"
        summary = "s"
        [[source]]
        let = { a = "x", b = "y" }
        where = "a == 1"
        set = { c = "1", d = "2" }
        [[source.probe]]
        on = "fn:f"
        [[source.probe]]
        on = "tp:t:g"
        let = { a = "z" }
        where = "b == 1"
        set = { d = "3" }
        [[column]]
        name = "c"
        doc = ""
        [[column]]
        name = "d"
        doc = ""
        expr = "4"
    "#;
    let event = parse_toml("e", text).unwrap();
    let source = &event.sources[0];
    assert_eq!(source.name, "f");
    let texts = |table: &BTreeMap<String, Field>| {
        table.iter().map(|(k, f)| format!("{k}={}", f.text)).collect::<Vec<_>>().join(" ")
    };
    let [first, second] = &source.probes[..] else { panic!("two probes") };
    assert_eq!(texts(&first.lets), "a=x b=y");
    assert_eq!(texts(&second.lets), "a=z b=y");
    assert_eq!(texts(&second.set), "c=1 d=3");
    assert_eq!(second.predicate.as_ref().unwrap().text, "b == 1");
    assert_eq!(first.value(&event.columns[1]).unwrap().text, "2");
}

fn toml_error(text: &str) -> String {
    parse_toml("e", text).unwrap_err().to_string()
}

#[test]
fn a_wrong_definition_says_what_and_where() {
    let source = "[[source]]\n[[source.probe]]\non = \"fn:f\"\n";
    let column = "[[column]]\nname = \"c\"\ndoc = \"\"\n";
    assert_eq!(
        toml_error(&format!("summary = \"s\"\n{source}wehre = \"x\"\n{column}")),
        "event e: TOML parse error at line 5, column 1\n  |\n5 | wehre = \"x\"\n  | ^^^^^\nunknown field `wehre`, expected one of \
         `on`, `let`, `where`, `once`, `set`, `when`, `misses`"
    );
    assert_eq!(
        toml_error(&format!("summary = \"s\"\n{source}where = \"x ==\"\n{column}")),
        "event e, source f, probe fn:f, where: expected a name, a number, $task, retval or '(', found the end\n  x ==\n      ^"
    );
    assert_eq!(
        toml_error(&format!("summary = \"s\"\n{source}set = {{ cc = \"1\" }}\n{column}")),
        "event e, source f, probe fn:f: set names a column cc that is not there; there is c"
    );
    assert_eq!(
        toml_error(&format!("summary = \"s\"\n{source}{column}expr = \"1 + entry(x)\"\n")),
        "event e, source f, probe fn:f: entry(..) must be the whole expression of a column\n  1 + entry(x)\n      ^^^^^^^^"
    );
    let ends = "[[source]]\nname = \"g\"\nends = \"p\"\n[[source.probe]]\non = \"fn:g\"\n";
    assert_eq!(
        toml_error(&format!("summary = \"s\"\n{source}{ends}{column}")),
        "event e, source g, probe fn:g: ends goes with begins in another source of the event"
    );
    let begins = source.replace("[[source]]\n", "[[source]]\nbegins = \"p\"\nnests = true\n");
    let event = parse_toml("e", &format!("summary = \"s\"\n{begins}{ends}{column}")).unwrap();
    let [begin, end] = [&event.sources[0].probes[0], &event.sources[1].probes[0]];
    assert!(begin.begins.is_some() && begin.ends.is_none() && begin.nests);
    assert!(end.begins.is_none() && end.ends.is_some() && !end.nests);
    assert_eq!(
        toml_error(&format!("summary = \"s\"\n{source}{column}{column}")),
        "event e has two columns named c: write NAME=expression to rename one"
    );
}

#[test]
fn an_inline_probe_becomes_an_event() {
    let event = parse_inline("dirs=syscall:mkdir{ pathname:ustring, mode }").unwrap();
    assert_eq!(event.name, "dirs");
    assert_eq!(event.columns[0].ty, Some(Type::UserStr(127)));
    assert_eq!((event.columns[1].name.as_str(), event.columns[1].ty.clone()), ("mode", None));
    assert!(!event.everything && parse_inline("tp:a:b").unwrap().everything);
    assert_eq!(
        parse_inline("fn:f{ pid }").unwrap_err().to_string(),
        "event f: every event has a column pid already, about the task and processor on which the probe ran: leave it \
         out; a field or argument of that name is pid_, and a column of another value may be named so: \
         pid_=expression"
    );
}

#[test]
fn no_column_takes_the_place_of_a_context_column() {
    let names = |text: &str| -> Vec<String> {
        parse_inline(text).unwrap().columns.into_iter().map(|column| column.name).collect()
    };
    assert_eq!(
        names("fn:f{ comm, uid, $gid, a->b->comm, (*a).cpu, x=pid, retval:s32 }"),
        ["comm", "uid", "gid", "comm_", "cpu_", "x", "retval"]
    );
    let refused = |text: &str| parse_inline(text).unwrap_err().to_string();
    for name in ["comm", "cgroup_id", "netns", "uid", "gid", "kstack", "ustack", "weight", "Comm"] {
        let error = refused(&format!("fn:f{{ {name}=a->b }}"));
        assert!(error.contains(&format!("write {name}_=expression")), "{error}");
    }
    for name in ["ts", "cpu", "pid", "tid", "probe", "seq", "faults", "cuts", "PID"] {
        let error = refused(&format!("fn:f{{ {name}=a->b }}"));
        assert!(error.contains(&format!("a field or argument of that name is {name}_")), "{error}");
    }
    assert_eq!(
        refused("fn:f{ Foo=a, foo=b }"),
        "event f has columns Foo and foo, which are one name in SQL: write NAME=expression to rename one"
    );
    assert_eq!(
        refused("fn:f{ a, a->a }"),
        "event f has two columns named a: write NAME=expression to rename one"
    );
    // The same in a file, in whichever key.
    let toml = |source: &str, column: &str| {
        let text = format!(
            "summary = \"s\"\n[[source]]\n{source}[[source.probe]]\non = \"fn:f\"\n[[column]]\nname = \"comm\"\ndoc = \"\"\n{column}"
        );
        parse_toml("e", &text).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(toml("", "expr = \"$comm\"\n"), Ok(()));
    assert_eq!(toml("pid = \"t->tgid\"\ntid = \"t->pid\"\n", "expr = \"t->comm:string\"\n"), Ok(()));
    assert_eq!(toml("", "subject = \"the socket\"\nexpr = \"s->comm\"\n"), Ok(()));
    assert!(toml("", "expr = \"t->comm\"\n").unwrap_err().contains("write comm_=expression"));
    assert!(toml("set = { comm = \"t->comm\" }\n", "").unwrap_err().contains("write comm_=expression"));
    assert!(toml("let = { comm = \"t\" }\n", "expr = \"$comm\"\n").unwrap_err().contains("let comm: "));
    assert!(toml("pid = \"t->tgid\"\n", "expr = \"t->comm\"\n").unwrap_err().contains("give both"));
}

#[test]
fn a_definition_says_what_it_excludes_covers_and_misses() {
    let text = "summary = 's'\nexcludes = 'what is none'\n[[source]]\ncovers = 'IORING_OP_MKDIRAT'\n[[source.probe]]\n\
                on = 'fn:f'\nmisses = ['one', 'two']\n[[column]]\nname = 'c'\ndoc = 'd'\nexpr = '$abi'\n";
    let event = parse_toml("e", text).unwrap();
    assert_eq!(event.excludes.as_deref(), Some("what is none"));
    assert_eq!(event.sources[0].covers.as_deref(), Some("IORING_OP_MKDIRAT"));
    assert_eq!(event.sources[0].probes[0].misses, ["one", "two"]);
}
