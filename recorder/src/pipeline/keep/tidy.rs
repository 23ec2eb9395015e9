//! Segments of one table in, one file that can take their place out (thread `tidy`): what takes time is done here, so
//! that publishing goes on meanwhile.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;

use super::super::compact::units;
use super::super::files::TempFile;
use super::super::merged::{Input, Merged};
use super::super::priority::Priority;
use super::carry::{self, Alive};
use super::shelf::{Entry, SETTLED, Sources};

/// What is to be made of the segments.
pub enum What {
    /// All rows.
    Merge {
        /// They came late.
        is_late: bool,
    },
    /// The rows of processes that are alive.
    Carry,
    /// The rows without those whose first column is one of these.
    Without(Arc<HashSet<u64>>),
}

/// Something to do.
pub struct Task {
    /// The table's directory.
    pub table_dir: PathBuf,
    /// Numbers and paths of the segments.
    pub inputs: Vec<(u64, PathBuf)>,
    /// What is to be made of them.
    pub what: What,
}

/// A file that lacks its name, and what it holds.
pub struct Built {
    /// The file; durable.
    pub temp: TempFile,
    /// As the table will know it. `sources` is empty for merged segments: it is known already.
    pub entry: Entry,
    /// The cgroups that carried processes are in.
    pub cgroups: HashSet<u64>,
}

/// The thread.
pub struct Tidy {
    tasks: Option<Sender<Task>>,
    results: Receiver<Result<Option<Built>>>,
    thread: Option<JoinHandle<()>>,
}

impl Tidy {
    /// Start it.
    pub fn start(priority: Priority) -> Result<Self> {
        let (tasks, todo) = channel::<Task>();
        let (done, results) = channel();
        let thread = std::thread::Builder::new()
            .name("tidy".to_owned())
            .spawn(move || {
                let _registered = priority.register();
                for task in todo {
                    if done.send(build(&task)).is_err() {
                        break;
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self { tasks: Some(tasks), results, thread: Some(thread) })
    }

    /// Begin with that. One thing at a time: take the result first.
    pub fn begin(&self, task: Task) {
        // A thread that died is noticed by who waits for the result.
        let _ = self.tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok());
    }

    /// The result, if it is there within `patience`: a file, or nothing if no rows are left.
    pub fn result(&self, patience: Duration) -> Option<Result<Option<Built>>> {
        match self.results.recv_timeout(patience) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(anyhow::anyhow!("the thread that merges has died")))
            }
        }
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell that anybody still wants to know.
            let _ = thread.join();
        }
    }
}

/// Do it; nothing if no rows are left to begin with.
pub fn build(task: &Task) -> Result<Option<Built>> {
    let Task { table_dir, inputs, what } = task;
    let open = |(number, path): &(u64, PathBuf)| Input::open(*number, path);
    let inputs = inputs.iter().map(open).collect::<Result<Vec<_>>>()?;
    let Some(example) = inputs.first() else { return Ok(None) };
    let is_late = matches!(what, What::Merge { is_late: true });
    let temp = TempFile::create_beside(table_dir, "tidy")?;
    let mut merged = Merged::create(temp, example, is_late)?;
    match what {
        What::Merge { .. } => {
            for unit in units(inputs) {
                merged.append(&unit)?;
            }
            built(merged, Sources::new(), HashSet::new()).map(Some)
        }
        What::Carry => {
            let mut alive = Alive::default();
            for unit in units(inputs) {
                match unit.as_slice() {
                    [input] => input.batches()?.try_for_each(|batch| alive.take(&[batch?]))?,
                    several => {
                        let readers = several.iter().map(Input::batches).collect::<Result<Vec<_>>>()?;
                        let batches: Result<Vec<_>, _> = readers.into_iter().flatten().collect();
                        alive.take(&batches?)?;
                    }
                }
            }
            let Some(rows) = alive.finish()? else { return Ok(None) };
            let (sources, cgroups) = (carry::sources(&rows)?, carry::cgroups(&rows)?);
            merged.push(rows)?;
            built(merged, sources, cgroups).map(Some)
        }
        What::Without(dead) => {
            for input in &inputs {
                for batch in input.batches()? {
                    merged.push(without(&batch?, dead)?)?;
                }
            }
            built(merged, Sources::new(), HashSet::new()).map(Some)
        }
    }
}

fn built(merged: Merged, sources: Sources, cgroups: HashSet<u64>) -> Result<Built> {
    let temp = merged.finish()?.temp;
    let entry = Entry::read(0, &temp.path(), SETTLED, sources)?;
    Ok(Built { temp, entry, cgroups })
}

fn without(batch: &RecordBatch, dead: &HashSet<u64>) -> Result<RecordBatch> {
    let keep: BooleanArray =
        ids_of(batch.column(0))?.into_iter().map(|id| Some(!dead.contains(&id))).collect();
    Ok(filter_record_batch(batch, &keep)?)
}

/// The ids in the first column of a table that has ids.
pub fn ids_of(column: &ArrayRef) -> Result<Vec<u64>> {
    Ok(match column.data_type() {
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().values().iter().map(|id| id.cast_unsigned()).collect()
        }
        DataType::UInt64 => column.as_primitive::<UInt64Type>().values().to_vec(),
        other => bail!("a table whose first column is {other} has no ids"),
    })
}
