//! An error of DataFusion goes in, one line that names the thing and the remedy comes out.

use anyhow::{Error, anyhow};
use datafusion::common::{DataFusionError, SchemaError};

use crate::session::Session;

/// `; did you mean 'x'?` with the candidates nearest to `name`, or nothing.
pub fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(usize, &str)> = candidates
        // The same name is no suggestion.
        .filter(|c| !c.eq_ignore_ascii_case(name))
        .map(|c| (distance(&wanted, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= 2.max(wanted.len() / 3) || c.contains(wanted.as_str()) && wanted.len() > 2)
        .collect();
    scored.sort();
    scored.dedup();
    let names: Vec<String> = scored.iter().take(3).map(|(_, c)| format!("'{c}'")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

/// Edits (insert, delete, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Explain `error` of a query on `session`.
pub fn explain(error: DataFusionError, session: &Session) -> Error {
    let root = error.find_root();
    let text = root.strip_backtrace();
    if let DataFusionError::SchemaError(schema, _) = root
        && let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref()
    {
        let mut names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let hint = near(&field.name, names.iter().copied());
        return anyhow!("there is no column '{}'{hint}; columns: {}", field.name, names.join(", "));
    }
    if let Some(table) = text.split("table '").nth(1).and_then(|t| t.split('\'').next())
        && text.contains("not found")
    {
        return no_table(table.rsplit('.').next().unwrap_or(table), session);
    }
    if matches!(root, DataFusionError::ResourcesExhausted(_)) {
        return anyhow!(
            "the query needs more memory than allowed: give more with --memory, or narrow the query ({text})"
        );
    }
    if text.contains("No such file or directory") || text.contains("NotFound") {
        return anyhow!(
            "a segment vanished while it was read, as when the recorder merges or removes files: ask again ({text})"
        );
    }
    if matches!(root, DataFusionError::ArrowError(..) | DataFusionError::ParquetError(_))
        && let Some(damaged) = damaged(session)
    {
        return damaged;
    }
    anyhow!("{}", text.replace('\n', " "))
}

/// A reader's error does not say which file it was in: look for it.
fn damaged(session: &Session) -> Option<Error> {
    let tables = session.traces.iter().flat_map(|t| &t.tables);
    let mut segments = tables.flat_map(|t| &t.segments);
    let (path, error) = segments.find_map(|s| Some((&s.file.path, s.check().err()?)))?;
    Some(anyhow!("{} is damaged: {error:#}; move it out of the trace to ask the rest", path.display()))
}

fn no_table(table: &str, session: &Session) -> Error {
    let tables = session.table_names();
    let table = &*table.to_ascii_lowercase();
    let builtin = crate::library::analysis::all().iter().flat_map(|a| &a.tables).any(|t| t.name == table);
    if builtin {
        return anyhow!(
            "event '{table}' is not in this trace: record it with `recorder record {table}`; tables: {}",
            tables.join(", ")
        );
    }
    let known =
        tables.iter().map(String::as_str).chain(crate::library::analysis::all().iter().map(|a| a.name));
    let hint = near(table, known);
    let call = if crate::library::analysis::find(table).is_some() {
        format!("; the analysis is '{table}()' or '{}.{table}'", crate::sql::expand::VIEW_SCHEMA)
    } else {
        hint
    };
    anyhow!("there is no table '{table}'{call}; tables: {}", tables.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(near("lisens", ["listens", "kmem"].into_iter()), "; did you mean 'listens'?");
        assert_eq!(near("bytes", ["bytes_req", "ptr"].into_iter()), "; did you mean 'bytes_req'?");
        assert_eq!(near("zzzz", ["listens", "kmem"].into_iter()), "");
        assert_eq!(near("Kmem", ["listens", "kmem"].into_iter()), "");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
