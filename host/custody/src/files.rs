//! Staged files: what crosses the gap, on its way in or out. Content is kept in parts; plugins name
//! files by id.

use mintmark_crypto::digest::{Sha256, sha256};
use mintmark_crypto::{SecretBytes, random};
use mintmark_model::{Reason, Refusal};

use crate::call::Call;
use crate::custody::Custody;
use crate::disk::host::FileRecord;
use crate::tables;
use crate::types::{Digest, Session};
use crate::view::View;

/// The longest staged file, in bytes: the longest message and a little.
pub const FILE_BYTES_MAX: u64 = 72 << 20;
/// The length of a part, in bytes; only the last one is shorter.
const PART_BYTES: usize = 256 << 10;
/// The most bytes that one append takes.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Part of a file.
pub struct FilePart {
    /// The bytes, at most as many as were asked for.
    pub bytes: Vec<u8>,
    /// Length of the whole file.
    pub total: u64,
}

impl Custody {
    /// Begins to stage a file; gives its id.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn stage_begin(&self, session: Session) -> Result<String, Refusal> {
        let mut call = self.begin(session, None).await?;
        let id = hex::encode(random::array::<16>());
        let record = FileRecord {
            length: 0,
            parts: 0,
            digest: None,
            owner: call.principal().to_string(),
            staged_at: call.now_ms(),
        };
        call.view.write(place(&id), record);
        self.finish(call).await?;
        Ok(id)
    }

    /// Appends at `offset`, which is the file's length so far; gives the new length. Repeating an
    /// append that was lost on the way is answered with the present length.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `WRONG_STATE` for a file that is complete; `INVALID_ARGUMENT` outside the
    /// bounds or past a gap.
    pub async fn stage_append(
        &self,
        session: Session,
        file: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, Refusal> {
        let mut call = self.begin(session, None).await?;
        let mut record = call.open_file(file).await?;
        if record.digest.is_some() {
            return Err(Refusal::new(Reason::WrongState, "The file is complete."));
        }
        if offset > record.length || bytes.len() > APPEND_BYTES_MAX {
            return Err(Refusal::invalid("Append at most 1 MiB, at the end of what is there."));
        }
        let length = offset + bytes.len() as u64;
        if length <= record.length {
            return Ok(record.length);
        }
        if length > FILE_BYTES_MAX {
            return Err(Refusal::invalid("A file is at most 72 MiB."));
        }
        let known = usize::try_from(record.length - offset).unwrap_or(usize::MAX);
        call.append(file, &mut record, &bytes[known..]).await?;
        call.view.write(place(file), record);
        self.finish(call).await?;
        Ok(length)
    }

    /// Says that a file is complete; its content must have this digest.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for another digest.
    pub async fn stage_finish(
        &self,
        session: Session,
        file: &str,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let mut call = self.begin(session, None).await?;
        let mut record = call.open_file(file).await?;
        let mut hash = Sha256::new();
        for part in 0..record.parts {
            hash.update(read_part(&call.view, file, part).await?.expose());
        }
        if hash.finish() != *digest {
            let detail = "The file that arrived is not the one that was sent; stage it again.";
            return Err(Refusal::invalid(detail));
        }
        record.digest = Some(*digest);
        call.view.write(place(file), record);
        self.finish(call).await
    }

    /// Bytes of a complete file from `offset`.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn fetch(
        &self,
        session: Session,
        file: &str,
        offset: u64,
        limit: usize,
    ) -> Result<FilePart, Refusal> {
        let call = self.begin(session, None).await?;
        // A file is a release: what can be read of it must be anchored.
        if self.host.committer.settled().await.is_err() {
            return Err(self.host.cannot_write());
        }
        let record: Option<FileRecord> = call.view.peek(&place(file)).await?;
        let record = record.filter(|record| record.digest.is_some());
        let record = record.ok_or_else(|| Refusal::not_found("file"))?;
        let bytes = read_range(&call.view, file, &record, offset, limit).await?;
        let wanted = record.length.saturating_sub(offset).min(limit as u64);
        if (bytes.len() as u64) < wanted {
            let detail = "A part of the file is missing; run `mintmark verify`.";
            return Err(Refusal::new(Reason::Unavailable, detail));
        }
        Ok(FilePart { bytes, total: record.length })
    }
}

