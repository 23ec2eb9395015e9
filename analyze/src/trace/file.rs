//! A file of a trace in, readers of it out: by its descriptor where its name may go away meanwhile.
//!
//! Every read says where it begins, so any number of readers can share a descriptor.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use nix::fcntl::OFlag;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

/// A regular file of a trace.
#[derive(Clone, Debug)]
pub struct TraceFile {
    /// Absolute path, of the time when it was found.
    pub path: PathBuf,
    /// Open for as long as the trace is, because a recorder may remove it.
    held: Option<Arc<File>>,
}

impl TraceFile {
    /// The file at `path`, opened anew by each reader.
    ///
    /// Fails if it is no regular file.
    pub fn named(path: &Path) -> Result<Self> {
        ensure!(fs::symlink_metadata(path)?.is_file(), "not a regular file");
        Ok(Self { path: fs::canonicalize(path)?, held: None })
    }

    /// The file at `path`, open from now on.
    ///
    /// Fails if it is no regular file.
    pub fn held(path: &Path) -> Result<Self> {
        ensure!(fs::symlink_metadata(path)?.is_file(), "not a regular file");
        Ok(Self { path: std::path::absolute(path)?, held: Some(open(path)?) })
    }

    /// Is it open, because its name may go away?
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// What the file system says of it. Fails if it has gone and is not held.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.held.as_ref().map_or_else(|| fs::symlink_metadata(&self.path), |file| file.metadata())
    }

    /// A reader of its own. Fails if it has gone and is not held.
    pub fn reader(&self) -> io::Result<Reader> {
        let file = self.held.as_ref().map_or_else(|| open(&self.path), |file| Ok(file.clone()))?;
        Ok(Reader { bytes: file.metadata()?.len(), file, metrics: None })
    }
}

/// What is no regular file is not opened, and does not make us wait.
fn open(path: &Path) -> io::Result<Arc<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(Arc::new(file)) } else { Err(io::Error::other("not a regular file")) }
}

/// Reads a [`TraceFile`].
pub struct Reader {
    file: Arc<File>,
    bytes: u64,
    metrics: Option<ParquetFileMetrics>,
}

impl Reader {
    fn read(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A damaged footer may ask for more than any machine has.
        if start.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

impl Length for Reader {
    fn len(&self) -> u64 {
        self.bytes
    }
}

/// From `at` to the end of the file.
pub struct Rest {
    file: Arc<File>,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.at)?;
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
        let reader = ParquetMetaDataReader::new().with_page_index_policy(policy);
        futures::future::ready(reader.parse_and_finish(&*self).map(Arc::new)).boxed()
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
