//! Reading a backup, with bounds, from whatever the file really holds.

use std::io::{ErrorKind, Read};

use mintmark_crypto::aead::AeadKey;
use mintmark_crypto::{Secret, SecretBytes, mac};

use super::{
    BackupHeader, CHUNK_BYTES_MAX, CODE_LEN, FORMAT, HEADER_LABEL, HEADER_LEN, MAGIC, RECORD, ROW,
    STANDING, chunk_context,
};
use crate::{Damage, Error, Key, Position, Version, embedded::codec::Standing};

/// One record or row of a backup.
pub(crate) enum Entry {
    Record { key: Key, version: Version, value: SecretBytes },
    Row { node: String, sequence: u64, encoded: Vec<u8> },
}

/// Reads a backup whose header was found authentic.
pub struct BackupReader<R> {
    input: R,
    header: BackupHeader,
    key: AeadKey,
    standing: Standing,
    chunk: SecretBytes,
    /// How much of the chunk was read.
    at: usize,
    number: u64,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Opens a backup with the secret under which its store was sealed.
    ///
    /// # Errors
    ///
    /// `NewerFormat`, `WrongSecret`, or what is damaged.
    pub fn open(mut input: R, secret: &Secret<32>) -> Result<Self, Error> {
        let header = read_header(&mut input, secret)?;
        let key = header.chunk_key(secret);
        let mut reader = Self {
            input,
            header,
            key,
            standing: Standing::fresh(),
            chunk: SecretBytes::new(Vec::new()),
            at: 0,
            number: 0,
            ended: false,
        };
        reader.read_chunk()?;
        reader.standing = reader.read_standing()?;
        Ok(reader)
    }

    /// What the backup says of itself.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// Where the store stands in the backup.
    pub fn position(&self) -> &Position {
        &self.standing.position
    }

    /// The next record or row; `None` at the end, which is there.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        while self.at == self.chunk.len() {
            if self.ended {
                return self.nothing_follows().map(|()| None);
            }
            self.read_chunk()?;
        }
        let damage = self.damage();
        let entry = match self.take::<1>().ok_or(damage)? {
            [RECORD] => self.take_record(),
            [ROW] => self.take_row(),
            _ => None,
        };
        entry.map(Some).ok_or_else(|| damage.into())
    }

    /// Reads on to the record at `key`; `None` if there is none. For restoring, the backup is
    /// opened anew.
    ///
    /// # Errors
    ///
    /// What is damaged on the way.
    pub fn find(&mut self, key: &Key) -> Result<Option<SecretBytes>, Error> {
        while let Some(entry) = self.next_entry()? {
            match entry {
                Entry::Record { key: found, value, .. } if found == *key => return Ok(Some(value)),
                Entry::Record { .. } => {}
                Entry::Row { .. } => return Ok(None),
            }
        }
        Ok(None)
    }

    fn read_standing(&mut self) -> Result<Standing, Error> {
        let damage = self.damage();
        let standing = match self.take::<1>() {
            Some([STANDING]) => self.take_long().and_then(|bytes| Standing::decode(&bytes)),
            _ => None,
        };
        let standing = standing.ok_or(damage)?;
        match standing.position.commit == self.header.commit {
            true => Ok(standing),
            false => Err(damage.into()),
        }
    }

    fn take_record(&mut self) -> Option<Entry> {
        let [table] = self.take()?;
        let key = Key::new(table, self.take_long()?);
        let version = Version(u64::from_be_bytes(self.take()?));
        Some(Entry::Record { key, version, value: SecretBytes::new(self.take_long()?) })
    }

    fn take_row(&mut self) -> Option<Entry> {
        let [node_len] = self.take()?;
        let node = String::from_utf8(self.take_bytes(usize::from(node_len))?).ok()?;
        let sequence = u64::from_be_bytes(self.take()?);
        Some(Entry::Row { node, sequence, encoded: self.take_long()? })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.chunk.expose().get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*bytes)
    }

    fn take_long(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(self.take()?);
        self.take_bytes(usize::try_from(length).ok()?)
    }

    fn take_bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let end = self.at.checked_add(length)?;
        let bytes = self.chunk.expose().get(self.at..end)?.to_vec();
        self.at = end;
        Some(bytes)
    }

    /// Reads and opens the next chunk.
    fn read_chunk(&mut self) -> Result<(), Error> {
        let mut frame = [0; 5];
        read_exact(&mut self.input, &mut frame)?;
        let [last, length @ ..] = frame;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let number = self.number;
        if last > 1 || length > CHUNK_BYTES_MAX {
            return Err(Damage::BackupChunk { number }.into());
        }
        let mut sealed = vec![0; length];
        read_exact(&mut self.input, &mut sealed)?;
        let opened = self.key.open(&chunk_context(number, last == 1), &sealed);
        self.chunk = opened.map_err(|_| Damage::BackupChunk { number })?;
        (self.at, self.number, self.ended) = (0, number + 1, last == 1);
        Ok(())
    }

    fn nothing_follows(&mut self) -> Result<(), Error> {
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(Damage::BackupEnd.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Error::Unavailable),
            }
        }
    }

    /// What is wrong where the chunk that is being read is not what it must be.
    fn damage(&self) -> Damage {
        Damage::BackupChunk { number: self.number.saturating_sub(1) }
    }
}

/// The format comes first, since a newer one may have anything after it.
fn read_header(input: &mut impl Read, secret: &Secret<32>) -> Result<BackupHeader, Error> {
    let mut bytes = [0; HEADER_LEN + CODE_LEN];
    let (start, rest) = bytes.split_at_mut(12);
    read_exact(input, start)?;
    let found = start.strip_prefix(MAGIC).ok_or(Damage::Header)?;
    let found = u32::from_be_bytes(found.try_into().map_err(|_| Damage::Header)?);
    if found > FORMAT {
        return Err(Error::NewerFormat { found, known: FORMAT });
    }
    if found != FORMAT {
        return Err(Damage::Header.into());
    }
    read_exact(input, rest)?;
    let field = |at: usize| bytes[at..at + 16].try_into().expect("sixteen bytes are sixteen");
    let commit = bytes[44..HEADER_LEN].try_into().expect("eight bytes are eight");
    let header = BackupHeader {
        store_id: field(12),
        backup_id: field(28),
        commit: u64::from_be_bytes(commit),
    };
    let key = header.key(secret, HEADER_LABEL);
    mac::verify_sha256(key.expose(), &bytes[..HEADER_LEN], &bytes[HEADER_LEN..])
        .map_err(|_| Error::WrongSecret)?;
    Ok(header)
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), Error> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Damage::BackupEnd.into(),
        _ => Error::Unavailable,
    })
}
