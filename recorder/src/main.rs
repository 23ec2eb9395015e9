//! The `recorder` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    match recorder::cli::run(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) if recorder::cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            recorder::cli::say(format_args!("{error:#}"));
            ExitCode::from(recorder::cli::EXIT_ERROR)
        }
    }
}
