//! Why a trace could not be written in; one line about it out: what, why, what remains, what to do.

use std::io;
use std::path::Path;

use anyhow::Error;

/// The line about `failure` of the trace in `dir`.
pub fn line(failure: &Error, dir: &Path) -> String {
    let dir_text = dir.display();
    let remains = match dir.is_dir() {
        true => format!("recording ends, what was written stays in '{dir_text}'"),
        false => format!("recording ends, '{dir_text}' is gone"),
    };
    match remedy(failure) {
        Some(remedy) => format!("{failure:#}; {remains}; {remedy}"),
        None => format!("{failure:#}; {remains}"),
    }
}

fn remedy(failure: &Error) -> Option<&'static str> {
    let io = failure.chain().find_map(|cause| cause.downcast_ref::<io::Error>())?;
    match io.raw_os_error()? {
        libc::ENOSPC | libc::EDQUOT => Some("free space, or write to another disk with -o"),
        libc::EFBIG => Some("raise the limit of file sizes: see 'ulimit -f'"),
        libc::EROFS => {
            Some("the file system was made read-only: see 'dmesg', or write to another disk with -o")
        }
        libc::EIO => Some("the disk is failing: see 'dmesg', and write to another disk with -o"),
        libc::ENOENT | libc::ESTALE => Some("somebody removed it during the recording: record again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_line_says_what_why_what_remains_and_what_to_do() {
        let full: io::Result<()> = Err(io::Error::from_raw_os_error(libc::ENOSPC));
        let error = full.context("cannot write '/tmp/x'").unwrap_err();
        assert_eq!(
            line(&error, Path::new("/")),
            "cannot write '/tmp/x': No space left on device (os error 28); recording ends, what was written stays in \
             '/'; free space, or write to another disk with -o"
        );
        assert_eq!(
            line(&anyhow::anyhow!("no"), Path::new("/none/such")),
            "no; recording ends, '/none/such' is gone"
        );
    }
}
