//! The store and the ledger as streams.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use mintmark_custody::{Backup, LedgerReader};
use tonic::{Request, Response, Status, async_trait};

use super::Answer;
use crate::{
    caller::Caller,
    host::Host,
    limits,
    proto::admin::{
        BackupRequest, BackupResponse, ReadLedgerRequest, ReadLedgerResponse,
        backups_server::Backups,
    },
    refusal,
};

const BACKUP: &str = "/mintmark.admin.v1.Backups/Backup";

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl Backups for Host {
    type BackupStream = Messages<BackupResponse>;
    type ReadLedgerStream = Messages<ReadLedgerResponse>;

    async fn backup(&self, request: Request<BackupRequest>) -> Answer<Self::BackupStream> {
        let session = Caller::session(&request, BACKUP)?;
        let backup = self.custody.backup(session).await.map_err(refusal::status)?;
        let pieces = stream::try_unfold(backup, next_piece);
        Ok(Response::new(pieces.flat_map(messages).boxed()))
    }

    async fn read_ledger(&self, _: Request<ReadLedgerRequest>) -> Answer<Self::ReadLedgerStream> {
        let reader = self.custody.read_ledger().await.map_err(refusal::status)?;
        Ok(Response::new(stream::try_unfold(reader, next_rows).boxed()))
    }
}

async fn next_piece(mut backup: Backup) -> Result<Option<((u64, Bytes), Backup)>, Status> {
    let piece = backup.next_piece().await.map_err(refusal::status)?;
    Ok(piece.map(|piece| ((backup.commit(), Bytes::from(piece)), backup)))
}

/// A piece of the file in messages that a client takes.
fn messages(
    piece: Result<(u64, Bytes), Status>,
) -> impl Stream<Item = Result<BackupResponse, Status>> {
    let cut = |(commit, piece): (u64, Bytes)| {
        (0..piece.len()).step_by(limits::FETCH_BYTES).map(move |at| {
            let data = piece.slice(at..piece.len().min(at + limits::FETCH_BYTES));
            Ok(BackupResponse { data, commit })
        })
    };
    match piece {
        Ok(piece) => stream::iter(cut(piece)).left_stream(),
        Err(status) => stream::iter([Err(status)]).right_stream(),
    }
}

async fn next_rows(
    mut reader: LedgerReader,
) -> Result<Option<(ReadLedgerResponse, LedgerReader)>, Status> {
    let Some(page) = reader.next_page().await.map_err(refusal::status)? else { return Ok(None) };
    let (node, incarnation, rows) = (page.node, page.incarnation, page.rows);
    Ok(Some((ReadLedgerResponse { node, incarnation, rows }, reader)))
}
