//! A column: its type, its place in the record, its Arrow field. A [`Layout`] is all columns of one event.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::wire::{MAX_FRAMES, MAX_STRING, RecordHeader};

mod notation;

pub use notation::Notation;

/// Type of a column, as written in an event definition and on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Type {
    /// `u8` `u16` `u32` `u64`: unsigned integer of that many bits.
    Unsigned(u8),
    /// `s8` `s16` `s32` `s64`: signed integer of that many bits.
    Signed(u8),
    /// `x8` .. `x64`: unsigned, shown in hexadecimal (addresses, flags).
    Hex(u8),
    /// `bool`: one byte, not zero is true.
    Bool,
    /// `char[N]`: text in a fixed array, ends at the first NUL.
    Chars(u16),
    /// `string` or `string[N]`: kernel string of at most N (127) bytes.
    Str(u16),
    /// `ustring` or `ustring[N]`: string in user memory.
    UserStr(u16),
    /// `ip4`: IPv4 address in network order, as text.
    Ip4,
    /// `ip6`: IPv6 address, as text.
    Ip6,
    /// `ip`: either; on the wire 16 address bytes, a u16 family (2 or 10; 0 is NULL), two bytes of padding.
    Ip,
    /// `mac`: Ethernet address, as text.
    Mac,
    /// `sym`: a kernel address; table `symbols` has its name.
    Sym,
    /// `hex[N]`: N raw bytes.
    Bytes(u16),
    /// `bytes[N]`: at most N (64) raw bytes, as many as the kernel says there are; on the wire a u16 with that number,
    /// or a larger one than N, then N bytes.
    Some(u16),
    /// `ubytes[N]`: the same of user memory.
    UserSome(u16),
    /// `argv[N]`: at most N (510) bytes of user memory in which words follow each other, each with a NUL at its end; as text
    /// they are quoted as a shell wants them, where they need it. On the wire as [`Type::Some`].
    Argv(u16),
    /// `u32[N]`, `s64[N]`, `x16[N]`: N numbers, one after the other as in memory (little-endian).
    Numbers(Box<Self>, u16),
    /// `enum(a,b,c)` or `enum(a=1,b=7)`: an i32 on the wire, the name as text; an unknown value is its decimal.
    Enum(Vec<(i32, String)>),
    /// `enum(kernel NAME)`: the same with the names of the running kernel's `enum NAME`, by which the recorder replaces it:
    /// a trace has [`Type::Enum`].
    KernelEnum(String),
    /// `kstack` or `kstack[N]`: kernel stack of at most N (32) frames; the column holds a stack id of table `stacks`.
    KernelStack(u16),
    /// `ustack` or `ustack[N]`: the same of user space.
    UserStack(u16),
}

/// Where [`Type::Ip`] keeps its family on the wire.
pub const IP_FAMILY_OFFSET: u16 = 16;
const DEFAULT_STRING: u16 = 127;
const DEFAULT_BYTES: u16 = 64;
const DEFAULT_FRAMES: u16 = 32;

impl Type {
    /// Bytes of this type in a record. Strings take two bytes more than they hold, so that a string that exactly
    /// fits is told from one that was cut.
    pub fn wire_size(&self) -> u16 {
        match self {
            Self::Unsigned(bits) | Self::Signed(bits) | Self::Hex(bits) => u16::from(*bits / 8),
            Self::Bool => 1,
            Self::Chars(n) | Self::Bytes(n) => *n,
            Self::Str(n) | Self::UserStr(n) | Self::Some(n) | Self::UserSome(n) | Self::Argv(n) => *n + 2,
            Self::Numbers(item, n) => item.wire_size() * *n,
            Self::Ip4 | Self::Enum(_) | Self::KernelEnum(_) => 4,
            Self::Ip6 => 16,
            Self::Ip => 20,
            Self::Mac => 6,
            Self::Sym => 8,
            Self::KernelStack(n) | Self::UserStack(n) => 8 + 8 * *n,
        }
    }

    /// The most bytes that a value of unknown length has in the record, if it is of such a type.
    pub fn most_bytes(&self) -> Option<u16> {
        match self {
            Self::Some(n) | Self::UserSome(n) | Self::Argv(n) => Some(*n),
            _ => None,
        }
    }

    /// Alignment of this type in a record.
    pub fn wire_align(&self) -> u16 {
        match self {
            Self::Unsigned(bits) | Self::Signed(bits) | Self::Hex(bits) => u16::from(*bits / 8),
            Self::Ip4 | Self::Enum(_) | Self::KernelEnum(_) | Self::Ip => 4,
            Self::Sym | Self::KernelStack(_) | Self::UserStack(_) => 8,
            Self::Ip6 | Self::Chars(_) | Self::Str(_) | Self::UserStr(_) => 8,
            Self::Numbers(item, _) => item.wire_align(),
            Self::Some(_) | Self::UserSome(_) | Self::Argv(_) => 2,
            Self::Bool | Self::Mac | Self::Bytes(_) => 1,
        }
    }

