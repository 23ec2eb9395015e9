//! Opens the files of `--table NAME=FILE` as tables. Types are inferred from all rows of a text file, which
//! is read once for that and again by each query; no more than a batch of it is in memory.

mod csv;
mod infer;
mod json;
mod parquet;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use datafusion::catalog::TableProvider;
use schemas::name::{ANALYZE_TABLES, misspelt, side_table};

use crate::sql::near::near;
use infer::Unit;

/// A table of the user's own.
pub struct Import {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub table: Arc<dyn TableProvider>,
    /// How its columns were understood, in one line.
    pub note: String,
}

/// A column that counts from 1970, as the user says.
struct Epoch {
    table: String,
    column: String,
    unit: Unit,
}

/// Open the tables `tables` (`NAME=FILE`); `epochs` are columns that count from 1970 (`TABLE.COLUMN=UNIT`), `taken` the
/// names that other tables have.
///
/// Fails if a file cannot be read or has a row that is none, or a name is taken.
pub fn open(tables: &[String], epochs: &[String], taken: &[String]) -> Result<Vec<Import>> {
    let epochs: Vec<Epoch> = epochs.iter().map(|text| epoch(text)).collect::<Result<_>>()?;
    let mut imports: Vec<Import> = Vec::new();
    for text in tables {
        let (name, path) = named(text)?;
        let is_taken = |other: &String| other.eq_ignore_ascii_case(&name);
        let is_own = imports.iter().any(|import| import.name == name);
        let is_kept = side_table(&name).is_some() || ANALYZE_TABLES.contains(&name.as_str());
        ensure!(
            !is_own && !is_kept && !taken.iter().any(is_taken),
            "--table {text}: there is a table {name} already: give yours another name"
        );
        let own: Vec<(&str, Unit)> = epochs
            .iter()
            .filter(|epoch| epoch.table == name)
            .map(|epoch| (epoch.column.as_str(), epoch.unit))
            .collect();
        imports.push(import(name, &path, &own).with_context(|| format!("--table {text}"))?);
    }
    match epochs.iter().find(|epoch| imports.iter().all(|import| import.name != epoch.table)) {
        Some(epoch) => bail!(
            "--epoch {0}.{1}: there is no --table {0}: write --table {0}=FILE",
            epoch.table,
            epoch.column
        ),
        None => Ok(imports),
    }
}

fn named(text: &str) -> Result<(String, PathBuf)> {
    let (name, file) = text
        .split_once('=')
        .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        .with_context(|| format!("--table {text}: write --table NAME=FILE"))?;
    if let Some(why) = misspelt(name) {
        bail!("--table {text}: the name '{name}' {why}");
    }
    Ok((name.to_ascii_lowercase(), PathBuf::from(file)))
}

fn epoch(text: &str) -> Result<Epoch> {
    let wrong = || format!("--epoch {text}: write --epoch TABLE.COLUMN=UNIT with the unit s, ms, us or ns");
    let (place, unit) = text.rsplit_once('=').with_context(wrong)?;
    let (table, column) = place.split_once('.').with_context(wrong)?;
    let unit = Unit::named(unit).with_context(wrong)?;
    Ok(Epoch { table: table.to_ascii_lowercase(), column: column.to_ascii_lowercase(), unit })
}

fn import(name: String, path: &Path, epochs: &[(&str, Unit)]) -> Result<Import> {
    let meta = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(meta.is_file(), "{} is not a regular file: it is read more than once", path.display());
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let source: Arc<dyn stream::Source> = match ending.as_str() {
        "csv" => Arc::new(csv::Csv::infer(path, b',', epochs)?),
        "tsv" => Arc::new(csv::Csv::infer(path, b'\t', epochs)?),
        "ndjson" | "jsonl" => Arc::new(json::Json::infer(path, epochs)?),
        "parquet" => {
            let (table, note) = parquet::open(&name, path, epochs)?;
            let note = format!("table {name}: {note}");
            return Ok(Import { name, table, note });
        }
        _ => bail!("the name of a file must end with .csv, .tsv, .ndjson, .jsonl or .parquet"),
    };
    let note = format!("table {name}: {}", source.note());
    Ok(Import { name, table: stream::table(source)?, note })
}

/// The names of columns in SQL: lower case, each once, none of them empty.
fn column_names(found: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (i, name) in found.enumerate() {
        let name = match name.trim() {
            "" => format!("column_{}", i + 1),
            name => name.to_ascii_lowercase(),
        };
        ensure!(!names.contains(&name), "it has two columns '{name}', in upper or lower case: rename one");
        names.push(name);
    }
    Ok(names)
}

/// Each of `epochs` is one of the columns `names`.
fn check_epochs(epochs: &[(&str, Unit)], names: &[String]) -> Result<()> {
    match epochs.iter().find(|(column, _)| !names.iter().any(|name| name == column)) {
        Some((column, _)) => bail!(
            "--epoch names a column '{column}' that it does not have{}; columns: {}",
            near(column, names.iter().map(String::as_str)),
            names.join(", ")
        ),
        None => Ok(()),
    }
}
