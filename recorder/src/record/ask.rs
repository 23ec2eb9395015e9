//! `recorder snapshot` and SIGUSR1 on one side, a recording on the other: requests for snapshots in and out.
//!
//! The recorder listens on the socket [`SOCKET`] in the trace: whoever may write there may ask, and only the process that
//! records this very trace can answer, so there is no process id to be mistaken. One line of JSON each way.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use schemas::trace::State;
use serde::{Deserialize, Serialize};

use crate::store::compaction::is_being_written;

/// Name of the socket.
pub const SOCKET: &str = ".control.tmp";
/// Clients that may be connected at once.
const MOST_CLIENTS: usize = 16;
/// Longest request, bytes.
const MAX_REQUEST: usize = 8192;
/// Time to say what one wants.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Request {
    /// Absolute path of the snapshot; none: beside the trace.
    to: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    #[serde(rename = "snapshot")]
    Snapshot(PathBuf),
    #[serde(rename = "error")]
    Error(String),
}

/// SIGUSR1, blocked and readable.
pub struct Usr1(SignalFd);

impl Usr1 {
    /// Block it in this thread and those it starts from now on: call it before any thread is started.
    pub fn block() -> Result<Self> {
        let mask = SigSet::from_iter([Signal::SIGUSR1]);
        mask.thread_block().context("cannot block signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&mask, flags).context("cannot make a signal descriptor")?))
    }

    /// Did it arrive since the last look?
    pub fn arrived(&mut self) -> bool {
        self.0.read_signal().ok().flatten().is_some()
    }
}

/// Somebody who asked for a snapshot and waits.
pub struct Client {
    stream: UnixStream,
    request: Vec<u8>,
    since: Instant,
}

impl Client {
    /// Tell what became of it.
    pub fn reply(mut self, result: &Result<PathBuf>) {
        let reply = match result {
            Ok(path) => Reply::Snapshot(path.clone()),
            Err(error) => Reply::Error(format!("{error:#}")),
        };
        let mut line = serde_json::to_vec(&reply).unwrap_or_default();
        line.push(b'\n');
        // Who does not wait for the answer does not get it.
        let _ = self.stream.write_all(&line);
    }

    /// The request once it is whole. Fails if it never will be.
    fn read(&mut self) -> Result<Option<Request>> {
        let mut bytes = [0; 512];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("the client has gone"),
                Ok(length) => self.request.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            ensure!(self.request.len() <= MAX_REQUEST, "the request is too long");
        }
        ensure!(self.since.elapsed() < PATIENCE, "the request takes too long");
        let Some(line) = self.request.strip_suffix(b"\n") else { return Ok(None) };
        Ok(Some(serde_json::from_slice(line).context("the request cannot be read")?))
    }
}

/// The recorder's end of the socket; dropped, it is gone.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    clients: Vec<Client>,
}

impl Listener {
    /// Listen in the trace `dir`.
    pub fn bind(dir: &Path) -> Result<Self> {
        let path = dir.join(SOCKET);
        let cannot = || format!("cannot listen on '{}'", path.display());
        let file = File::open(dir).with_context(cannot)?;
        let listener = UnixListener::bind(short(&file)).with_context(cannot)?;
        // In a directory of mode 0700 nobody else was quicker.
        fs::set_permissions(short(&file), Permissions::from_mode(0o600)).with_context(cannot)?;
        listener.set_nonblocking(true).with_context(cannot)?;
        Ok(Self { listener, path, clients: Vec::new() })
    }

    /// Those whose requests are whole now, and where they want their snapshots. Never waits.
    pub fn requests(&mut self) -> Vec<(Client, Option<PathBuf>)> {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < MOST_CLIENTS && stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client { stream, request: Vec::new(), since: Instant::now() });
            }
        }
        let (mut waiting, mut whole) = (Vec::new(), Vec::new());
        for mut client in self.clients.drain(..) {
            match client.read() {
                Ok(Some(Request { to })) => whole.push((client, to)),
                Ok(None) => waiting.push(client),
                Err(error) => client.reply(&Err(error)),
            }
        }
        self.clients = waiting;
        whole
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A socket that nobody listens on tells who connects so; `recorder compact` removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A way to the socket in the directory `dir` that is short enough for any system call.
fn short(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

/// Ask the recorder of the trace `dir` for a snapshot called `to`, and wait. Fails if nobody records it.
pub fn ask(dir: &Path, to: Option<&Path>) -> Result<PathBuf> {
    let shown = dir.display();
    let meta = schemas::trace::read::read(dir)?.meta;
    ensure!(
        meta.state == State::Open,
        "'{shown}' is not being recorded, it is {:?}: copy it as it is",
        meta.state
    );
    ensure!(
        is_being_written(dir)?,
        "nobody records '{shown}' any more: its recorder died; 'recorder compact {shown}' tidies it up"
    );
    let file = File::open(dir).with_context(|| format!("cannot open '{shown}'"))?;
    let mut stream = UnixStream::connect(short(&file)).with_context(|| {
        format!(
            "the recorder of '{shown}' (process {}) does not listen: it is about to begin or to end; try again, or \
             send it SIGUSR1",
            meta.recorder_pid
        )
    })?;
    let to = to.map(|to| std::path::absolute(to).with_context(|| format!("'{}' is no path", to.display())));
    let mut line = serde_json::to_vec(&Request { to: to.transpose()? })?;
    line.push(b'\n');
    let gone = "the recorder ended before the snapshot was made";
    stream.write_all(&line).context(gone)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context(gone)?;
    ensure!(!answer.is_empty(), gone);
    match serde_json::from_str(&answer).context("the recorder's answer cannot be read")? {
        Reply::Snapshot(path) => Ok(path),
        Reply::Error(error) => bail!("{error}"),
    }
}
