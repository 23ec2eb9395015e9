//! A trace that a recorder may be changing in, the files of a table as of one commit out.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use schemas::trace::read::read;

/// The segments of `table` of the trace in `dir`, in order of time, open; `None` if one is gone meanwhile.
pub fn held(dir: &Path, table: &str) -> Option<Vec<(PathBuf, File)>> {
    let description = read(dir).unwrap();
    let visible = description.contents.visible();
    let paths = visible.iter().filter(|it| it.table == table).map(|it| dir.join(it.path()));
    let open = |path: PathBuf| match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        file => Some((path, file.unwrap())),
    };
    paths.map(open).collect()
}
