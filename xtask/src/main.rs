//! `cargo xtask`: the chores of this repository.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{bench, demo, docs, ebpf, fixtures, licences, setup, test, vm, workload};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the ktape repository")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Record a small known load and print the answers to questions about it
    Demo {
        /// Record in a guest of this kernel series, also where this machine would do
        #[arg(long, value_name = "KERNEL")]
        vm: Option<String>,
    },
    /// Run every test, in guests too
    Test {
        /// Only programs whose package and name have this in it
        filter: Option<String>,
        /// Also what takes long: what the classic tools are asked, on every kernel
        #[arg(long)]
        all: bool,
    },
    /// Install what is missing: tools, guest kernels, Python libraries
    Setup {
        /// Also what rebuilding the eBPF object needs
        #[arg(long)]
        ebpf: bool,
    },
    /// Run a command as root in guests of these kernels; its own exit code is passed on
    ///
    /// A command that is one word is run by the shell. A program of this machine goes into the guest with its
    /// libraries; so do `recorder`, `xtask`, `ip`, `ss` and `strace`. It runs in /out.
    Vm {
        /// Kernel series: 6.1, 6.12
        #[arg(required = true)]
        kernels: Vec<String>,
        /// File or program to take along: HERE or HERE:THERE
        #[arg(long = "file", value_name = "PATH")]
        files: Vec<String>,
        /// Program of PATH to take along, such as bpftool
        #[arg(long = "with", value_name = "PROGRAM", value_delimiter = ',')]
        with: Vec<String>,
        /// Give the guest a new disk of this size, /dev/vda, with an empty ext4 in it
        #[arg(long, value_name = "MIB")]
        disk: Option<u64>,
        /// Where to put what the command left in /out; KERNEL is added [default: target/guest/out]
        #[arg(long)]
        out: Option<PathBuf>,
        /// Longest time for the command, in seconds
        #[arg(long, default_value_t = 300)]
        timeout: u64,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Record fixtures/captured anew, in a guest
    Fixtures,
    /// Write the generated pages of docs/
    Docs {
        /// Only say which are stale
        #[arg(long)]
        check: bool,
    },
    /// Build the kernel side anew (the toolchain: `cargo xtask setup --ebpf`)
    Ebpf {
        /// Only compare with the committed object
        #[arg(long)]
        check: bool,
    },
    /// Check the licences of all dependencies
    Licences,
    /// Compare ktape with other tools on this machine
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Cause known kernel events and write down the truth about them
    Workload(workload::Workload),
}

fn main() -> ExitCode {
    match run(Args::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Demo { vm } => demo::run(vm.as_deref())?,
        Chore::Test { filter, all } => {
            let good = test::run(filter.as_deref(), all)?;
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Chore::Fixtures => fixtures::run()?,
        Chore::Docs { check } => docs::run(check)?,
        Chore::Ebpf { check } => ebpf::build(check)?,
        Chore::Licences => licences::run()?,
        Chore::Setup { ebpf } => setup::run(ebpf)?,
        Chore::Bench(bench) => bench.run()?,
        Chore::Workload(workload) => workload.run()?,
        Chore::Vm { kernels, files, with, disk, out, timeout, command } => {
            setup::run(false)?;
            let timeout = Duration::from_secs(timeout);
            let run = vm::Run { files, with, disk_mib: disk, out, timeout, command };
            return run.in_each(&kernels).map(ExitCode::from);
        }
    }
    Ok(ExitCode::SUCCESS)
}
