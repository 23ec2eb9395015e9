//! A planned query, and what its columns are called and how their values are written.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema};
use datafusion::prelude::DataFrame;

use crate::output::Shape;
use crate::sql::notations;
use crate::united::RECORDED;

/// A planned query.
pub struct Question {
    /// Its plan.
    pub frame: DataFrame,
    /// What the user should know of the answer, one line each.
    pub notes: Vec<String>,
    /// As the user wrote it; empty for an analysis.
    pub sql: String,
    titles: HashMap<String, String>,
    /// Doc and unit of columns that are made by the query.
    docs: HashMap<String, (String, Option<String>)>,
}

impl Question {
    pub(super) fn new(
        frame: DataFrame,
        titles: HashMap<String, String>,
        notes: Vec<String>,
        sql: &str,
    ) -> Self {
        Self { frame, notes, sql: sql.to_owned(), titles, docs: HashMap::new() }
    }

    /// Say what its columns are: name, doc, unit.
    pub fn describe<'a>(&mut self, docs: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>) {
        let owned = |(name, doc, unit): (&str, &str, Option<&str>)| {
            (name.to_owned(), (doc.to_owned(), unit.map(str::to_owned)))
        };
        self.docs = docs.map(owned).collect();
    }

    /// Titles and notations of its columns.
    pub fn shape(&self) -> Shape {
        let schema = self.frame.schema().as_arrow();
        let title = |field: &Field| {
            // What the query named so, else as the trace has it.
            let recorded =
                field.metadata().get(RECORDED).filter(|name| name.eq_ignore_ascii_case(field.name()));
            let name = self.titles.get(field.name()).or(recorded).unwrap_or(field.name());
            let mut metadata = field.metadata().clone();
            if let Some((doc, unit)) = self.docs.get(field.name()) {
                metadata.insert("doc".to_owned(), doc.clone());
                metadata.extend(unit.iter().map(|unit| ("unit".to_owned(), unit.clone())));
            }
            field.clone().with_name(name.as_str()).with_metadata(metadata)
        };
        let fields: Vec<Field> = schema.fields().iter().map(|field| title(field)).collect();
        let notations = notations::of(self.frame.logical_plan());
        Shape { schema: Arc::new(Schema::new(fields)), notations }
    }
}
