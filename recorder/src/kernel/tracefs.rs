//! tracefs -> the classic tracepoints and the fields of their records.

mod flags;
mod print;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

/// Where tracefs belongs; aya looks in the same places.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// Fields that every tracepoint starts with.
const COMMON_PREFIX: &str = "common_";

/// A mounted tracefs.
#[derive(Clone, Debug)]
pub struct Tracefs {
    root: PathBuf,
}

/// One field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceField {
    /// Its name.
    pub name: String,
    /// Its type as C, without the name.
    pub ty: String,
    /// Bytes from the start of the record.
    pub offset: u16,
    /// Bytes; of the locator word for `location`.
    pub size: u16,
    /// A signed integer.
    pub signed: bool,
    /// Items, if it is an array inside the record.
    pub array: Option<u16>,
    /// The data is elsewhere in the record; the field tells where.
    pub location: Option<Location>,
    /// The tracepoint prints it as the name of code (`%pS` and its like).
    pub code: bool,
}

/// What a locator word counts from; its low half is the offset, its high half the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// `__data_loc`: the start of the record.
    Record,
    /// `__rel_loc`: the end of the locator.
    Field,
}

impl Tracefs {
    /// The tracefs that is mounted, if one is.
    pub fn mounted() -> Option<Self> {
        let is_mounted = |place: &&&str| Path::new(place).join("events").is_dir();
        PLACES.iter().find(is_mounted).map(|place| Self { root: PathBuf::from(place) })
    }

    /// The mounted tracefs; mounts it where it belongs if it is not there yet and this process may.
    pub fn open() -> Result<Self> {
        if let Some(mounted) = Self::mounted() {
            return Ok(mounted);
        }
        let place = PLACES[0];
        if let Err(error) = fs::metadata(Path::new(place).join("events"))
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            bail!("{place} is not readable: that needs CAP_DAC_READ_SEARCH, as root has");
        }
        nix::mount::mount(
            Some("tracefs"),
            place,
            Some("tracefs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .map_err(|errno| {
            let remedy = "run as root, or have root run: mount -t tracefs tracefs";
            anyhow!(
                "tracefs is not readable at {place} and cannot be mounted there ({errno}): {remedy} {place}"
            )
        })?;
        Ok(Self { root: PathBuf::from(place) })
    }

    /// A file or directory of this tracefs.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Whether there is such a tracepoint.
    pub fn has(&self, category: &str, name: &str) -> bool {
        self.root.join("events").join(category).join(name).join("format").exists()
    }

    /// The fields of a tracepoint, without the common ones.
    pub fn fields(&self, category: &str, name: &str) -> Result<Vec<TraceField>> {
        let path = self.root.join("events").join(category).join(name).join("format");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(parse_format(&text))
    }

    /// Masks and names of the flags that a tracepoint prints of a field, in the order in which the kernel looks for them.
    pub fn flags(&self, category: &str, name: &str, field: &str) -> Vec<(u64, String)> {
        let path = self.root.join("events").join(category).join(name).join("format");
        fs::read_to_string(path).map_or_else(|_| Vec::new(), |text| flags::flags(&text, field))
    }

    /// The fields of the tracepoint of that name, in whichever category it is; none if there are several or none.
    pub fn fields_of(&self, name: &str) -> Vec<TraceField> {
        let categories = subdirectories(&self.root.join("events")).unwrap_or_default();
        let mut found = categories.iter().filter(|category| self.has(category, name));
        match (found.next(), found.next()) {
            (Some(category), None) => self.fields(category, name).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// All tracepoints as (category, name), sorted.
    pub fn tracepoints(&self) -> Result<Vec<(String, String)>> {
        let events = self.root.join("events");
        let mut found = Vec::new();
        for category in subdirectories(&events)? {
            for name in subdirectories(&events.join(&category))? {
                found.push((category.clone(), name));
            }
        }
        found.sort();
        Ok(found)
    }
}

fn subdirectories(path: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The fields in the text of a `format` file.
pub fn parse_format(text: &str) -> Vec<TraceField> {
    let fields = text.lines().filter_map(parse_field);
    let mut fields: Vec<TraceField> = fields.filter(|field| !field.name.starts_with(COMMON_PREFIX)).collect();
    let code = print::code_fields(text);
    for field in &mut fields {
        field.code = code.contains(&field.name.as_str());
    }
    fields
}

/// Such a line: `field:char name[32]; offset:8; size:32; signed:0;`, with tabs.
fn parse_field(line: &str) -> Option<TraceField> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.strip_prefix(':')?.parse::<u16>().ok();
    let (offset, size, signed) = (number("offset")?, number("size")?, number("signed")? != 0);
    let (location, declaration) = if let Some(rest) = declaration.strip_prefix("__data_loc ") {
        (Some(Location::Record), rest)
    } else if let Some(rest) = declaration.strip_prefix("__rel_loc ") {
        (Some(Location::Field), rest)
    } else {
        (None, declaration)
    };
    // The brackets stand behind the name, or behind the type if the data is elsewhere.
    let (declaration, brackets) = match declaration.split_once('[') {
        Some((before, rest)) => {
            let (inside, after) = rest.split_once(']')?;
            (format!("{before}{after}"), Some(inside))
        }
        None => (declaration.to_owned(), None),
    };
    let name_at = declaration.rfind(|c: char| c.is_whitespace() || c == '*')? + 1;
    let (ty, name) = declaration.split_at(name_at);
    let item_size = |ty: &str| match ty.trim() {
        "char" | "unsigned char" | "u8" | "__u8" | "s8" | "uint8_t" | "bool" => 1,
        "short" | "unsigned short" | "u16" | "__u16" => 2,
        "long" | "unsigned long" | "u64" | "__u64" | "s64" => 8,
        _ => 4,
    };
    // The count may be a C constant; the size tells as well.
    let array = brackets
        .filter(|_| location.is_none())
        .map(|inside| inside.trim().parse().unwrap_or_else(|_| size / item_size(ty)));
    Some(TraceField {
        name: name.to_owned(),
        ty: ty.trim().to_owned(),
        offset,
        size,
        signed,
        array,
        location,
        code: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_gives_names_types_and_places() {
        let text = "name: x\nID: 1\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
                    \tfield:char name[32];\toffset:8;\tsize:32;\tsigned:0;\n\
                    \tfield:const void * ptr;\toffset:40;\tsize:8;\tsigned:0;\n\
                    \tfield:__data_loc char[] path;\toffset:48;\tsize:4;\tsigned:1;\n\
                    \tfield:__u8 saddr[sizeof(struct sockaddr_in6)];\toffset:52;\tsize:28;\tsigned:0;\n\
                    \tfield:const char *const *argv;\toffset:80;\tsize:8;\tsigned:0;\n\nprint fmt: \"field:%d\", 1\n";
        let fields: Vec<String> = parse_format(text)
            .into_iter()
            .map(|f| format!("{}|{}|{}+{}|{:?}|{:?}", f.name, f.ty, f.offset, f.size, f.array, f.location))
            .collect();
        assert_eq!(
            fields,
            [
                "name|char|8+32|Some(32)|None",
                "ptr|const void *|40+8|None|None",
                "path|char|48+4|None|Some(Record)",
                "saddr|__u8|52+28|Some(28)|None",
                "argv|const char *const *|80+8|None|None",
            ]
        );
    }
}
