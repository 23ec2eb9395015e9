//! A redis server of our own and redis-benchmark beside it, which tells how many requests it made and how long they took.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::super::process::Running;
use crate::setup;

/// Longest time for the server to start and to end, and for the benchmark.
const STARTING: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(600);
const CLIENTS: &str = "20";

/// The two programs, unpacked and not installed.
pub struct Redis {
    root: PathBuf,
    libraries: String,
}

/// A server that runs; ended when dropped.
pub struct Server {
    process: Running,
    port: u16,
}

/// A benchmark that waits for its start.
pub struct Waiting {
    process: Running,
    output: PathBuf,
}

/// What the benchmark measured.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Done {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Redis {
    /// Fetch what is missing.
    pub fn get() -> Result<Self> {
        let root = setup::services(&["redis-server", "redis-tools"])?;
        let libraries: Vec<String> =
            setup::library_dirs(&root).iter().map(|dir| dir.display().to_string()).collect();
        Ok(Self { root, libraries: libraries.join(":") })
    }

    fn command(&self, program: &str) -> Command {
        // Where the package manager has installed it, there is nothing to unpack.
        let unpacked = self.root.join("usr/bin").join(program);
        let mut command = if unpacked.exists() { Command::new(unpacked) } else { Command::new(program) };
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }

    /// Start a server that keeps nothing, on a port of its own that only this machine reaches.
    pub fn serve(&self, dir: &Path) -> Result<Server> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = self.command("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(dir).stdin(Stdio::null()).stdout(file(&dir.join("server.out"))?);
        let mut process = Running::start(&mut command)?;
        process.until(STARTING, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(Server { process, port })
    }

    /// Start a benchmark of `requests` requests, to wait.
    pub fn benchmark(&self, server: &Server, requests: u64, dir: &Path) -> Result<Waiting> {
        let output = dir.join("benchmark.out");
        let real = self.command("redis-benchmark");
        // The shell waits until its input ends, and becomes the benchmark.
        let mut command = Command::new("sh");
        command.args(["-c", "read -r go; exec \"$@\"", "sh"]).arg(real.get_program());
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command.args(["-h", "127.0.0.1", "-p", &server.port.to_string(), "-t", "get", "-c", CLIENTS, "-n"]);
        command.arg(requests.to_string()).stdin(Stdio::piped()).stdout(file(&output)?);
        Ok(Waiting { process: Running::start(&mut command)?, output })
    }
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// End it.
    pub fn end(self) -> Result<()> {
        self.process.signal(Signal::SIGTERM);
        self.process.end(STARTING).map(drop)
    }
}

impl Waiting {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Let it go.
    pub fn run(mut self) -> Result<Done> {
        self.process.close_stdin();
        let (status, _) = self.process.end(LIMIT)?;
        ensure!(status.success(), "redis-benchmark failed: {status}");
        let text = fs::read_to_string(&self.output)
            .with_context(|| format!("cannot read {}", self.output.display()))?;
        done(&text).with_context(|| format!("redis-benchmark said: {text}"))
    }
}

fn file(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot make {}", path.display()))
}

/// The benchmark's summary, and of its percentiles the first that is 99.9 or more: those are powers of two apart.
fn done(text: &str) -> Option<Done> {
    let number = |word: &str| word.trim_end_matches('%').parse::<f64>().ok();
    // Progress is written on one line, over and over.
    let lines = || text.lines().map(|line| line.rsplit('\r').next().unwrap_or(line).trim());
    let per_second =
        lines().find_map(|line| line.strip_prefix("throughput summary:")?.split_whitespace().next());
    let p999_ms = lines().find_map(|line| {
        let (percent, rest) = line.split_once("% <= ")?;
        (number(percent)? >= 99.9).then(|| number(rest.split_whitespace().next()?)).flatten()
    });
    let names = lines().position(|line| line.starts_with("avg "))?;
    let values: Vec<f64> = lines().nth(names + 1)?.split_whitespace().filter_map(number).collect();
    let [_, _, p50_ms, _, p99_ms, max_ms] = values[..] else { return None };
    Some(Done { per_second: number(per_second?)?, p50_ms, p99_ms, p999_ms: p999_ms?, max_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_benchmark_prints_is_read() {
        let text = "GET: rps=0.0 (overall: 0.0) avg_msec=nan\r====== GET ======\n  \
                    400000 requests completed in 4.27 seconds\n\nLatency by percentile distribution:\n\
                    0.000% <= 0.063 milliseconds (cumulative count 1)\n\
                    99.902% <= 0.415 milliseconds (cumulative count 399610)\n\
                    99.951% <= 0.615 milliseconds (cumulative count 399810)\n\
                    100.000% <= 2.615 milliseconds (cumulative count 400000)\n\n\
                    Cumulative distribution of latencies:\n13.290% <= 0.103 milliseconds (cumulative count 1)\n\
                    Summary:\n  throughput summary: 93676.81 requests per second\n  latency summary (msec):\n          \
                    avg       min       p50       p95       p99       max\n        \
                    0.138     0.056     0.135     0.183     0.247     2.615\n";
        let wanted =
            Done { per_second: 93676.81, p50_ms: 0.135, p99_ms: 0.247, p999_ms: 0.415, max_ms: 2.615 };
        assert_eq!(done(text), Some(wanted));
        assert_eq!(done("Could not connect"), None);
    }
}
