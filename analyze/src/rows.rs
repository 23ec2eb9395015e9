//! A planned question goes in, its rows are written to where the user wants them, as they arrive.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::errors::explain;
use crate::output::{Destination, Target};
use crate::progress::Progress;
use crate::session::{Question, Session};

/// A query is called long, and its progress shown, after this.
const LONG: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

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
    let shape = question.shape();
    let mut destination = Destination::open(target.file.as_deref(), out)?;
    let mut writer = target.writer(shape, &mut destination)?;
    let (plan, mut stream) = session.run(question.frame).await?;
    let mut progress = Progress::of(plan);
    let mut ticks = interval_at(Instant::now() + LONG, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rows = 0;
    loop {
        let batch = tokio::select! {
            biased;
            batch = stream.next() => batch,
            _ = ticks.tick() => {
                progress.show();
                continue;
            }
        };
        let Some(batch) = batch else { break };
        if target.is_terminal() {
            progress.end();
        }
        let batch = batch.map_err(|error| explain(error, session))?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    progress.end();
    writer.finish()?;
    destination.commit()?;
    Ok(rows)
}
