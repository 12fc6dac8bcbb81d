//! Reading a message's body from one end to the other.

use std::io;

use crate::{
    error::Error,
    messages::{Opened, RANGE_BYTES_MAX},
};

/// Bytes that one read of [`io::Read`] asks the host for.
const RANGE_BYTES: u32 = 256 << 10;

/// The decrypted body of a message, read in order. It holds one range at a time, so a body of 64
/// MiB needs little memory.
///
/// Through [`io::Read`] it fits every decoder; [`Body::next_range`] gives the ranges as they come.
#[derive(Debug)]
pub struct Body<'a> {
    message: &'a Opened,
    /// Where the next range begins in the body.
    next: u64,
    range: Vec<u8>,
    /// What of `range` has been read.
    read: usize,
}

impl<'a> Body<'a> {
    pub(super) fn new(message: &'a Opened, offset: u64) -> Self {
        Self { message, next: offset, range: Vec::new(), read: 0 }
    }

    /// How far reading has come: where [`Opened::body_from`] goes on.
    pub fn position(&self) -> u64 {
        self.next - self.left().len() as u64
    }

    /// What comes next, up to 1 MiB; `None` at the end.
    ///
    /// # Errors
    /// As [`Opened::read`].
    pub fn next_range(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if !self.left().is_empty() {
            let left = self.range.split_off(self.read);
            self.range.clear();
            self.read = 0;
            return Ok(Some(left));
        }
        let range = self.fetch(RANGE_BYTES_MAX as u32)?;
        Ok(Some(range).filter(|range| !range.is_empty()))
    }

    fn left(&self) -> &[u8] {
        &self.range[self.read..]
    }

    fn fetch(&mut self, limit: u32) -> Result<Vec<u8>, Error> {
        if self.next >= self.message.length() {
            return Ok(Vec::new());
        }
        let range = self.message.read(self.next, limit)?;
        if range.is_empty() || range.len() > limit as usize {
            return Err(Error::Malformed("a range of the message's body"));
        }
        self.next += range.len() as u64;
        Ok(range)
    }
}

impl io::Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left().is_empty() {
            self.range = self.fetch(RANGE_BYTES)?;
            self.read = 0;
        }
        let count = buffer.len().min(self.left().len());
        buffer[..count].copy_from_slice(&self.left()[..count]);
        self.read += count;
        Ok(count)
    }
}
