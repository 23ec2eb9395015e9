//! Opens a Parquet file of the user's own as a table, with names in lower case.

use std::fs::{File, canonicalize};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow_schema::{DataType, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::column::timestamp;

use super::infer::Unit;
use super::{check_epochs, column_names};

/// The table `name` of the file at `path`, and how its columns were understood.
///
/// Fails if it is no Parquet file, or a column that is to count from 1970 has no whole numbers.
pub fn open(name: &str, path: &Path, epochs: &[(&str, Unit)]) -> Result<(Arc<dyn TableProvider>, String)> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} is damaged, or no Parquet file", path.display());
    let schema = ParquetRecordBatchReaderBuilder::try_new(file).with_context(damaged)?.schema().clone();
    let names = column_names(schema.fields().iter().map(|field| field.name().clone()))
        .with_context(|| path.display().to_string())?;
    check_epochs(epochs, &names)?;
    let url = url::Url::from_file_path(canonicalize(path)?).ok().context("its path is no URL")?;
    let url = ListingTableUrl::try_new(url, None)?;
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
    let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema.clone());
    let table: Arc<dyn TableProvider> = Arc::new(ListingTable::try_new(config)?);
    let (mut columns, mut notes) = (Vec::new(), Vec::new());
    for (field, name) in schema.fields().iter().zip(&names) {
        let column = Expr::Column(Column::new_unqualified(field.name()));
        let told = epochs.iter().find(|(column, _)| column == name).map(|(_, unit)| *unit);
        let unit = told.or_else(|| Unit::of_column(name)).filter(|_| field.data_type().is_integer());
        ensure!(
            told.is_none() || unit.is_some(),
            "--epoch names column {name}, which has no whole numbers but {}",
            field.data_type()
        );
        let (value, note) = match unit {
            Some(unit) => {
                let of = match unit {
                    Unit::S => TimeUnit::Second,
                    Unit::Ms => TimeUnit::Millisecond,
                    Unit::Us => TimeUnit::Microsecond,
                    Unit::Ns => TimeUnit::Nanosecond,
                };
                // From unit to unit a cast fails where nanoseconds do not fit; a product would wrap.
                let counted =
                    cast(cast(column, DataType::Int64), DataType::Timestamp(of, Some("UTC".into())));
                (cast(counted, timestamp()), format!("{name} time ({} since 1970)", unit.text()))
            }
            None => (column, format!("{name} {}", field.data_type())),
        };
        columns.push(value.alias(name));
        notes.push(note);
    }
    let plan = LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(table), None)?
        .project(columns)?
        .build()?;
    Ok((Arc::new(ViewTable::new(plan, None)), notes.join(", ")))
}
