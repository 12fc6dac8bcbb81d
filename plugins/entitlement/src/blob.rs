//! Values that are larger than one record: pieces under one name.

use mintmark_sdk::Error;
use mintmark_sdk::records::{self, Entry};

/// Bytes of a piece; a record holds at most 256 KiB.
pub(crate) const PIECE_BYTES: usize = 128 << 10;

/// A value in pieces. Pieces are numbered from 0; the first one that is not there ends the value.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// The name, ended by a zero byte, so that no name begins with another.
    prefix: Vec<u8>,
}

impl Blob {
    /// The value of this kind and name; neither has a zero byte.
    pub(crate) fn new(kind: &str, name: &str) -> Self {
        Self { prefix: [kind.as_bytes(), &[0], name.as_bytes(), &[0]].concat() }
    }

    /// Writes the whole value; pieces of a longer one before it are removed.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let pieces = bytes.chunks(PIECE_BYTES).count();
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            self.write_piece(number as u64, piece)?;
        }
        self.remove_from(pieces as u64)
    }

    /// Writes one piece.
    pub(crate) fn write_piece(&self, number: u64, piece: &[u8]) -> Result<(), Error> {
        records::put_many(&[Entry::new(self.key(number), piece)])
    }

    /// The whole value; `None` where there is none. An empty value is the same as none.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        let mut number = 0;
        while let Some(piece) = self.piece(number)? {
            bytes.extend_from_slice(&piece);
            number += 1;
        }
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// One piece.
    pub(crate) fn piece(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        records::get(self.key(number))
    }

    /// Removes the value.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        self.remove_from(0)
    }

    fn remove_from(&self, mut number: u64) -> Result<(), Error> {
        while self.piece(number)?.is_some() {
            records::delete(self.key(number))?;
            number += 1;
        }
        Ok(())
    }

    fn key(&self, number: u64) -> Vec<u8> {
        [self.prefix.as_slice(), &number.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::installed;

    #[test]
    fn a_value_comes_back_whole_and_a_shorter_one_leaves_nothing_behind() {
        let _records = installed();
        let blob = Blob::new("state", "a");
        assert_eq!(blob.read(), Ok(None));
        let long: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        blob.write(&long).unwrap();
        assert_eq!(blob.read(), Ok(Some(long)));
        blob.write(b"short").unwrap();
        assert_eq!(blob.read(), Ok(Some(b"short".to_vec())));
        assert_eq!(blob.piece(1), Ok(None));
        blob.remove().unwrap();
        assert_eq!(blob.read(), Ok(None));
    }

    #[test]
    fn names_that_begin_alike_are_apart() {
        let _records = installed();
        Blob::new("state", "a").write(b"1").unwrap();
        assert_eq!(Blob::new("state", "ab").read(), Ok(None));
        assert_eq!(Blob::new("stat", "ea").read(), Ok(None));
    }
}
