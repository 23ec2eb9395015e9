//! What the user asks for, whichever way it was said.

use std::path::PathBuf;
use std::sync::Arc;

use crate::library::analysis::Analysis;
use crate::output::Format;
use crate::session::Options;

/// What the user asks for.
#[derive(Debug)]
pub struct Request {
    /// The question.
    pub action: Action,
    /// How rows are written.
    pub format: Format,
    /// How queries run.
    pub options: Options,
}

/// The question.
#[derive(Debug)]
pub enum Action {
    /// What is in the trace.
    Summary(Vec<PathBuf>),
    /// Any SQL.
    Sql(Vec<PathBuf>, String),
    /// Which analyses, functions and tables there are.
    List,
    /// An analysis with parameters as the user wrote them: name in SQL, text.
    Analysis(Arc<Analysis>, Vec<PathBuf>, Vec<(String, String)>),
}
