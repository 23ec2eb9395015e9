//! How a session runs queries.

use std::path::PathBuf;
use std::sync::Arc;

use crate::library::Library;

/// How to run queries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory of the process for queries, beside what it takes without any; bytes.
    pub memory_bytes: usize,
    /// Threads, and parts of a plan that run side by side.
    pub threads: usize,
    /// Where to spill; default: the system's directory for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Make plans whose parts can run on different machines; on one they are slower.
    pub is_for_many_machines: bool,
    /// Nothing that happened before, as the user wrote it (`+1.5s`, RFC 3339).
    pub from: Option<String>,
    /// Nothing that happened from then on.
    pub to: Option<String>,
    /// The analyses that can be asked.
    pub library: Arc<Library>,
    /// Parameters of queries, `NAME=VALUE`.
    pub params: Vec<String>,
    /// Tables of the user's own, `NAME=FILE`.
    pub tables: Vec<String>,
    /// Their columns that count from 1970, `TABLE.COLUMN=UNIT`.
    pub epochs: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        Self {
            memory_bytes: 1 << 30,
            threads,
            spill_dir: None,
            is_for_many_machines: false,
            from: None,
            to: None,
            library: Library::shipped(),
            params: Vec::new(),
            tables: Vec::new(),
            epochs: Vec::new(),
        }
    }
}