    /// The Arrow type. Text of few distinct values (names, addresses, enums) is dictionary-encoded.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Unsigned(8) | Self::Hex(8) => DataType::UInt8,
            Self::Unsigned(16) | Self::Hex(16) => DataType::UInt16,
            Self::Unsigned(32) | Self::Hex(32) => DataType::UInt32,
            Self::Unsigned(_) | Self::Hex(_) | Self::Sym => DataType::UInt64,
            Self::Signed(8) => DataType::Int8,
            Self::Signed(16) => DataType::Int16,
            Self::Signed(32) => DataType::Int32,
            Self::Signed(_) | Self::KernelStack(_) | Self::UserStack(_) => DataType::Int64,
            Self::Bool => DataType::Boolean,
            Self::Str(_) | Self::UserStr(_) | Self::Argv(_) | Self::Mac => DataType::Utf8,
            Self::Chars(_) | Self::Enum(_) | Self::KernelEnum(_) | Self::Ip4 | Self::Ip6 | Self::Ip => {
                text_dictionary()
            }
            Self::Bytes(_) | Self::Some(_) | Self::UserSome(_) | Self::Numbers(..) => DataType::Binary,
        }
    }
}

/// Arrow type of text with few distinct values.
pub fn text_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(bits) => write!(f, "u{bits}"),
            Self::Signed(bits) => write!(f, "s{bits}"),
            Self::Hex(bits) => write!(f, "x{bits}"),
            Self::Bool => f.write_str("bool"),
            Self::Chars(n) => write!(f, "char[{n}]"),
            Self::Str(n) => write!(f, "string[{n}]"),
            Self::UserStr(n) => write!(f, "ustring[{n}]"),
            Self::Ip4 => f.write_str("ip4"),
            Self::Ip6 => f.write_str("ip6"),
            Self::Ip => f.write_str("ip"),
            Self::Mac => f.write_str("mac"),
            Self::Sym => f.write_str("sym"),
            Self::Bytes(n) => write!(f, "hex[{n}]"),
            Self::Some(n) => write!(f, "bytes[{n}]"),
            Self::UserSome(n) => write!(f, "ubytes[{n}]"),
            Self::Argv(n) => write!(f, "argv[{n}]"),
            Self::Numbers(item, n) => write!(f, "{item}[{n}]"),
            Self::KernelStack(n) => write!(f, "kstack[{n}]"),
            Self::UserStack(n) => write!(f, "ustack[{n}]"),
            Self::KernelEnum(name) => write!(f, "enum(kernel {name})"),
            Self::Enum(names) => {
                f.write_str("enum(")?;
                for (i, (value, name)) in names.iter().enumerate() {
                    write!(f, "{}{name}={value}", if i == 0 { "" } else { "," })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl From<Type> for String {
    fn from(ty: Type) -> Self {
        ty.to_string()
    }
}

impl TryFrom<String> for Type {
    type Error = TypeError;
    fn try_from(text: String) -> Result<Self, TypeError> {
        text.parse()
    }
}

/// A type that could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TypeError {
    /// No such type.
    #[error(
        "unknown type '{0}': use u8..u64, s8..s64, x8..x64, bool, char[N], string[N], ustring[N], ip, ip4, ip6, mac, \
         sym, hex[N], bytes[N], ubytes[N], argv[N], u16[N]..s64[N], \
         enum(a,b=7), enum(kernel NAME), kstack[N] or ustack[N]"
    )]
    Unknown(String),
    /// The number in brackets is not possible.
    #[error("type '{0}': the number in brackets must be from 1 to {1}")]
    Size(String, usize),
}

