//! `analyze`: parse, run, print the error, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use analyze::sql::problem::Problem;
use analyze::{cli, memory, output, run};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    memory::set_up();
    // A damaged segment can make the Parquet reader panic; the answer is one line, not a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    match std::panic::catch_unwind(|| answer(std::env::args_os())) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        // What is wrong in SQL is shown where it stands, below the message.
        Ok(Err(error)) if error.downcast_ref::<Problem>().is_some() => fail(&format!("{error:#}")),
        Ok(Err(error)) => fail(&format!("{error:#}").replace('\n', " ")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let text = format!(
                "a segment is damaged, or this is a bug: {text}; leave the segment out, or report it"
            );
            fail(&text.replace('\n', " "))
        }
    }
}

fn answer(words: std::env::ArgsOs) -> anyhow::Result<u8> {
    let request = match cli::parse(words) {
        Ok(request) => request,
        Err(error) => {
            // Help into a closed pipe is nobody's problem.
            let _ = error.print();
            return Ok(if error.use_stderr() { run::ERROR } else { run::OK });
        }
    };
    // Each file of a recording that goes on stays open. Where that is not to be had, some cannot be read, and are named.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    let threads = request.options.threads;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(run::run(request, io::stdout().lock(), &mut io::stderr()))
}

fn fail(message: &str) -> ExitCode {
    // Nothing is left to do if stderr is closed as well.
    let _ = writeln!(io::stderr(), "analyze: {}", message);
    ExitCode::from(run::ERROR)
}
