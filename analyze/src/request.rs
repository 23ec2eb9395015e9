//! What the user asks for, whichever way it was said.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::library::analysis::Analysis;
use crate::output::Target;
use crate::session::Options;

/// What the user asks for.
#[derive(Debug)]
pub struct Request {
    /// The question.
    pub action: Action,
    /// Where rows go and how they are written.
    pub target: Target,
    /// How queries run.
    pub options: Options,
}

/// The question.
#[derive(Debug)]
pub enum Action {
    /// What is in the trace.
    Summary(Vec<PathBuf>),
    /// Any SQL.
    Sql(Vec<PathBuf>, Source),
    /// One question after the other.
    Shell(Vec<PathBuf>),
    /// Whether all is as it was recorded.
    Verify(Vec<PathBuf>),
    /// Which analyses, functions and tables there are.
    List,
    /// An analysis with parameters as the user wrote them: name in SQL, text.
    Analysis(Arc<Analysis>, Vec<PathBuf>, Vec<(String, String)>),
}

/// Where a query comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Text(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// The text of the query.
    ///
    /// Fails if it cannot be read, or is not UTF-8.
    pub fn read(self) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::File(path) => std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the query in {}", path.display())),
            Self::Stdin => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read the query on standard input")?;
                Ok(text)
            }
        }
    }
}
