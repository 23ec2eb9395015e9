//! Events as people name them in, their definitions out: built-in names and patterns, TOML files, inline probes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use glob::Pattern;
use schemas::def::{Aggregate, EventDef, builtin, parse_inline, parse_toml};
use schemas::expr::near;

const SUFFIX: &str = ".toml";

/// What a recording records.
#[derive(Clone, Debug)]
pub struct Selection {
    /// All definitions; what was asked for comes first.
    pub events: Vec<EventDef>,
    /// How many of them were asked for; the others are recorded with every trace.
    pub asked: usize,
}

impl Selection {
    /// The definitions of `words`, and of what is recorded always. Fails if one is unknown, or two have one name.
    pub fn new(words: &[String]) -> Result<Self> {
        let mut events: Vec<EventDef> = Vec::new();
        for word in words {
            for event in find(word)? {
                // SQL finds names in any case, and some file systems take them for one.
                match events.iter().find(|other| other.name.eq_ignore_ascii_case(&event.name)) {
                    None => events.push(event),
                    Some(same) if *same == event => {}
                    Some(same) if same.only_if != event.only_if && same.name == event.name => bail!(
                        "{} is asked for twice, with different conditions: write one, as in '{0} if A || B'",
                        event.name
                    ),
                    Some(same) if same.name == event.name => bail!(
                        "two events are named {}: give one another name, as in 'NAME=KIND:TARGET'",
                        event.name
                    ),
                    Some(same) => bail!(
                        "events {} and {} differ only in case, and SQL does not tell them apart: give one another \
                         name, as in 'NAME=KIND:TARGET'",
                        same.name,
                        event.name
                    ),
                }
            }
        }
        for event in &events {
            let name = &event.name;
            let is_other = |other: &EventDef| !other.name.eq_ignore_ascii_case(name) || other == event;
            ensure!(
                builtin().iter().all(|other| !other.always || is_other(other)),
                "event name {name} is taken by an event that every trace has: choose another one"
            );
        }
        let asked = events.len();
        let always =
            builtin().iter().filter(|event| event.always && events.iter().all(|e| e.name != event.name));
        events.extend(always.cloned().collect::<Vec<_>>());
        Ok(Self { events, asked })
    }

    /// Names of what was asked for.
    pub fn asked_names(&self) -> Vec<&str> {
        self.events[..self.asked].iter().map(|event| event.name.as_str()).collect()
    }
}

