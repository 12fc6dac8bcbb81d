//! Backups: a running store as one sealed file, and the ledger in the clear for whoever audits it.

use std::collections::VecDeque;
use std::sync::Arc;

use mintmark_crypto::digest::Sha256;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_store::{BackupWriter, Snapshot};

use crate::chains::Ledger;
use crate::custody::Custody;
use crate::types::{Digest, Session};
use crate::view::unavailable;

/// A backup on its way out, piece by piece.
///
/// The last piece is held back until the ledger says that the backup was made: without it a backup
/// is none, and opens nowhere.
pub struct Backup {
    custody: Custody,
    session: Session,
    writer: BackupWriter,
    /// Made, and not given yet: the last piece is only known when no other follows.
    held: Option<Vec<u8>>,
    digest: Sha256,
    finished: Option<Digest>,
}

/// Every row of every ledger of a store as it was at one moment. Reading writes nothing, so a host
/// that is read-only gives its rows too.
pub struct LedgerReader {
    snapshot: Arc<dyn Snapshot>,
    ledgers: VecDeque<Ledger>,
    /// The last row that was read of the first ledger.
    after: u64,
}

/// Rows of one ledger, in order.
pub struct LedgerRows {
    /// The node.
    pub node: String,
    /// Which ledger of the node.
    pub incarnation: u64,
    /// The encoded rows.
    pub rows: Vec<Vec<u8>>,
}

/// How many bytes of rows are read at once.
const PAGE_BYTES: usize = 256 << 10;

impl Custody {
    /// Begins to read the ledgers.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn read_ledger(&self) -> Result<LedgerReader, Refusal> {
        let snapshot = self.host.store.snapshot().await.map_err(unavailable)?;
        let ledgers = self.host.identity.ledgers(&snapshot.position().heads);
        Ok(LedgerReader { snapshot, ledgers: ledgers.into(), after: 0 })
    }

    /// Begins a backup of the store as it is now. It goes on working meanwhile.
    ///
    /// # Errors
    ///
    /// `ROLLBACK_SUSPECTED`, `LEDGER_UNAVAILABLE`, `STORAGE_FULL` where the backup could not be
    /// put on record.
    pub async fn backup(&self, session: Session) -> Result<Backup, Refusal> {
        if self.is_read_only() {
            return Err(self.host.cannot_write());
        }
        self.host.check_storage_for_backup()?;
        let snapshot: Arc<dyn Snapshot> = self.host.store.snapshot().await.map_err(unavailable)?;
        let sealing = self.host.platform.sealing_secret().map_err(|error| {
            tracing::error!(%error, "the platform gave no secret");
            Refusal::new(Reason::Unavailable, "The platform cannot unseal its secret.")
        })?;
        Ok(Backup {
            custody: self.clone(),
            session,
            writer: BackupWriter::new(snapshot, &self.host.store_id, &sealing),
            held: None,
            digest: Sha256::new(),
            finished: None,
        })
    }
}

impl LedgerReader {
    /// The next rows, all of one ledger; `None` after the last ones.
    ///
    /// # Errors
    ///
    /// Where the store fails, or a row is not the one that was committed.
    pub async fn next_page(&mut self) -> Result<Option<LedgerRows>, Refusal> {
        while let Some(Ledger { node, incarnation, head }) = self.ledgers.front() {
            let rows = self.snapshot.rows(&head.node, self.after, PAGE_BYTES).await;
            let rows = rows.map_err(unavailable)?;
            if let Some(last) = rows.last() {
                self.after = last.sequence;
                let (node, incarnation) = (node.clone(), *incarnation);
                let rows = rows.into_iter().map(|row| row.encoded).collect();
                return Ok(Some(LedgerRows { node, incarnation, rows }));
            }
            self.ledgers.pop_front();
            self.after = 0;
        }
        Ok(None)
    }
}

impl Backup {
    /// The number of the last transaction in the backup.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.writer.header().commit
    }

    /// The digest of the whole file, once its last piece was given.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.finished
    }

    /// The next piece of the file; `None` after the last one.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read, or the backup cannot be put on record: then what was given
    /// is no backup.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        loop {
            let piece = self.writer.next_piece().await.map_err(unavailable)?;
            let before = self.held.take();
            match (before, piece) {
                (None, None) => return Ok(None),
                (Some(last), None) => {
                    self.put_on_record().await?;
                    return Ok(Some(last));
                }
                (before, Some(piece)) => {
                    self.digest.update(&piece);
                    self.held = Some(piece);
                    if before.is_some() {
                        return Ok(before);
                    }
                }
            }
        }
    }

    async fn put_on_record(&mut self) -> Result<(), Refusal> {
        let digest = self.digest.clone().finish();
        let mut call = self.custody.begin(self.session.clone(), None).await?;
        call.record(Event::BackupMade { commit: self.commit(), digest });
        self.custody.finish(call).await?;
        self.finished = Some(digest);
        Ok(())
    }
}
