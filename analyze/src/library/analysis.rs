//! One analysis: a named question with parameters, and what its header says of it.

use std::path::PathBuf;

use anyhow::Result;
use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::ast::{Expr, Statement};
use schemas::column::Type;

use crate::library::params::{Moment, ParamType};
use crate::sql::bind::{bind, print};

/// One analysis.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Name of the file, the subcommand, the table function and the view in schema `a`.
    pub name: String,
    /// The user's own file that it comes from; none for those that come with analyze.
    pub file: Option<PathBuf>,
    /// First sentence of the header.
    pub summary: String,
    /// The rest of its text.
    pub doc: String,
    /// Tables it reads.
    pub tables: Vec<TableUse>,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Columns in order.
    pub columns: Vec<ColumnDoc>,
    /// What a loss makes uncertain.
    pub loss: String,
    /// Classic tools that ask the same.
    pub tools: Vec<ClassicTool>,
    /// What its rows are.
    pub answer: Answer,
    /// Its name alone is the table of its rows, too: no event has that name.
    pub is_table: bool,
    /// The question, with `$name` for parameters.
    pub query: Query,
    /// A question of one text that says how uncertain the answer is, if there is one.
    pub note: Option<Query>,
}

/// A tool of bcc or bpftrace whose question an analysis answers.
#[derive(Clone, Debug)]
pub struct ClassicTool {
    /// Its name.
    pub name: String,
    /// How it is called.
    pub there: String,
    /// How to record what it asks about.
    pub record: String,
    /// How to ask it of the recording, which is called `x.trace`.
    pub ask: String,
    /// What it gets wrong or leaves out and ktape does not, and the other way round.
    pub doc: String,
}

/// What the rows of an analysis are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Rows: to have none is no answer, and losses put them in doubt.
    #[default]
    Rows,
    /// The losses themselves: to have none is good.
    Losses,
}

/// A table that an analysis reads.
#[derive(Clone, Debug)]
pub struct TableUse {
    /// Its name.
    pub name: String,
    /// Columns that it must have; one that an older recording lacks is NULL.
    pub columns: Vec<(String, Type)>,
}

/// A parameter of an analysis.
#[derive(Clone, Debug)]
pub struct Param {
    /// Name in SQL.
    pub name: String,
    /// Name of its option on the command line: without the unit, `-` for `_`.
    pub flag: String,
    /// Type.
    pub ty: ParamType,
    /// Default, as one would write it on the command line.
    pub default: String,
    /// What it does.
    pub doc: String,
}

/// A column of an analysis.
#[derive(Clone, Debug)]
pub struct ColumnDoc {
    /// Name.
    pub name: String,
    /// Type, in the words of event definitions, or `time`.
    pub ty: String,
    /// Unit.
    pub unit: Option<String>,
    /// What it says.
    pub doc: String,
}

impl Analysis {
    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// `query`, the question or the note, with a value for each parameter: what `given` says, else its default.
    ///
    /// Fails if a default counts from the start of a trace and `moment` knows none.
    pub fn bound(&self, query: &Query, given: &[(String, Expr)], moment: Moment<'_>) -> Result<Query> {
        let mut query = query.clone();
        bind(&mut query, |name, _| {
            let param = self.param(name).ok_or_else(|| anyhow::anyhow!("there is no parameter '{name}'"))?;
            match given.iter().find(|(given, _)| *given == param.name) {
                Some((_, value)) => Ok(value.clone()),
                None => param.ty.value(&param.default, moment),
            }
        })?;
        Ok(query)
    }

    /// How it is called in SQL, with its defaults.
    pub fn call(&self) -> String {
        let value = |param: &Param| match &param.ty {
            ParamType::Time if param.default == "end" => "NULL".to_owned(),
            ParamType::Time => format!("'{}'", param.default),
            // A header whose default is none is refused.
            ty => ty.value(&param.default, &|_| Ok(0)).map(|value| value.to_string()).unwrap_or_default(),
        };
        let params: Vec<String> =
            self.params.iter().map(|param| format!("{} => {}", param.name, value(param))).collect();
        format!("{}({})", self.name, params.join(", "))
    }
}

/// `query` as text.
pub fn text(query: Query) -> String {
    print(&Statement::Query(Box::new(query)))
}
