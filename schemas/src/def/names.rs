//! Names of columns and of `let`: none takes the place of a [context column](crate::context), and no two are the same to
//! SQL, which does not tell upper from lower case.

use super::{ColumnDef, DefError, EventDef, fail, is_name};
use crate::column::standard_fields;
use crate::context::is_context;
use crate::expr::{BUILTINS, Expr, Kind};

pub(super) fn check(event: &EventDef) -> Result<(), DefError> {
    let name = &event.name;
    let standard = standard_fields();
    for (i, def) in event.columns.iter().enumerate() {
        let column = &def.name;
        if !is_name(column) {
            return fail(format!("event {name}, column '{column}': use letters, digits and '_'"));
        }
        if standard.iter().any(|field| field.name().eq_ignore_ascii_case(column)) {
            return fail(format!(
                "event {name}: every event has a column {column} already, about the task and processor on which the \
                 probe ran: leave it out; a field or argument of that name is {column}_, and a column of another \
                 value may be named so: {column}_=expression"
            ));
        }
        if is_context(column) && !may_define(event, def) {
            return fail(format!(
                "event {name}: column {column} is always about the task on which the probe ran, and this would be \
                 about something else: write {column}_=expression; a field or argument of that name is {column}_"
            ));
        }
        if let Some(other) = event.columns[..i].iter().find(|other| other.name.eq_ignore_ascii_case(column)) {
            let why = if other.name == *column {
                format!("two columns named {column}")
            } else {
                format!("columns {} and {column}, which are one name in SQL", other.name)
            };
            return fail(format!("event {name} has {why}: write NAME=expression to rename one"));
        }
    }
    for (source, probe) in event.sources.iter().flat_map(|s| s.probes.iter().map(move |probe| (s, probe))) {
        let at = || format!("event {name}, source {}, probe {}", source.name, probe.on);
        if let Some(own) = probe.lets.keys().find(|own| is_context(own)) {
            return fail(format!(
                "{}: let {own}: {own} is always about the task on which the probe ran: choose another name, such as \
                 {own}_",
                at()
            ));
        }
        if probe.pid.is_some() != probe.tid.is_some() {
            return fail(format!(
                "{}: pid and tid replace the process and the thread of the row together: give both",
                at()
            ));
        }
    }
    Ok(())
}

/// Whether a column may have the name of a context column: its value is that of the context, its event is about another
/// process altogether, or it says whose it is.
fn may_define(event: &EventDef, column: &ColumnDef) -> bool {
    let probes = || event.sources.iter().flat_map(|source| &source.probes);
    column.subject.is_some()
        || probes().any(|probe| probe.pid.is_some())
        || probes()
            .filter_map(|probe| probe.value(column))
            .all(|field| is_of_context(&field.expr, &column.name))
}

fn is_of_context(expr: &Expr, name: &str) -> bool {
    match &expr.kind {
        Kind::Name(written) => written == name,
        Kind::Builtin(builtin) => BUILTINS.iter().any(|(n, b)| b == builtin && *n == name),
        Kind::Retval => name == "retval",
        Kind::Duration => name == "dur",
        Kind::Entry(of) => is_of_context(of, name),
        _ => false,
    }
}
