//! Partitions that are each in order of time go in; all rows come out in one order of time, for every worker to take
//! those of its keys.
//!
//! A batch is not copied to be spread by key: each worker gets all of them and looks at its own rows only. Partitions
//! are read side by side; where they do not overlap in time, whole batches follow each other.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::keys::{Hasher, KeyReader};
use super::layout::Layout;
use super::rows::{Moment, Rows};

/// Batches that wait between two stages.
const WAITING: usize = 4;

/// What went wrong, told to each worker.
type Failure = Arc<DataFusionError>;

/// What goes from stage to stage: rows, and `None` once there are no more. A stage that ends without it has failed.
pub type Message = std::result::Result<Option<Rows>, Failure>;

/// The next rows of a stage.
///
/// Fails if the stage did.
pub async fn receive(receiver: &mut Receiver<Message>) -> Message {
    receiver.recv().await.unwrap_or_else(|| {
        let text = "reading ended early: a segment is damaged, or this is a bug; `analyze TRACE` names damaged segments";
        Err(Arc::new(DataFusionError::Execution(text.to_owned())))
    })
}

/// The tasks that read and merge; they end with this.
#[derive(Debug)]
pub struct Tasks {
    _merge: SpawnedTask<()>,
    _readers: Vec<SpawnedTask<()>>,
}

/// How rows are read.
#[derive(Clone)]
pub struct Reading {
    /// Columns.
    pub layout: Layout,
    /// Makes keys of them.
    pub keys: Arc<KeyReader>,
    /// Spreads the keys.
    pub hasher: Hasher,
}

impl Reading {
    fn together(&self, parts: &[Rows]) -> Result<Rows> {
        Rows::together(parts, &self.layout, &self.keys, &self.hasher)?.settle(&self.layout)
    }
}

/// Begin to read `inputs` for so many workers.
pub fn start(
    inputs: Vec<SendableRecordBatchStream>,
    reading: &Reading,
    workers: usize,
) -> (Tasks, Vec<Receiver<Message>>) {
    let mut heads = Vec::new();
    let mut readers = Vec::new();
    for input in inputs {
        let (sender, receiver) = channel(WAITING);
        let reading = reading.clone();
        readers.push(SpawnedTask::spawn(async move { read(input, &reading, sender).await }));
        heads.push(Head { receiver, rows: None, is_ended: false, last: Moment::FIRST });
    }
    let (senders, receivers) = (0..workers).map(|_| channel(WAITING)).unzip();
    let mut merge = Merge { heads, reading: reading.clone(), workers: senders, held: Vec::new() };
    let merge = SpawnedTask::spawn(async move {
        if let Err(error) = merge.run().await {
            merge.tell(Err(error)).await;
        }
    });
    (Tasks { _merge: merge, _readers: readers }, receivers)
}

async fn read(mut input: SendableRecordBatchStream, reading: &Reading, sender: Sender<Message>) {
    while let Some(batch) = input.next().await {
        let rows = batch
            .and_then(|batch| Rows::read(batch, &reading.layout, &reading.keys, &reading.hasher))
            .map(Some)
            .map_err(Arc::new);
        let is_last = rows.is_err();
        if sender.send(rows).await.is_err() || is_last {
            return;
        }
    }
    // Nobody is left to hear it if this fails.
    let _ = sender.send(Ok(None)).await;
}

/// A partition, with the rows of it that are next.
struct Head {
    receiver: Receiver<Message>,
    rows: Option<Rows>,
    is_ended: bool,
    last: Moment,
}

impl Head {
    async fn fill(&mut self) -> std::result::Result<(), Failure> {
        while self.rows.is_none() && !self.is_ended {
            match receive(&mut self.receiver).await? {
                None => self.is_ended = true,
                Some(rows) => {
                    if rows.is_empty() {
                        continue;
                    }
                    if rows.first() < self.last {
                        let wrong = "an ordered operator got batches that are not in order of time";
                        return Err(Arc::new(DataFusionError::Execution(wrong.to_owned())));
                    }
                    self.last = rows.last();
                    self.rows = Some(rows);
                }
            }
        }
        Ok(())
    }
}

struct Merge {
    heads: Vec<Head>,
    reading: Reading,
    workers: Vec<Sender<Message>>,
    /// The last rows, which rows of the same time may follow.
    held: Vec<Rows>,
}

impl Merge {
    async fn run(&mut self) -> std::result::Result<(), Failure> {
        let is_settled = self.reading.layout.begin.is_none() && self.reading.layout.ties.is_empty();
        while let Some(rows) = self.next().await? {
            let is_wanted = match is_settled {
                true => self.tell(Ok(Some(rows))).await,
                false => self.settle(rows).await?,
            };
            if !is_wanted {
                return Ok(());
            }
        }
        if !self.held.is_empty() {
            let rows = self.reading.together(&std::mem::take(&mut self.held))?;
            self.tell(Ok(Some(rows))).await;
        }
        self.tell(Ok(None)).await;
        Ok(())
    }

    /// The next rows of all partitions.
    async fn next(&mut self) -> std::result::Result<Option<Rows>, Failure> {
        for head in &mut self.heads {
            head.fill().await?;
        }
        let first = |head: &Head| head.rows.as_ref().map(Rows::first);
        let earliest = (0..self.heads.len())
            .filter(|i| self.heads[*i].rows.is_some())
            .min_by_key(|i| first(&self.heads[*i]));
        let Some(earliest) = earliest else { return Ok(None) };
        let others =
            (0..self.heads.len()).filter(|i| *i != earliest).filter_map(|i| first(&self.heads[i])).min();
        let slot = &mut self.heads[earliest].rows;
        let missing = || Arc::new(internal_datafusion_err!("a partition has no rows"));
        let rows = slot.as_mut().ok_or_else(missing)?;
        match others {
            Some(other) if rows.last() > other => Ok(Some(rows.take_until(other))),
            _ => Ok(slot.take()),
        }
    }

    /// Rows are told once no more of the same time can come.
    async fn settle(&mut self, mut rows: Rows) -> std::result::Result<bool, Failure> {
        let held = self.held.last().map(Rows::last);
        match held {
            Some(last) if rows.first() > last => {
                let held = self.reading.together(&std::mem::take(&mut self.held))?;
                if !self.tell(Ok(Some(held))).await {
                    return Ok(false);
                }
            }
            Some(last) => {
                if let Some(rows) = self.held.pop() {
                    self.hold_tail(rows).await?;
                }
                let same = rows.take_until(last);
                self.held.push(same);
                if rows.is_empty() {
                    return Ok(true);
                }
                let held = self.reading.together(&std::mem::take(&mut self.held))?;
                if !self.tell(Ok(Some(held))).await {
                    return Ok(false);
                }
            }
            None => {}
        }
        self.held.push(rows);
        Ok(true)
    }

    /// Tell what of `rows` is earlier than its last row, and hold the rest.
    async fn hold_tail(&mut self, mut rows: Rows) -> std::result::Result<(), Failure> {
        let settled = rows.take_settled();
        if !settled.is_empty() {
            let settled = settled.settle(&self.reading.layout)?;
            self.tell(Ok(Some(settled))).await;
        }
        self.held.push(rows);
        Ok(())
    }

    /// Give it to each worker that still listens. Is there one?
    async fn tell(&mut self, message: Message) -> bool {
        let mut is_heard = false;
        for worker in &self.workers {
            is_heard |= worker.send(message.clone()).await.is_ok();
        }
        is_heard
    }
}
