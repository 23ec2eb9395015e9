//! Several open traces, ready to answer analyses for each of them.

use std::sync::Arc;

use anyhow::Result;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};

use super::rewrite::answer;
use super::tables::{Answer, OfTrace, TraceName};
use crate::sql::pasted::Pasted;
use crate::tables::Tables;
use crate::trace::Trace;

/// The traces and the tables that analyses read: as if one trace were open.
pub struct Many {
    state: SessionState,
    schema: Arc<Tables>,
    pasted: Pasted,
    tables: Vec<OfTrace>,
    names: Vec<TraceName>,
}

impl Many {
    /// `traces`, without tables yet, for plans that `ctx` runs.
    ///
    /// Fails if its catalog cannot be made.
    pub fn new(ctx: &SessionContext, pasted: Pasted, traces: &[Arc<Trace>]) -> Result<Self> {
        let state = SessionStateBuilder::new_from_existing(ctx.state())
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let schema = Arc::new(Tables::default());
        let catalog = Arc::new(MemoryCatalogProvider::new());
        let defaults = &state.config_options().catalog;
        catalog.register_schema(&defaults.default_schema, schema.clone())?;
        state.catalog_list().register_catalog(defaults.default_catalog.clone(), catalog);
        let name = |trace: &Arc<Trace>| TraceName { trace: trace.name(), host: trace.meta.host.clone() };
        let names = traces.iter().map(name).collect();
        Ok(Self { state, schema, pasted, tables: Vec::new(), names })
    }

    /// Add `table` as `name`: a table of each trace, which reads that of `of_trace`.
    ///
    /// Fails if it cannot be added.
    pub fn add(&mut self, name: &str, table: Arc<dyn TableProvider>, of_trace: OfTrace) -> Result<()> {
        self.tables.push(of_trace);
        self.add_same(name, table)
    }

    /// Add `table` as `name`, which is the same for each trace.
    ///
    /// Fails if it cannot be added.
    pub fn add_same(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        self.schema.register_table(name.to_owned(), table)?;
        Ok(())
    }

    /// The answer to `query`, which is written for one trace, for each of them.
    ///
    /// Fails if it cannot be planned, or has a form that does not keep traces apart.
    pub async fn answer(&self, query: Query) -> Result<Answer, datafusion::error::DataFusionError> {
        let statement = Statement::Statement(Box::new(SqlStatement::Query(Box::new(query))));
        let plan = self.state.statement_to_plan(statement).await?;
        // What it compares with names of addresses is to ask the trace of the row too.
        let plan = self.pasted.analyze(plan, self.state.config_options())?;
        answer(&plan, &self.tables, &self.names)
    }
}
