//! Names as a trace has them -> names in SQL: lower case and each once, for older recorders took any.
//!
//! A recorder of today refuses what would have to get another name here (`schemas::name`).

use schemas::column::{Layout, standard_fields};
use schemas::name::side_table;

/// The virtual column of several traces that names the trace of a row.
pub const TRACE: &str = "trace";
/// The virtual column of several traces that names the machine of a row.
pub const HOST: &str = "host";

/// The table of each event: its own name, `NAME_event` if another table has that, `NAME_2` if an event before it
/// differs only in case.
pub fn tables(events: &[Layout]) -> Vec<String> {
    let recorded: Vec<&str> = events.iter().map(|layout| layout.event.as_str()).collect();
    each(&recorded, |name, taken| {
        if side_table(name).is_some() {
            Some(format!("{}_event", name.to_ascii_lowercase()))
        } else {
            taken.then(|| format!("{}_2", name.to_ascii_lowercase()))
        }
    })
}

/// The name in SQL of each of the event's own columns: lower case, `NAME_` if a standard column has that, `NAME_2` if
/// a column before it differs only in case.
pub fn columns(layout: &Layout) -> Vec<String> {
    let recorded: Vec<&str> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    let standard = standard_fields();
    let is_standard = |name: &str| {
        [TRACE, HOST].iter().any(|own| name.eq_ignore_ascii_case(own))
            || standard.iter().any(|field| field.name().eq_ignore_ascii_case(name))
    };
    let named = each(&recorded, |name, taken| {
        if is_standard(name) {
            Some(format!("{}_", name.to_ascii_lowercase()))
        } else {
            taken.then(|| format!("{}_2", name.to_ascii_lowercase()))
        }
    });
    named.into_iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// Rename what `rename` gives another name (it learns whether one before it has the name), so that no two are the same
/// in any case.
fn each(recorded: &[&str], rename: impl Fn(&str, bool) -> Option<String>) -> Vec<String> {
    let is_one_of = |names: &[String], name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let mut names: Vec<String> = Vec::new();
    for name in recorded {
        let Some(wanted) = rename(name, is_one_of(&names, name)) else {
            names.push((*name).to_owned());
            continue;
        };
        let free = |candidate: &String| {
            !is_one_of(&names, candidate)
                && !recorded.iter().any(|other| other.eq_ignore_ascii_case(candidate))
        };
        let stem = wanted.strip_suffix("_2").unwrap_or(&wanted).to_owned();
        let mut candidates = std::iter::once(wanted).chain((2..).map(|n| format!("{stem}_{n}")));
        names.extend(candidates.find(free));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::column::Column;

    fn layout(event: &str, columns: &[&str]) -> Layout {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            ty: "u32".parse().unwrap(),
            unit: None,
            doc: String::new(),
            offset: 0,
            bit: 0,
        };
        Layout::new(event, "", columns.iter().map(column).collect(), |_| false).0
    }

    #[test]
    fn each_table_has_a_name_of_its_own_whatever_the_case() {
        let names = |events: &[&str]| tables(&events.iter().map(|e| layout(e, &[])).collect::<Vec<_>>());
        assert_eq!(names(&["Foo", "foo", "FOO", "kmem"]), ["Foo", "foo_2", "foo_3", "kmem"]);
        assert_eq!(names(&["Foo", "foo", "foo_2"]), ["Foo", "foo_3", "foo_2"]);
        assert_eq!(
            names(&["Stacks", "traces", "STACKS"]),
            ["stacks_event", "traces_event", "stacks_event_2"]
        );
    }

    #[test]
    fn each_column_has_a_name_of_its_own() {
        let names = columns(&layout("e", &["Ptr", "ptr", "PID", "host", "pid_", "Trace"]));
        assert_eq!(names, ["ptr", "ptr_2", "pid__2", "host_", "pid_", "trace_"]);
    }
}
