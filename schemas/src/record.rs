//! Values by column name in, one record in wire layout out: rows that the recorder makes itself (snapshots), and
//! records for tests.

use std::net::IpAddr;

use crate::column::{Column, IP_FAMILY_OFFSET, Layout, Type};
use crate::wire::{RecordHeader, subject};
use zerocopy::IntoBytes;

/// Builds one record; a column that is not set is NULL.
pub struct RecordBuilder<'a> {
    layout: &'a Layout,
    header: RecordHeader,
    bytes: Vec<u8>,
}

impl<'a> RecordBuilder<'a> {
    /// A record of `layout` at `ts_ns` (CLOCK_BOOTTIME), of no process: nothing ran that could be in a context.
    pub fn new(layout: &'a Layout, ts_ns: u64) -> Self {
        let nulls = layout.columns.iter().fold(0, |mask, column| mask | 1 << column.bit);
        let pid_tgid = subject::UNKNOWN << subject::SHIFT | subject::NOBODY;
        let header = RecordHeader { ts_ns, pid_tgid, seq: 0, nulls, faults: 0, cuts: 0 };
        Self { layout, header, bytes: vec![0; layout.record_size as usize] }
    }

    /// Process and thread of the row.
    pub fn task(mut self, pid: u32, tid: u32) -> Self {
        let context = self.header.pid_tgid >> subject::SHIFT << subject::SHIFT;
        self.header.pid_tgid = context | u64::from(pid) << 32 | u64::from(tid);
        self
    }

    /// Number within probe and CPU.
    pub fn seq(mut self, seq: u32) -> Self {
        self.header.seq = seq;
        self
    }

    /// Mark a column as one that faulted.
    pub fn fault(mut self, name: &str) -> Self {
        if let Some(column) = self.layout.column(name) {
            self.header.faults |= 1 << column.bit;
        }
        self
    }

    /// Set an integer, a bool or an enum. A column that this event does not have is left out, so that one snapshot
    /// serves an event whose columns depend on the kernel.
    pub fn set_u64(self, name: &str, value: u64) -> Self {
        self.set(name, |column, field| {
            let size = usize::from(column.ty.wire_size()).min(8);
            field[..size].copy_from_slice(&value.to_ne_bytes()[..size]);
        })
    }

    /// Set a signed integer.
    pub fn set_i64(self, name: &str, value: i64) -> Self {
        self.set_u64(name, value as u64)
    }

    /// Set text, as the bytes that it is; also an enum by the name of its value. Text that is too long is cut and marked.
    pub fn set_text(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let Some(column) = self.layout.column(name) else { return self };
        if let Type::Enum(names) = &column.ty {
            return match names.iter().find(|(_, n)| n.as_bytes() == value) {
                Some((value, _)) => self.set_i64(name, i64::from(*value)),
                None => self,
            };
        }
        let most = match column.ty {
            Type::Str(n) | Type::UserStr(n) | Type::Chars(n) => usize::from(n),
            _ => return self,
        };
        if value.len() > most {
            self.header.cuts |= 1 << column.bit;
        }
        let end = match std::str::from_utf8(value) {
            Ok(text) => text.floor_char_boundary(most),
            Err(_) => most.min(value.len()),
        };
        self.set(name, |_, field| field[..end].copy_from_slice(&value[..end]))
    }

    /// Set an address of type `ip`, `ip4` or `ip6`; one of the wrong family leaves NULL.
    pub fn set_ip(self, name: &str, value: IpAddr) -> Self {
        let Some(column) = self.layout.column(name) else { return self };
        match (&column.ty, value) {
            (Type::Ip4, IpAddr::V4(ip)) => self.set_bytes(name, &ip.octets()),
            (Type::Ip6, IpAddr::V6(ip)) => self.set_bytes(name, &ip.octets()),
            (Type::Ip, ip) => {
                let (octets, family) = match ip {
                    IpAddr::V4(ip) => (ip.octets().to_vec(), 2u16),
                    IpAddr::V6(ip) => (ip.octets().to_vec(), 10),
                };
                let offset = usize::from(IP_FAMILY_OFFSET);
                self.set(name, |_, field| {
                    field[..octets.len()].copy_from_slice(&octets);
                    field[offset..offset + 2].copy_from_slice(&family.to_ne_bytes());
                })
            }
            _ => self,
        }
    }

    /// Set the bytes of the column as they are on the wire; more than it has are left out. One that says that there were
    /// more is marked.
    pub fn set_bytes(mut self, name: &str, value: &[u8]) -> Self {
        if let Some(column) = self.layout.column(name)
            && let (Some(most), [low, high, ..]) = (column.ty.most_bytes(), value)
            && u16::from_ne_bytes([*low, *high]) > most
        {
            self.header.cuts |= 1 << column.bit;
        }
        self.set(name, |_, field| {
            let size = field.len().min(value.len());
            field[..size].copy_from_slice(&value[..size]);
        })
    }

    /// Set a stack.
    pub fn set_stack(self, name: &str, frames: &[u64]) -> Self {
        self.set(name, |_, field| {
            let n = frames.len().min((field.len() - 8) / 8);
            field[..8].copy_from_slice(&(n as i64 * 8).to_ne_bytes());
            for (slot, frame) in field[8..].chunks_exact_mut(8).zip(frames) {
                slot.copy_from_slice(&frame.to_ne_bytes());
            }
        })
    }

    fn set(mut self, name: &str, fill: impl FnOnce(&Column, &mut [u8])) -> Self {
        if let Some(column) = self.layout.column(name) {
            let start = usize::from(column.offset);
            let field = &mut self.bytes[start..start + usize::from(column.ty.wire_size())];
            field.fill(0);
            fill(column, field);
            self.header.nulls &= !(1 << column.bit);
        }
        self
    }

    /// The record.
    pub fn build(self) -> Vec<u8> {
        let Self { layout: _, header, mut bytes } = self;
        bytes[..size_of::<RecordHeader>()].copy_from_slice(header.as_bytes());
        bytes
    }
}
