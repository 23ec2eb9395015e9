//! The tables of a session by name: found in any case, listed as they were recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;

/// Tables by their name in lower case.
#[derive(Debug, Default)]
pub struct Tables {
    tables: RwLock<BTreeMap<String, Named>>,
}

type Named = (String, Arc<dyn TableProvider>);

impl Tables {
    fn find(&self, name: &str) -> Option<Named> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(&name.to_ascii_lowercase()).cloned()
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.values().map(|(name, _)| name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.find(name).map(|(_, table)| table))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let before = tables.insert(name.to_ascii_lowercase(), (name, table));
        Ok(before.map(|(_, table)| table))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}