impl Call {
    /// Stages a whole file in this call; gives its id.
    pub(crate) async fn stage(&mut self, content: &[u8]) -> Result<String, Refusal> {
        let id = hex::encode(random::array::<16>());
        let mut record = FileRecord {
            length: 0,
            parts: 0,
            digest: None,
            owner: self.session.principal.to_string(),
            staged_at: self.now_ms(),
        };
        self.append(&id, &mut record, content).await?;
        record.digest = Some(sha256(content));
        self.view.write(place(&id), record);
        Ok(id)
    }

    /// The whole content of a complete file, if it is no longer than `bytes_max`: nothing of a
    /// longer one is read.
    pub(crate) async fn staged(&self, file: &str, bytes_max: u64) -> Result<Vec<u8>, Refusal> {
        let record = self.staged_record(file).await?;
        if record.length > bytes_max {
            return Err(Refusal::invalid("The file is longer than what it should be."));
        }
        let length = usize::try_from(record.length).unwrap_or(usize::MAX);
        self.staged_range(file, &record, 0, length).await
    }

    /// The record of a complete file. Complete files never change.
    pub(crate) async fn staged_record(&self, file: &str) -> Result<FileRecord, Refusal> {
        let record: Option<FileRecord> = self.view.peek(&place(file)).await?;
        let record = record.filter(|record| record.digest.is_some());
        record.ok_or_else(|| Refusal::not_found("file"))
    }

    /// Bytes of a complete file.
    pub(crate) async fn staged_range(
        &self,
        file: &str,
        record: &FileRecord,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, Refusal> {
        read_range(&self.view, file, record, offset, limit).await
    }

    /// Drops a staged file; nobody needs it any more.
    pub(crate) async fn unstage(&mut self, file: &str) -> Result<(), Refusal> {
        let record: Option<FileRecord> = self.view.peek(&place(file)).await?;
        let Some(record) = record else { return Ok(()) };
        for part in 0..record.parts {
            self.view.delete(tables::part(tables::FILE_PARTS, file, part));
        }
        self.view.delete(place(file));
        Ok(())
    }

    async fn open_file(&mut self, file: &str) -> Result<FileRecord, Refusal> {
        let owner = self.session.principal.to_string();
        let record: Option<FileRecord> = self.read(&place(file)).await?;
        let record = record.filter(|record| record.owner == owner);
        record.ok_or_else(|| Refusal::not_found("file"))
    }

    async fn append(
        &mut self,
        file: &str,
        record: &mut FileRecord,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let filled = usize::try_from(record.length).unwrap_or(usize::MAX) % PART_BYTES;
        let mut last = Vec::new();
        if filled > 0 {
            record.parts -= 1;
            last.extend_from_slice(read_part(&self.view, file, record.parts).await?.expose());
        }
        last.extend_from_slice(bytes);
        for part in last.chunks(PART_BYTES) {
            let place = tables::part(tables::FILE_PARTS, file, record.parts);
            self.view.put(place, SecretBytes::new(part.to_vec()));
            record.parts += 1;
        }
        record.length += bytes.len() as u64;
        Ok(())
    }
}

fn place(file: &str) -> mintmark_store::Key {
    mintmark_store::Key::new(tables::FILES, file.as_bytes())
}

async fn read_part(view: &View, file: &str, part: u32) -> Result<SecretBytes, Refusal> {
    let place = tables::part(tables::FILE_PARTS, file, part);
    view.peek_versioned(&place).await?.0.ok_or_else(|| Refusal::not_found("file"))
}

async fn read_range(
    view: &View,
    file: &str,
    record: &FileRecord,
    offset: u64,
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    let end = record.length.min(offset.saturating_add(limit as u64));
    let mut bytes = Vec::new();
    let mut at = offset;
    while at < end {
        let index = u32::try_from(at / PART_BYTES as u64).unwrap_or(u32::MAX);
        let part = read_part(view, file, index).await?;
        let from = usize::try_from(at % PART_BYTES as u64).unwrap_or(usize::MAX);
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let taken = part.expose().get(from..).unwrap_or_default();
        let taken = &taken[..taken.len().min(wanted)];
        // A store that lost bytes gives fewer; who asked sees that they are missing.
        if taken.is_empty() {
            break;
        }
        bytes.extend_from_slice(taken);
        at += taken.len() as u64;
    }
    Ok(bytes)
}
