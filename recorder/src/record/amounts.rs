//! Decides when a trigger on a count (`packets --count saddr: count > 1000`) is set off.
//!
//! That is decided at the end of each interval, when the rows come: those of all processors and probes are added up.

use std::collections::HashMap;
use std::mem::offset_of;

use anyhow::{Context, Result, ensure};
use schemas::column::Type;
use schemas::wire::RecordHeader;

use crate::resolve::ResolvedEvent;

/// `COLUMN > N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    column: String,
    more_than: i128,
}

impl Limit {
    /// Fails if it is not of that form.
    pub fn parse(text: &str) -> Result<Self> {
        let form = || format!("'{}' is not of the form COLUMN > N, such as count > 1000", text.trim());
        let (column, number) = text.split_once('>').with_context(form)?;
        let more_than = number.trim().replace('_', "").parse().ok().with_context(form)?;
        Ok(Self { column: column.trim().to_owned(), more_than })
    }
}

/// What has been counted for each key in the interval whose rows are coming.
#[derive(Debug)]
pub struct Amounts {
    more_than: i128,
    signed: bool,
    /// Where the amount is in a row.
    at: usize,
    /// Where the key ends, and its bits in the bitmap of NULLs.
    key_end: usize,
    key_bits: u32,
    ts_ns: u64,
    by_key: HashMap<Vec<u8>, i128>,
}

impl Amounts {
    /// Fails if the event's rows have no such number, or no probe could count.
    pub fn new(limit: &Limit, event: &ResolvedEvent) -> Result<Self> {
        let Limit { column: name, more_than } = limit;
        let amounts =
            || event.layout.columns.iter().filter(|c| c.name == "count" || c.name.starts_with("sum_"));
        let column = amounts().find(|column| column.name == *name);
        let names = || amounts().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let column = column.with_context(|| format!("{name} is none of {}", names()))?;
        let mut plans = event.sources.iter().flat_map(|source| &source.candidates).map(|it| &it.plan);
        let plan = plans.next().context("it has no probe")?;
        ensure!(plan.aggregates != 0, "the event is not counted");
        Ok(Self {
            more_than: *more_than,
            signed: matches!(column.ty, Type::Signed(_)),
            at: column.offset.into(),
            key_end: plan.key_end.into(),
            key_bits: plan.key_bits,
            ts_ns: 0,
            by_key: HashMap::new(),
        })
    }

    /// Add a row. If its key passes the limit with it, the row with the amount of all.
    pub fn add(&mut self, row: &[u8]) -> Option<Vec<u8>> {
        const SUBJECT: usize = offset_of!(RecordHeader, pid_tgid);
        const NULLS: usize = offset_of!(RecordHeader, nulls);
        let u64_at = |at: usize| row.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let ts_ns = u64_at(offset_of!(RecordHeader, ts_ns))?;
        if ts_ns != self.ts_ns {
            self.by_key.clear();
            self.ts_ns = ts_ns;
        }
        let nulls = u32::from_ne_bytes(row.get(NULLS..NULLS + 4)?.try_into().ok()?) & self.key_bits;
        let mut key = row.get(SUBJECT..SUBJECT + 8)?.to_vec();
        key.extend(nulls.to_ne_bytes());
        key.extend(row.get(size_of::<RecordHeader>()..self.key_end)?);
        let bits = u64_at(self.at)?;
        let amount = if self.signed { i128::from(bits.cast_signed()) } else { i128::from(bits) };
        let total = self.by_key.entry(key).or_default();
        let before = *total;
        *total += amount;
        (before <= self.more_than && *total > self.more_than).then(|| {
            let mut row = row.to_vec();
            row[self.at..self.at + 8].copy_from_slice(&(*total as u64).to_ne_bytes());
            row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_column_and_a_number() {
        let limit = Limit::parse(" sum_len > 1_000_000 ").unwrap();
        assert_eq!(limit, Limit { column: "sum_len".to_owned(), more_than: 1_000_000 });
        for wrong in ["count", "count < 5", "count > many", "> "] {
            assert!(Limit::parse(wrong).unwrap_err().to_string().contains("COLUMN > N"), "{wrong}");
        }
    }

    #[test]
    fn processors_are_added_up_and_each_key_passes_once_an_interval() {
        let mut amounts = Amounts {
            more_than: 10,
            signed: true,
            at: 40,
            key_end: 40,
            key_bits: 1,
            ts_ns: 0,
            by_key: HashMap::new(),
        };
        let row = |ts_ns: u64, key: u64, seq: u32, count: u64| {
            let mut row = vec![0; 48];
            row[..8].copy_from_slice(&ts_ns.to_ne_bytes());
            row[16..20].copy_from_slice(&seq.to_ne_bytes());
            row[32..40].copy_from_slice(&key.to_ne_bytes());
            row[40..].copy_from_slice(&count.to_ne_bytes());
            row
        };
        let mut add = |ts_ns, key, seq, count| amounts.add(&row(ts_ns, key, seq, count)).map(|row| row[40]);
        assert_eq!(
            [add(1, 7, 0, 6), add(1, 8, 1, 6), add(1, 7, 2, 5), add(1, 7, 3, 5)],
            [None, None, Some(11), None]
        );
        assert_eq!(
            [add(2, 7, 4, 10), add(2, 7, 5, 1)],
            [None, Some(11)],
            "another interval begins with nothing"
        );
    }
}
