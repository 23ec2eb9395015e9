//! Reads the files of a trace: by their descriptors where names may go away meanwhile, and checked against
//! what the log says of it.
//!
//! Every read says where it begins, so any number of readers can share a descriptor.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use nix::fcntl::OFlag;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

use crate::trace::footer;
use crate::trace::logged::Logged;

/// A regular file of a trace.
#[derive(Clone, Debug)]
pub struct TraceFile {
    /// Absolute path, of the time when it was found.
    pub path: PathBuf,
    /// Open for as long as the trace is, because a recorder may remove it.
    held: Option<Arc<File>>,
    /// What the log says of it, if there is one.
    logged: Option<Arc<Logged>>,
}

impl TraceFile {
    /// The file at the absolute `path`, opened anew by each reader, and its size.
    ///
    /// Fails if it is no regular file.
    pub fn named(path: &Path) -> Result<(Self, u64)> {
        let metadata = fs::symlink_metadata(path)?;
        ensure!(metadata.is_file(), "not a regular file");
        Ok((Self { path: path.to_owned(), held: None, logged: None }, metadata.len()))
    }

    /// The file at the absolute `path`, open from now on, and its size.
    ///
    /// Fails if it is no regular file.
    pub fn held(path: &Path) -> Result<(Self, u64)> {
        ensure!(fs::symlink_metadata(path)?.is_file(), "not a regular file");
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        Ok((Self { path: path.to_owned(), held: Some(file), logged: None }, bytes))
    }

    /// It is to be what the log says.
    pub fn checked(self, logged: Logged) -> Self {
        Self { logged: Some(Arc::new(logged)), ..self }
    }

    /// What the log says of it; `None`: there is no log.
    pub fn logged(&self) -> Option<&Logged> {
        self.logged.as_deref()
    }

    /// A reader of its own. Fails if it has gone and is not held.
    pub fn reader(&self) -> io::Result<Reader> {
        let file = self.held.as_ref().map_or_else(|| open(&self.path), |file| Ok(file.clone()))?;
        let bytes = file.metadata()?.len();
        Ok(Reader { file: Content { file, bytes, of: self.clone() }, metrics: None })
    }

    /// A reader for all of it. Fails if it has gone, or is not what the log says.
    pub fn whole(&self) -> Result<Reader> {
        let reader = self.reader().with_context(|| format!("cannot read {}", self.path.display()))?;
        reader.file.check(0, reader.file.bytes)?;
        Ok(reader)
    }
}

/// What is no regular file is not opened, and does not make us wait.
fn open(path: &Path) -> io::Result<Arc<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(Arc::new(file)) } else { Err(io::Error::other("not a regular file")) }
}

/// A file is not what the recorder wrote.
#[derive(Debug)]
pub struct Damaged {
    path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, why } = self;
        write!(
            f,
            "{} is damaged: {why}; `analyze verify TRACE` names all such files: copy them again, or move them out of the \
             trace to ask the rest",
            path.display()
        )
    }
}

impl std::error::Error for Damaged {}

/// The [`Damaged`] behind an error of the Parquet reader.
pub fn damage(error: &ParquetError) -> Option<&Damaged> {
    let ParquetError::External(error) = error else { return None };
    // What a sequential reader met comes as an error of reading.
    let of_reading = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<ParquetError>();
    error.downcast_ref::<Damaged>().or_else(|| of_reading().and_then(damage))
}

/// The bytes of a file. No more of them are checked than are read.
#[derive(Clone, Debug)]
struct Content {
    file: Arc<File>,
    bytes: u64,
    of: TraceFile,
}

impl Content {
    fn damaged(&self, why: String) -> ParquetError {
        ParquetError::External(Box::new(Damaged { path: self.of.path.clone(), why }))
    }

    /// Are the bytes from `start` to `end` those that the log knows?
    fn check(&self, start: u64, end: u64) -> parquet::errors::Result<()> {
        let Some(logged) = &self.of.logged else { return Ok(()) };
        match logged.check(&self.file, self.bytes, start, end) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(self.damaged(why)),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn unreadable(&self, error: &io::Error) -> ParquetError {
        ParquetError::External(format!("cannot read {}: {error}", self.of.path.display()).into())
    }
}

/// Reads a [`TraceFile`].
pub struct Reader {
    file: Content,
    metrics: Option<ParquetFileMetrics>,
}

impl Reader {
    fn read(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A damaged footer may ask for more than any machine has.
        let Some(end) = start.checked_add(length as u64).filter(|end| *end <= self.file.bytes) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        self.file.check(start, end)?;
        let mut bytes = vec![0; length];
        let read = self.file.file.read_exact_at(&mut bytes, start);
        read.map_err(|error| self.file.unreadable(&error))?;
        Ok(bytes.into())
    }

    /// The footer, checked.
    ///
    /// Fails if it is damaged, has rows or columns that cannot be, or others than the log says.
    pub fn footer(&self, policy: PageIndexPolicy) -> parquet::errors::Result<ParquetMetaData> {
        let logged = self.file.of.logged.as_deref();
        footer::read(self, policy, logged).map_err(|error| match error.downcast::<ParquetError>() {
            Ok(error) if damage(&error).is_some() => error,
            Ok(error) => self.file.damaged(error.to_string()),
            Err(error) => self.file.damaged(format!("{error:#}")),
        })
    }
}

impl Length for Reader {
    fn len(&self) -> u64 {
        self.file.bytes
    }
}

/// From `at` to the end of the file.
pub struct Rest {
    file: Content,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(to.len() as u64).min(self.file.bytes);
        self.file.check(self.at, end).map_err(io::Error::other)?;
        let read = self.file.file.read_at(to, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl ChunkReader for Reader {
    type T = io::BufReader<Rest>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(io::BufReader::new(Rest { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read(start, length)
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let bytes = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if let Some(metrics) = &self.metrics {
            metrics.bytes_scanned.add(bytes);
        }
        futures::future::ready(self.read(range.start, bytes)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let policy = options.map_or(PageIndexPolicy::Skip, ArrowReaderOptions::column_index_policy);
        futures::future::ready(self.footer(policy).map(Arc::new)).boxed()
    }
}

/// Makes DataFusion read the [`TraceFile`] that a file of a scan has as its extension.
#[derive(Debug)]
pub struct Readers;

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::common::Result<Box<dyn AsyncFileReader + Send>> {
        let metrics = ParquetFileMetrics::new(partition, file.object_meta.location.as_ref(), metrics);
        let file = file.extension::<TraceFile>();
        let mut reader = file.ok_or(io::ErrorKind::NotFound.into()).and_then(TraceFile::reader)?;
        reader.metrics = Some(metrics);
        Ok(Box::new(reader))
    }
}
