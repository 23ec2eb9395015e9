//! Bytes of a frame in, its parts out; nothing is read behind its end.

use serde::de::DeserializeOwned;

use super::{FrameError, MAX_TIME_NS, limit};

/// What is left of a frame.
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been taken.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Take all that is left.
    pub fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Take `length` bytes, which are called `what`.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FrameError::Short(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FrameError::Short(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, FrameError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, FrameError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A time that can be.
    pub fn time(&mut self, what: &'static str) -> Result<u64, FrameError> {
        let ns = self.u64(what)?;
        limit(what, ns, MAX_TIME_NS).map(|()| ns)
    }

    /// A difference of times that can be.
    pub fn offset(&mut self, what: &'static str) -> Result<i64, FrameError> {
        let ns = self.i64(what)?;
        limit(what, ns.unsigned_abs(), MAX_TIME_NS / 2).map(|()| ns)
    }

    /// All that is left, as JSON.
    pub fn json<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<T, FrameError> {
        serde_json::from_slice(self.all()).map_err(|error| FrameError::Json(what, error))
    }
}
