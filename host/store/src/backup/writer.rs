//! Writing a backup from a snapshot, piece by piece, while the store goes on.

use std::{collections::VecDeque, sync::Arc};

use mintmark_crypto::aead::AeadKey;
use mintmark_crypto::{Secret, SecretBytes, random};

use super::{BackupHeader, CHUNK_BYTES, RECORD, ROW, STANDING, chunk_context};
use crate::{
    Damage, Error, Found, Key, Position, Range, Snapshot, Version, embedded::codec::Standing,
};

/// How many records are read at once, so at most so many of the longest values are in memory.
const PAGE_RECORDS: usize = 16;

/// Makes a backup of a snapshot, one piece of the file at a time.
pub struct BackupWriter {
    snapshot: Arc<dyn Snapshot>,
    header: BackupHeader,
    key: AeadKey,
    /// The file's first piece, until it is given.
    first: Option<Vec<u8>>,
    /// What comes next.
    next: Next,
    /// Read, and in no chunk yet.
    records: VecDeque<(Key, Found)>,
    chunk: Chunk,
    number: u64,
}

enum Next {
    Records { table: u8, after: Option<Vec<u8>> },
    Rows { head: usize, after: u64 },
    Done,
}

/// Entries that are not sealed yet.
struct Chunk(Vec<u8>);

impl BackupWriter {
    /// Begins a backup of the store `store_id`, sealed under `secret`, as `snapshot` sees it.
    pub fn new(snapshot: Arc<dyn Snapshot>, store_id: &[u8; 16], secret: &Secret<32>) -> Self {
        let header = BackupHeader {
            store_id: *store_id,
            backup_id: random::array(),
            commit: snapshot.position().commit,
        };
        let standing =
            Standing { position: snapshot.position().clone(), previous: *snapshot.previous() };
        let mut chunk = Chunk::new();
        chunk.push_standing(&standing.encode());
        Self {
            key: header.chunk_key(secret),
            first: Some(header.encode(secret)),
            header,
            next: Next::Records { table: 0, after: None },
            records: VecDeque::new(),
            chunk,
            number: 0,
            snapshot,
        }
    }

    /// What the backup says of itself.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// Where the store stands in the backup.
    pub fn position(&self) -> &Position {
        self.snapshot.position()
    }

    /// The next piece of the file; `None` after the last one.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read, or is damaged: then there is no backup.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if self.chunk.0.len() >= CHUNK_BYTES {
                return Ok(Some(self.seal(false)));
            }
            if let Some((key, found)) = self.records.pop_front() {
                let value = found.value.ok_or(Damage::File)?;
                self.chunk.push_record(&key, found.version, &value);
                continue;
            }
            match self.next {
                Next::Done if self.chunk.0.is_empty() => return Ok(None),
                Next::Done => return Ok(Some(self.seal(true))),
                Next::Records { .. } => self.read_records().await?,
                Next::Rows { .. } => self.read_rows().await?,
            }
        }
    }

    async fn read_records(&mut self) -> Result<(), Error> {
        let Next::Records { table, after } = &mut self.next else { return Ok(()) };
        let range = Range::all(*table, Vec::new()).limit(PAGE_RECORDS);
        let range = match after.take() {
            Some(after) => range.after(after),
            None => range,
        };
        let found = self.snapshot.scan(&range).await?;
        let last = found.last().filter(|_| found.len() == PAGE_RECORDS);
        self.next = match (last, table.checked_add(1)) {
            (Some((last, _)), _) => Next::Records { table: *table, after: Some(last.key.clone()) },
            (None, Some(table)) => Next::Records { table, after: None },
            (None, None) => Next::Rows { head: 0, after: 0 },
        };
        self.records.extend(found);
        Ok(())
    }

    async fn read_rows(&mut self) -> Result<(), Error> {
        let Next::Rows { head, after } = self.next else { return Ok(()) };
        let Some(chain) = self.snapshot.position().heads.get(head).cloned() else {
            self.next = Next::Done;
            return Ok(());
        };
        let rows = self.snapshot.rows(&chain.node, after, CHUNK_BYTES).await?;
        for row in &rows {
            self.chunk.push_row(&chain.node, row.sequence, &row.encoded);
        }
        self.next = match rows.last() {
            Some(row) if row.sequence < chain.sequence => Next::Rows { head, after: row.sequence },
            _ => Next::Rows { head: head + 1, after: 0 },
        };
        Ok(())
    }

    fn seal(&mut self, last: bool) -> Vec<u8> {
        let entries = std::mem::replace(&mut self.chunk, Chunk::new());
        let entries = SecretBytes::new(entries.0);
        let sealed = self.key.seal(&chunk_context(self.number, last), entries.expose());
        self.number += 1;
        let length = u32::try_from(sealed.len()).expect("a chunk is far below 4 GiB");
        let mut piece = Vec::with_capacity(5 + sealed.len());
        piece.push(u8::from(last));
        piece.extend_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(&sealed);
        piece
    }
}

impl Chunk {
    fn new() -> Self {
        Self(Vec::with_capacity(2 * CHUNK_BYTES))
    }

    /// Makes room; what was held before is wiped, as a buffer that grows by itself is not.
    fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() >= more {
            return;
        }
        let mut larger = Vec::with_capacity(self.0.len() + more);
        larger.extend_from_slice(&self.0);
        drop(SecretBytes::new(std::mem::replace(&mut self.0, larger)));
    }

    fn push_standing(&mut self, standing: &[u8]) {
        self.0.push(STANDING);
        self.push_long(standing);
    }

    fn push_record(&mut self, key: &Key, version: Version, value: &SecretBytes) {
        self.reserve(18 + key.key.len() + value.len());
        self.0.extend_from_slice(&[RECORD, key.table]);
        self.push_long(&key.key);
        self.0.extend_from_slice(&version.0.to_be_bytes());
        self.push_long(value.expose());
    }

    fn push_row(&mut self, node: &str, sequence: u64, encoded: &[u8]) {
        let node_len = u8::try_from(node.len()).expect("a node's name is at most 255 bytes");
        self.reserve(14 + node.len() + encoded.len());
        self.0.extend_from_slice(&[ROW, node_len]);
        self.0.extend_from_slice(node.as_bytes());
        self.0.extend_from_slice(&sequence.to_be_bytes());
        self.push_long(encoded);
    }

    fn push_long(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("no part of an entry has 4 GiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}