impl FromStr for Type {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        let text = text.trim();
        let unknown = || TypeError::Unknown(text.to_owned());
        if let Some(list) = text.strip_prefix("enum(").and_then(|t| t.strip_suffix(')')) {
            if let Some(name) = list.trim().strip_prefix("kernel ").map(str::trim) {
                let is_name =
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                return is_name.then(|| Self::KernelEnum(name.to_owned())).ok_or_else(unknown);
            }
            let mut next = Some(0);
            let mut names = Vec::new();
            if list.trim().is_empty() {
                return Ok(Self::Enum(names));
            }
            for item in list.split(',') {
                let (name, value) = match item.split_once('=') {
                    Some((name, value)) => (name, value.trim().parse().map_err(|_| unknown())?),
                    None => (item, next.ok_or_else(unknown)?),
                };
                names.push((value, name.trim().to_owned()));
                next = i32::checked_add(value, 1);
            }
            return Ok(Self::Enum(names));
        }
        let (base, count) = match text.split_once('[') {
            Some((base, rest)) => {
                let digits = rest.strip_suffix(']').ok_or_else(unknown)?;
                (base, Some(digits.parse::<u16>().map_err(|_| unknown())?))
            }
            None => (text, None),
        };
        let sized = |default: Option<u16>, most: usize| match count.or(default) {
            Some(n) if n >= 1 && usize::from(n) <= most => Ok(n),
            _ => Err(TypeError::Size(text.to_owned(), most)),
        };
        let ty = match base {
            "char" => Self::Chars(sized(None, MAX_STRING)?),
            "string" => Self::Str(sized(Some(DEFAULT_STRING), MAX_STRING)?),
            "ustring" => Self::UserStr(sized(Some(DEFAULT_STRING), MAX_STRING)?),
            "hex" => Self::Bytes(sized(None, MAX_STRING)?),
            "bytes" => Self::Some(sized(Some(DEFAULT_BYTES), MAX_STRING)?),
            "ubytes" => Self::UserSome(sized(Some(DEFAULT_BYTES), MAX_STRING)?),
            "argv" => Self::Argv(sized(Some(MAX_STRING as u16), MAX_STRING)?),
            "kstack" => Self::KernelStack(sized(Some(DEFAULT_FRAMES), MAX_FRAMES)?),
            "ustack" => Self::UserStack(sized(Some(DEFAULT_FRAMES), MAX_FRAMES)?),
            _ if count.is_some() => match base.parse() {
                Ok(item @ (Self::Unsigned(bits) | Self::Signed(bits) | Self::Hex(bits))) => {
                    Self::Numbers(Box::new(item), sized(None, MAX_STRING / usize::from(bits / 8))?)
                }
                _ => return Err(unknown()),
            },
            "bool" => Self::Bool,
            "ip4" => Self::Ip4,
            "ip6" => Self::Ip6,
            "ip" => Self::Ip,
            "mac" => Self::Mac,
            "sym" => Self::Sym,
            _ => {
                let (kind, bits) = base.split_at_checked(1).ok_or_else(unknown)?;
                let bits = match bits {
                    "8" => 8,
                    "16" => 16,
                    "32" => 32,
                    "64" => 64,
                    _ => return Err(unknown()),
                };
                match kind {
                    "u" => Self::Unsigned(bits),
                    "s" => Self::Signed(bits),
                    "x" => Self::Hex(bits),
                    _ => return Err(unknown()),
                }
            }
        };
        Ok(ty)
    }
}

/// One column of an event in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name in SQL; the unit is part of it where there is one (`size_bytes`).
    pub name: String,
    /// Type on the wire and in Arrow.
    #[serde(rename = "type")]
    pub ty: Type,
    /// `ns`, `bytes`, `pages`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What it says and where it comes from.
    pub doc: String,
    /// Offset in the record, header included.
    pub offset: u16,
    /// Bit in the header's `nulls`, `faults` and `cuts`.
    pub bit: u8,
}

/// All columns of one event and their places in its record; the same for every source of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Name of the event, its table and its directory.
    pub event: String,
    /// One sentence: when does it happen.
    pub summary: String,
    /// The event's own columns, after the [standard ones](standard_fields).
    pub columns: Vec<Column>,
    /// Bytes of a record, header included, a multiple of 8.
    pub record_size: u32,
    /// A row stands for the events of an interval: as many as column [`COUNT`] says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aggregate: bool,
    /// A row is a sample: its kernel stack begins where the processor was, whatever that is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sampled: bool,
}

/// Column of an aggregated event that says how many events a row stands for.
pub const COUNT: &str = "count";

impl Layout {
    /// Lay out `columns` (their `offset` and `bit` are set here). The ones in `stash` come first, so that an entry
    /// probe fills one contiguous range; the second value is the size of that range in bytes.
    pub fn new(
        event: &str,
        summary: &str,
        mut columns: Vec<Column>,
        stash: impl Fn(&str) -> bool,
    ) -> (Self, u16) {
        let mut end = size_of::<RecordHeader>() as u16;
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|&i| (!stash(&columns[i].name), std::cmp::Reverse(columns[i].ty.wire_align())));
        let mut stash_end = end;
        for i in order {
            let column = &mut columns[i];
            end = end.next_multiple_of(column.ty.wire_align());
            column.offset = end;
            column.bit = i as u8;
            end += column.ty.wire_size();
            if stash(&column.name) {
                stash_end = end;
            }
        }
        let layout = Self {
            event: event.to_owned(),
            summary: summary.to_owned(),
            columns,
            record_size: u32::from(end).next_multiple_of(8),
            aggregate: false,
            sampled: false,
        };
        (layout, stash_end - size_of::<RecordHeader>() as u16)
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Where in a record it is said how many events it stands for, if it may be other than one.
    pub fn count_at(&self) -> Option<usize> {
        self.column(COUNT).filter(|_| self.aggregate).map(|column| usize::from(column.offset))
    }

