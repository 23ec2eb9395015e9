//! CSV in; whether two answers are the same, out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// Rows of text under names.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Answer {
    /// From CSV without line ends in its fields.
    pub fn read(text: &str) -> Result<Self> {
        let mut lines = text.lines().map(fields);
        let columns = lines.next().context("an answer has no head")?;
        let rows: Vec<Vec<String>> = lines.collect();
        ensure!(
            rows.iter().all(|row| row.len() == columns.len()),
            "an answer has rows of another length: {text}"
        );
        Ok(Self { columns, rows })
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows of these columns, whatever their order.
    fn sorted(&self, columns: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let place = |name: &&str| {
            let place = self.columns.iter().position(|column| column == name);
            place.ok_or_else(|| format!("there is no column {name}"))
        };
        let places: Vec<usize> = columns.iter().map(place).collect::<Result<_, _>>()?;
        let pick = |row: &Vec<String>| places.iter().map(|place| plain(&row[*place])).collect();
        let mut rows: Vec<Vec<String>> = self.rows.iter().map(pick).collect();
        rows.sort();
        Ok(rows)
    }

    /// How the answers differ in `columns`, if they do. The order of rows does not count.
    pub fn difference(&self, other: &Self, columns: &[&str]) -> Option<String> {
        let (own, others) = match (self.sorted(columns), other.sorted(columns)) {
            (Ok(own), Ok(others)) => (own, others),
            (Err(why), _) => return Some(format!("analyze: {why}")),
            (_, Err(why)) => return Some(format!("DuckDB: {why}")),
        };
        if own.len() != others.len() {
            return Some(format!("{} rows and {}", own.len(), others.len()));
        }
        let (own, other) = own.iter().zip(&others).find(|(own, other)| own != other)?;
        Some(format!("analyze has ({}), DuckDB has ({})", own.join(", "), other.join(", ")))
    }
}

/// Numbers in one form, and histograms, which DuckDB writes as `{1=7, 2=3}` and analyze as `1:7 2:3`.
fn plain(text: &str) -> String {
    if let Some(map) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let pairs = map.split(", ").filter_map(|pair| pair.split_once(['=', ':']));
        let pairs: BTreeMap<i64, &str> =
            pairs.filter_map(|(e, n)| Some((e.trim().parse().ok()?, n.trim()))).collect();
        return pairs.iter().map(|(e, n)| format!("{e}:{n}")).collect::<Vec<_>>().join(" ");
    }
    match text {
        "NULL" => String::new(),
        _ => text.to_owned(),
    }
}

/// Fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else { break };
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_by_column_whatever_the_order() {
        let own = Answer::read("b,a\n1,\"x, y\"\n2,z\n").unwrap();
        let other = Answer::read("a,b,c\nz,2,7\n\"x, y\",1,8\n").unwrap();
        assert_eq!(own.difference(&other, &["a", "b"]), None);
        assert_eq!(own.difference(&other, &["c"]).unwrap(), "analyze: there is no column c");
        let wrong = Answer::read("a,b\nz,3\n\"x, y\",1\n").unwrap();
        assert_eq!(own.difference(&wrong, &["a", "b"]).unwrap(), "analyze has (z, 2), DuckDB has (z, 3)");
        let fewer = Answer::read("a,b\nz,2\n").unwrap();
        assert_eq!(own.difference(&fewer, &["a", "b"]).unwrap(), "2 rows and 1");
    }

    #[test]
    fn histograms_have_one_form() {
        assert_eq!(plain("{12=3, 2=1}"), "2:1 12:3");
        assert_eq!(plain("2:1 12:3"), "2:1 12:3");
    }
}
