//! Analyses that are planned already, and the names under which a statement reads them, go in; DataFusion's planner puts
//! their plans in the place of these names.

use std::collections::HashMap;

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

/// Plans by the name that stands for each of them in one statement.
#[derive(Debug, Default)]
pub struct Planned(pub HashMap<String, LogicalPlan>);

impl RelationPlanner for Planned {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if let TableFactor::Table { name, alias, args: None, .. } = &relation
            && let [part] = name.0.as_slice()
            && let Some(plan) = part.as_ident().and_then(|name| self.0.get(&name.value))
        {
            let planned = PlannedRelation::new(plan.clone(), alias.clone());
            return Ok(RelationPlanning::Planned(Box::new(planned)));
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
