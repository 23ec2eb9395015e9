//! Files of the host in, an uncompressed cpio archive (newc) for a guest's kernel out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::host;

/// What a guest's root directory will hold.
#[derive(Default)]
pub struct Initramfs {
    /// Path in the guest, without the leading slash -> content.
    entries: BTreeMap<String, Entry>,
}

enum Entry {
    Directory,
    Host(PathBuf),
    Text(String),
}

impl Initramfs {
    /// A file with this text, executable.
    pub fn text(&mut self, guest: &str, text: impl Into<String>) {
        self.insert(guest, Entry::Text(text.into()));
    }

    /// An empty directory.
    pub fn directory(&mut self, guest: &str) {
        self.insert(guest, Entry::Directory);
    }

    /// A file, or a directory with all that is in it.
    pub fn copy(&mut self, host: &Path, guest: &str) -> Result<()> {
        let meta = fs::metadata(host).with_context(|| format!("cannot read {}", host.display()))?;
        if !meta.is_dir() {
            self.insert(guest, Entry::Host(host.to_owned()));
            return Ok(());
        }
        self.directory(guest);
        for entry in fs::read_dir(host).with_context(|| format!("cannot read {}", host.display()))? {
            let entry = entry?;
            self.copy(&entry.path(), &format!("{guest}/{}", entry.file_name().to_string_lossy()))?;
        }
        Ok(())
    }

    /// A program with the shared libraries it needs. `library_dirs` are looked through before the host's own.
    pub fn program(&mut self, host: &Path, guest: &str, library_dirs: &[PathBuf]) -> Result<()> {
        self.copy(host, guest)?;
        let search = std::env::join_paths(library_dirs)?;
        // A static program, or a script, is an error for ldd and needs nothing.
        let listing =
            host::output(Command::new("ldd").arg(host).env("LD_LIBRARY_PATH", search)).unwrap_or_default();
        for line in listing.lines() {
            let path = line.split("=>").last().and_then(|part| part.split_whitespace().next());
            let Some(path) = path.filter(|path| path.starts_with('/')) else { continue };
            let name = path.rsplit('/').next().unwrap_or(path);
            let inside = match library_dirs.iter().any(|dir| Path::new(path).starts_with(dir)) {
                true => format!("/usr/lib/{name}"),
                false => path.to_owned(),
            };
            self.copy(Path::new(path), &inside)?;
        }
        Ok(())
    }

    fn insert(&mut self, guest: &str, entry: Entry) {
        let guest = guest.trim_matches('/');
        let parents = guest.match_indices('/').map(|(at, _)| &guest[..at]);
        for parent in parents {
            self.entries.entry(parent.to_owned()).or_insert(Entry::Directory);
        }
        self.entries.insert(guest.to_owned(), entry);
    }

    /// Write the archive.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut out = BufWriter::new(file);
        for (number, (name, entry)) in self.entries.iter().enumerate() {
            let (mode, content) = match entry {
                Entry::Directory => (0o040_755, Vec::new()),
                Entry::Text(text) => (0o100_755, text.clone().into_bytes()),
                Entry::Host(host) => {
                    let content =
                        fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
                    (0o100_755, content)
                }
            };
            member(&mut out, number + 1, name, mode, &content)?;
        }
        member(&mut out, 0, "TRAILER!!!", 0, &[])?;
        out.flush().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// One member: a header of hexadecimal numbers, the name, the content, each padded to four bytes.
fn member(out: &mut impl Write, inode: usize, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let name_size = name.len() + 1;
    let size = content.len();
    write!(out, "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}", 0, 0, 1, 0)?;
    write!(out, "{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}{name}\0", 0, 0, 0, 0, 0)?;
    out.write_all(&[0; 3][..(4 - (110 + name_size) % 4) % 4])?;
    out.write_all(content)?;
    out.write_all(&[0; 3][..(4 - size % 4) % 4])?;
    Ok(())
}
