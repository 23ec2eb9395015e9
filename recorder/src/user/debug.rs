//! Finds the symbols that were taken out of a program and are kept in a file of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::elf::Image;

/// Where distributions put such files.
const PLACE: &str = "/usr/lib/debug";

/// The symbols of the program at `path`, if they are on this machine and belong to this very program.
pub fn find(image: &Image, path: &Path) -> Option<Image> {
    by_build_id(image).or_else(|| by_link(image, path))
}

fn by_build_id(image: &Image) -> Option<Image> {
    let id = image.build_id.as_deref()?;
    let (start, rest) = id.split_at_checked(2)?;
    let debug = read(Path::new(&format!("{PLACE}/.build-id/{start}/{rest}.debug")))?;
    (debug.build_id.as_deref() == Some(id)).then_some(debug)
}

/// The file that the program names: beside it, or below the usual place.
fn by_link(image: &Image, path: &Path) -> Option<Image> {
    let (name, checksum) = image.debug_link.as_ref()?;
    let directory = path.parent()?;
    let below = Path::new(PLACE).join(directory.strip_prefix("/").unwrap_or(directory));
    let places: [PathBuf; 3] = [directory.join(name), directory.join(".debug").join(name), below.join(name)];
    places.iter().filter(|place| *place != path).find_map(|place| {
        let debug = read(place)?;
        let is_its = match (&debug.build_id, &image.build_id) {
            (Some(its), Some(own)) => its == own,
            _ => crc32(&fs::read(place).ok()?) == *checksum,
        };
        is_its.then_some(debug)
    })
}

fn read(path: &Path) -> Option<Image> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    Image::read(&File::open(path).ok()?).ok().filter(|image| image.has_all_symbols)
}

/// The checksum of `.gnu_debuglink`.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip_and_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
