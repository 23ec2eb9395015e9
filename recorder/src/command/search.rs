//! The name of a program and a PATH in, the file that is to be run out.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, eaccess};

/// Where programs are if nobody says so, as the C library has it. Without it an unset PATH would mean the current
/// directory, which is no place for root to take programs from.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Where the program is, and the file that it is: while that is open, no other gets its inode number.
pub fn search(name: &OsStr, path: Option<OsString>) -> Result<(PathBuf, File)> {
    let shown = name.to_string_lossy();
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        if !path.exists() {
            bail!("command not found: {shown}");
        }
        let file = executable(path).with_context(|| {
            format!("command {shown} is not a file that you may execute: see 'ls -l {shown}' and 'chmod +x'")
        })?;
        return Ok((path.to_owned(), file));
    }
    let path = path.filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find_map(|path| executable(&path).map(|file| (path, file)))
        .with_context(|| format!("command not found: {shown}; give its path, or put its directory into PATH"))
}

/// The file at `path`, if it is one that this user may execute. Nothing can be read from it.
fn executable(path: &Path) -> Option<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    // The mode alone does not tell: it may be another's, or its file system mounted without programs.
    eaccess(path, AccessFlags::X_OK).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn without_a_path_programs_are_where_the_system_has_them() {
        for path in [None, Some(OsString::new())] {
            let (found, _) = search(OsStr::new("sh"), path).unwrap();
            assert!(found.starts_with("/bin") || found.starts_with("/usr/bin"), "{found:?}");
        }
    }

    #[test]
    fn the_first_that_may_be_executed_is_taken() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str, mode| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("program"), "").unwrap();
            fs::set_permissions(path.join("program"), fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let paths = [place("plain", 0o644), place("good", 0o755), place("later", 0o755)];
        let (found, _) = search(OsStr::new("program"), std::env::join_paths(&paths).ok()).unwrap();
        assert_eq!(found, paths[1].join("program"));
        let error = search(paths[0].join("program").as_os_str(), None).unwrap_err().to_string();
        assert!(error.contains("not a file that you may execute") && error.contains("chmod +x"), "{error}");
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        for name in ["no-such-command", "/no/such/command"] {
            let error = search(OsStr::new(name), std::env::var_os("PATH")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("command not found: {name}")), "{error}");
        }
    }
}