    /// The Arrow schema of the event's table: standard columns, then its own. Doc, unit and type travel as field
    /// metadata (`doc`, `unit`, `ktape_type`), the summary as schema metadata.
    pub fn schema(&self) -> Schema {
        let own = self
            .columns
            .iter()
            .map(|c| typed(&c.ty.to_string(), field(&c.name, c.ty.arrow(), true, c.unit.as_deref(), &c.doc)));
        let standard = if self.aggregate { aggregate_fields() } else { standard_fields() };
        let fields: Vec<Field> = standard.into_iter().chain(own).collect();
        Schema::new(fields).with_metadata(HashMap::from([("doc".to_owned(), self.summary.clone())]))
    }
}

/// Arrow type of every `ts` column.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The columns that every event table starts with.
pub fn standard_fields() -> Vec<Field> {
    vec![
        field(
            "ts",
            timestamp(),
            false,
            Some("ns"),
            "when: CLOCK_BOOTTIME plus the offset to UTC fixed at the start of the recording",
        ),
        field("cpu", DataType::UInt16, false, None, "processor on which the probe ran"),
        field(
            "ctx",
            text_dictionary(),
            true,
            None,
            "what the probe ran in: task, softirq, hardirq or nmi; NULL for rows that the recorder made itself \
             (snapshot), and where the kernel does not let us tell, which the recorder warns of",
        ),
        field(
            "pid",
            DataType::UInt32,
            true,
            None,
            "process (thread group), numbered in the initial pid namespace; NULL in an interrupt, where the process that \
             was running is a bystander",
        ),
        field(
            "tid",
            DataType::UInt32,
            true,
            None,
            "thread, numbered in the initial pid namespace; NULL in an interrupt",
        ),
        field("probe", DataType::UInt16, false, None, "the probe that saw it: row of table probes"),
        field(
            "seq",
            DataType::UInt64,
            false,
            None,
            "number of the event within its probe and cpu; a gap is a loss",
        ),
        field(
            "faults",
            DataType::UInt32,
            false,
            None,
            "bit i is set if column i (after the standard ones) is NULL because reading it faulted",
        ),
        field(
            "cuts",
            DataType::UInt32,
            false,
            None,
            "bit i is set if the string in column i (after the standard ones) was cut",
        ),
    ]
}

/// The same columns of an aggregated event, whose rows are about other things.
fn aggregate_fields() -> Vec<Field> {
    let doc = |name: &str| match name {
        "ts" => {
            "end of the interval, which began at ts - interval_ns: CLOCK_BOOTTIME plus the offset to UTC fixed at the start"
        }
        "cpu" => "processor on which the events of this row were counted: each has rows of its own",
        "ctx" => {
            "what the probe ran in: task, softirq, hardirq or nmi; NULL unless ctx is a key, and where it is not known"
        }
        "pid" => {
            "process (thread group), numbered in the initial pid namespace; NULL unless pid is a key, and in an interrupt"
        }
        "tid" => {
            "thread, numbered in the initial pid namespace; NULL unless tid is a key, and in an interrupt"
        }
        "probe" => "the probe that counted them: row of table probes",
        "seq" => "number of the row within its probe and cpu",
        "faults" => "bit i is set if key i (after the standard columns) is NULL because reading it faulted",
        _ => "bit i is set if the string in key i (after the standard columns) was cut",
    };
    let fields = standard_fields().into_iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.insert("doc".to_owned(), doc(field.name()).to_owned());
        field.with_metadata(metadata)
    });
    fields.collect()
}

/// A documented Arrow field.
pub fn field(name: &str, ty: DataType, nullable: bool, unit: Option<&str>, doc: &str) -> Field {
    let mut metadata = HashMap::from([("doc".to_owned(), doc.to_owned())]);
    if let Some(unit) = unit {
        metadata.insert("unit".to_owned(), unit.to_owned());
    }
    Field::new(name, ty, nullable).with_metadata(metadata)
}

/// `field` with its [`Type`] in words, for readers of the table.
pub fn typed(ty: &str, mut field: Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert("ktape_type".to_owned(), ty.to_owned());
    field.set_metadata(metadata);
    field
}

#[cfg(test)]
mod tests;