/// The definitions that `word` stands for; patterns may stand for several.
pub fn find(word: &str) -> Result<Vec<EventDef>> {
    if let Some((event, aggregate)) = Aggregate::split(word)? {
        return aggregated(event, &aggregate).with_context(|| format!("'{word}'"));
    }
    if let Some((head, condition)) = word.split_once(" if ")
        && !head.contains([':', '{', '='])
    {
        let only = |event: EventDef| event.only_if(condition).with_context(|| format!("'{word}'"));
        return find(head.trim())?.into_iter().map(only).collect();
    }
    if word.ends_with(SUFFIX) {
        return Ok(vec![file(Path::new(word))?]);
    }
    if word.contains([':', '{', '=']) {
        return Ok(vec![parse_inline(word)?]);
    }
    if let Some(event) = builtin().iter().find(|event| event.name == word) {
        return Ok(vec![event.clone()]);
    }
    let names = || builtin().iter().map(|event| event.name.as_str());
    let all = || names().collect::<Vec<_>>().join(", ");
    if word.contains(['*', '?', '[']) {
        let pattern = Pattern::new(word).with_context(|| format!("'{word}' is not a pattern"))?;
        let found: Vec<EventDef> =
            builtin().iter().filter(|event| pattern.matches(&event.name)).cloned().collect();
        ensure!(!found.is_empty(), "no event matches '{word}'; there are {}", all());
        return Ok(found);
    }
    if word.contains('/') {
        bail!("event file {word} must end in {SUFFIX}; its name is the name of the event");
    }
    let near = near(word, names());
    let hint = if near.is_empty() {
        format!("there are {}.", all())
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    bail!(
        "there is no event '{word}': {hint} A probe of your own is written 'fn:FUNCTION', 'tp:CATEGORY:NAME' or \
         'syscall:NAME'"
    )
}

/// `EVENT` or `NAME=EVENT`, counted in the kernel.
fn aggregated(event: &str, aggregate: &Aggregate) -> Result<Vec<EventDef>> {
    let (name, event) = match event.split_once('=') {
        // The name of an inline probe is the table's as well.
        Some((name, other)) if is_named(name) => (Some(name), if is_inline(other) { event } else { other }),
        _ => (None, event),
    };
    let found = find(event.trim())?;
    ensure!(name.is_none() || found.len() == 1, "{} events cannot have one name", found.len());
    let name = name.map(str::trim);
    found.into_iter().map(|def| Ok(def.aggregated(aggregate.clone(), name)?)).collect()
}

/// Whether the text in front of `=` is a name, and not the beginning of a condition.
fn is_named(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_inline(event: &str) -> bool {
    event.split(" if ").next().is_some_and(|probe| probe.contains([':', '{']))
}

fn file(path: &Path) -> Result<EventDef> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read event file {}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().replace(['-', '.'], "_");
    parse_toml(&name, &text).with_context(|| format!("in event file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(words: &[&str]) -> Result<Selection> {
        Selection::new(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn error(words: &[&str]) -> String {
        format!("{:#}", select(words).unwrap_err())
    }

    #[test]
    fn names_and_patterns_give_each_event_once_and_who_is_who_always() {
        let selection = select(&["mkdirs", "mk*", "switches"]).unwrap();
        assert_eq!(selection.asked_names(), ["mkdirs", "switches"]);
        let all: Vec<_> = selection.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(all, ["mkdirs", "switches", "cgroup_changes", "processes"]);
    }

    #[test]
    fn an_event_may_have_a_condition_unless_it_has_rows_of_before() {
        let selection = select(&["mkdirs if ret < 0", "mk* if ret < 0"]).unwrap();
        assert_eq!(selection.asked_names(), ["mkdirs"]);
        assert!(selection.events[0].only_if.is_some());
        assert!(error(&["mkdirs if ret <", "mkdirs"]).contains("ret <"));
        assert!(error(&["mkdirs if ret < 0", "mkdirs"]).contains("different conditions"));
        for event in ["listens if port == 80", "processes if pid == 1"] {
            assert!(error(&[event]).contains("rows of what was there before"), "{}", error(&[event]));
        }
    }

    #[test]
    fn an_event_that_is_counted_has_another_table_than_one_that_is_recorded() {
        let words = [
            "mkdirs",
            "mkdirs --count dfd",
            "made=mkdirs if ret == 0 --count dfd",
            "r=fn:vfs_rmdir{ retval } --hist retval",
        ];
        assert_eq!(select(&words).unwrap().asked_names(), ["mkdirs", "mkdirs_counts", "made", "r"]);
        let counted = select(&["listens --count"]).unwrap();
        assert_eq!(counted.asked_names(), ["listens_counts"]);
        assert!(counted.events[0].aggregate.is_some());
        assert!(error(&["x=* --count"]).contains("cannot have one name"), "{}", error(&["x=* --count"]));
        assert!(error(&["mkdirs --count a --count a"]).contains("twice"));
        assert!(error(&["counts=mkdirs --count"]).contains("taken by table counts"));
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_one() {
        assert!(error(&["mkdir"]).contains("did you mean mkdirs?"), "{}", error(&["mkdir"]));
        assert!(
            error(&["zzzzzz"]).contains("there are block_io, cache, capabilities"),
            "{}",
            error(&["zzzzzz"])
        );
        assert!(error(&["z*"]).contains("no event matches"), "{}", error(&["z*"]));
    }

    #[test]
    fn a_file_defines_the_event_that_it_is_named_after() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("my-dirs.toml");
        let text = "summary = \"s\"\n[[source]]\n[[source.probe]]\non = \"syscall:mkdir\"\n[[column]]\nname = \"mode\"\n\
                    type = \"x16\"\ndoc = \"d\"\nexpr = \"mode\"\n";
        fs::write(&path, text).unwrap();
        assert_eq!(select(&[path.to_str().unwrap()]).unwrap().asked_names(), ["my_dirs"]);
        fs::write(&path, "summary = 1").unwrap();
        assert!(error(&[path.to_str().unwrap()]).contains("my-dirs.toml"));
        assert!(error(&["/no/such.toml"]).contains("cannot read event file /no/such.toml"));
    }

    #[test]
    fn names_of_other_tables_and_of_other_events_are_refused() {
        assert!(error(&["losses=syscall:mkdir{ mode }"]).contains("taken by table losses"));
        assert!(error(&["Stacks=syscall:mkdir{ mode }"]).contains("taken by table stacks"));
        assert!(error(&["processes=syscall:mkdir{ mode }"]).contains("taken by an event"));
        assert!(error(&["Processes=syscall:mkdir{ mode }"]).contains("taken by an event"));
        let twice = error(&["Foo=syscall:mkdir{ mode }", "foo=syscall:mkdir{ mode }"]);
        assert!(twice.contains("Foo and foo differ only in case"), "{twice}");
        assert!(
            error(&["a=syscall:mkdir{ mode }", "a=syscall:mkdir{ pathname:ustring }"]).contains("two events")
        );
    }
}
