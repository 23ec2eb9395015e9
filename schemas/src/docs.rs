//! Event definitions -> the text of `docs/events.md`.

use std::fmt::Write;

use crate::column::standard_fields;
use crate::def::{ColumnDef, Context, EventDef, SourceDef, builtin};
use crate::expr::ProbeKind;

/// The whole of `docs/events.md`: every built-in event, its sources and columns.
pub fn events_md() -> String {
    let mut out = String::from(
        "# Events\n\nGenerated from `schemas/events/*.toml`; do not edit. `recorder describe EVENT` says the same, with \
         what the running kernel offers.\n\n## Columns of every event\n\n| column | type | unit | what |\n|---|---|---|---|\n",
    );
    for field in standard_fields() {
        let meta = |key: &str| field.metadata().get(key).map_or("", String::as_str);
        row(&mut out, &[field.name(), &field.data_type().to_string(), meta("unit"), meta("doc")]);
    }
    out.push_str(
        "\nEvents that happen in a process end with two more: `comm` (char[16]), the name of the current thread, and \
         `cgroup_id` (u64), its cgroup v2 id. `--stacks` adds `kstack` and `ustack`. Where an event is about another \
         process than the current one (`processes`), they are that one's, as pid and tid are. A field or argument that \
         has the name of such a column has `_` behind it.\n",
    );
    for event in builtin() {
        section(&mut out, event);
    }
    out
}

fn section(out: &mut String, event: &EventDef) {
    let EventDef {
        name,
        summary,
        excludes,
        always,
        context,
        weight: _,
        sources,
        columns,
        everything: _,
        only_if: _,
        aggregate: _,
    } = event;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("\n## {name}\n\nOne row: {summary}."));
    if let Some(excludes) = excludes {
        line(format!("No row: {excludes}."));
    }
    if *always {
        line("Recorded with every trace.".to_owned());
    }
    if *context == Context::Irq {
        line("It happens in interrupts mostly: `--pid`, `--comm` and `--cgroup` do not apply.".to_owned());
    }
    line("\n| source | observed at (the first that the kernel offers) | only if |\n|---|---|---|".to_owned());
    for SourceDef { name, optional, covers, probes } in sources {
        let on: Vec<String> = probes.iter().map(|p| format!("`{}`", p.on)).collect();
        let only: Vec<String> =
            probes.iter().filter_map(|p| p.predicate.as_ref()).map(|f| format!("`{}`", f.text)).collect();
        let only =
            if only.windows(2).all(|w| w[0] == w[1]) { only.into_iter().take(1).collect() } else { only };
        let optional = if *optional || covers.is_some() { " (not on every kernel)" } else { "" };
        row(out, &[&format!("{name}{optional}"), &on.join(", "), &only.join("; ")]);
    }
    out.push_str(&calls(sources).unwrap_or_default());
    for SourceDef { name, probes, .. } in sources {
        for probe in probes.iter().filter(|probe| !probe.misses.is_empty()) {
            let misses = probe.misses.join(", ");
            out.push_str(&format!("\nSource {name}, observed at `{}`, does not see: {misses}.\n", probe.on));
        }
    }
    let ends = sources.iter().filter(|source| source.probes.iter().any(|probe| probe.ends.is_some()));
    let ends: Vec<&str> = ends.map(|source| source.name.as_str()).collect();
    if !ends.is_empty() {
        let ends = ends.join(", ");
        out.push_str(&format!(
            "\nWith a filter by process, or with `--sample`, {ends} are recorded in whichever process or interrupt they \
             happen, if what they end was recorded when it began.\n"
        ));
    }
    out.push_str("\n| column | type | unit | what | expression |\n|---|---|---|---|---|\n");
    for ColumnDef { name, ty, unit, doc, subject: _, is_optional, expr } in columns {
        let ty = ty.as_ref().map_or_else(String::new, |ty| format!("`{ty}`"));
        let expr = match expr {
            Some(field) if *is_optional => {
                format!("`{}`; NULL where the kernel has no such thing", field.text)
            }
            Some(field) => format!("`{}`", field.text),
            None => "set by each source".to_owned(),
        };
        row(out, &[name, &ty, unit.as_deref().unwrap_or(""), doc, &expr]);
    }
}

/// What `syscall:` means.
fn calls(sources: &[SourceDef]) -> Option<String> {
    let mut probes = sources.iter().flat_map(|source| &source.probes);
    let is_any = probes.any(|probe| probe.on.kind == ProbeKind::Syscall);
    is_any.then(|| {
        "\n`syscall:` also observes calls of 32-bit programs (and of x32 programs), as sources of their own, where the \
         kernel has fexit or kprobes. What is not observed is in table `probes`, at the end of the recording and below \
         each answer.\n"
            .to_owned()
    })
}

fn row(out: &mut String, cells: &[&str]) {
    for cell in cells {
        let _ = write!(out, "| {} ", cell.replace('|', "\\|"));
    }
    out.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_and_column_is_documented() {
        let text = events_md();
        for event in builtin() {
            assert!(text.contains(&format!("\n## {}\n", event.name)));
            assert!(
                event
                    .columns
                    .iter()
                    .all(|c| text.contains(&format!("\n| {} | ", c.name)) && !c.doc.is_empty())
            );
        }
        assert!(text.lines().all(|line| !line.ends_with(' ')), "trailing space");
    }
}
