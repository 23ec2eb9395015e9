//! Writes the rows of a planned question to where the user wants them, as they arrive.

mod progress;

use std::io::Write;

use anyhow::Result;
use datafusion::common::runtime::SpawnedTask;
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::output::{Destination, Target};
use crate::session::{Question, Session};
use progress::Progress;

/// Batches that wait to be written.
const WAITING: usize = 2;

/// Write the rows of `question` to `target`, or to `out` if that is no file; how many there were. When this fails or is
/// dropped half-way, a file does not get its name.
///
/// Fails if the query does, or the rows cannot be written.
pub async fn write(
    session: &Session,
    question: Question,
    target: &Target,
    out: &mut (impl Write + Send),
) -> Result<usize> {
    let (shape, sql) = (question.shape(), question.sql.clone());
    let mut destination = Destination::open(target.file.as_deref(), out)?;
    let (plan, mut stream) = session.run(question).await?;
    let mut writer = target.writer(shape.typed_as(&plan.schema()), &mut destination)?;
    let progress = Progress::of(plan);
    let (sender, mut batches) = mpsc::channel(WAITING);
    // In a task of its own, so that whoever waits here can be woken while the query computes.
    let query = SpawnedTask::spawn(async move {
        while let Some(batch) = stream.next().await {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
    });
    let mut rows = 0;
    while let Some(batch) = batches.recv().await {
        if target.is_terminal() {
            progress.end();
        }
        let batch = batch.map_err(|error| session.explain(&error, &sql))?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    // A panic goes on here.
    query.join_unwind().await?;
    progress.end();
    writer.finish()?;
    destination.commit()?;
    Ok(rows)
}
