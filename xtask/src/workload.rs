//! Small known loads: a name in, kernel events and the truth about them (JSON) out.
//!
//! A workload counts what it does itself, and reads what the kernel counts elsewhere (`/proc`, `ss`), so that a
//! recording of it can be compared with something that is not the recorder. All traffic is on the loopback
//! interfaces of network namespaces that the workload makes.

pub mod calls;
pub mod churn;
pub mod cost;
pub mod ending;
pub mod headers;
pub mod hold;
pub mod joins;
pub mod kmem;
pub mod listens;
pub mod mkdirs;
mod netns;
pub mod packets;
mod rules;
pub mod storm;
pub mod switches;
pub mod ways;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use netns::boottime_ns;

/// A workload and its size.
#[derive(Args)]
pub struct Workload {
    #[command(subcommand)]
    kind: Kind,
    /// Write what was done to this file, as JSON [default: to standard output]
    #[arg(long, global = true)]
    truth: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Kind {
    /// Listen with TCP sockets, IPv4 and IPv6, spread over three network namespaces
    Listens(listens::Options),
    /// Make network namespaces with a listener in each and keep them until standard input ends
    Hold(hold::Options),
    /// Open files and leak some of them; add and delete routing rules
    Kmem(kmem::Options),
    /// Send bursts of UDP datagrams over loopback, IPv4 and IPv6
    Packets(packets::Options),
    /// Send packets with extension headers, options, in fragments, encrypted, cut short and in pieces
    Headers(headers::Options),
    /// Make directories, and fail to
    Mkdirs,
    /// Fail to make directories, often
    Ticks(mkdirs::TickOptions),
    /// Enter network namespaces, and fail to
    Joins,
    /// Make directories, open files and enter namespaces by every way that this machine has
    Ways,
    /// Sleep, sync, use shared memory, wait for a lock and change identity
    Calls,
    /// Two processes send a byte to and fro
    Switches(switches::Options),
    /// Call getppid, as fast as can be or at a given rate
    Storm(storm::Options),
    /// Make, write and remove files
    Churn(churn::Options),
    /// End a recorder by a signal and look how long it takes
    Ending(ending::Options),
}

impl Workload {
    /// Do it and write down the truth.
    pub fn run(&self) -> Result<()> {
        match &self.kind {
            Kind::Listens(options) => self.tell(&listens::run(options)?),
            Kind::Hold(options) => {
                let (truth, held) = hold::start(options)?;
                self.tell(&truth)?;
                held.until_stdin_ends()
            }
            Kind::Kmem(options) => self.tell(&kmem::run(options)?),
            Kind::Packets(options) => self.tell(&packets::run(options)?),
            Kind::Headers(options) => self.tell(&headers::run(options)?),
            Kind::Mkdirs => self.tell(&mkdirs::run()?),
            Kind::Ticks(options) => self.tell(&mkdirs::ticks(options)?),
            Kind::Joins => self.tell(&joins::run()?),
            Kind::Ways => self.tell(&ways::run()?),
            Kind::Calls => self.tell(&calls::run()?),
            Kind::Switches(options) => self.tell(&switches::run(options)?),
            Kind::Storm(options) => self.tell(&storm::run(options)?),
            Kind::Churn(options) => self.tell(&churn::run(options)?),
            Kind::Ending(options) => self.tell(&ending::run(options)?),
        }
    }

    fn tell(&self, truth: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(truth)? + "\n";
        match &self.truth {
            None => print!("{text}"),
            // A device has no other in its place: /dev/null stays what it is.
            Some(path) if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) => {
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            Some(path) => {
                // Whoever waits for the file sees it whole.
                let partial = path.with_extension("partial");
                let written = std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path));
                written.with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Read back what a workload wrote.
pub fn truth<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not the truth expected", path.display()))
}
