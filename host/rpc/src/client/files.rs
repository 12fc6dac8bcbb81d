//! Sending files to a host and fetching them: in chunks, resumed where it broke off.

use bytes::{Bytes, BytesMut};
use mintmark_model::Reason;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tonic::transport::Channel;

use super::Failure;
use crate::{
    limits,
    proto::admin::{FetchRequest, StageBeginRequest, StageRequest, files_client::FilesClient},
};

/// Why a file did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The host refused it.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The file could not be read or written at this end.
    #[error("the file could not be read or written")]
    Local(#[source] std::io::Error),
}

/// Tries for one upload or download that breaks off.
const TRIES_MAX: u32 = 5;

/// Sends `bytes` and gives the file's id. `digest` is the SHA-256 that the host compares.
///
/// # Errors
///
/// What the host refused, or the last break after several tries.
pub async fn stage(channel: &Channel, bytes: &Bytes, digest: &[u8; 32]) -> Result<String, Failure> {
    let mut files = FilesClient::new(channel.clone());
    let begun = files.stage_begin(StageBeginRequest {}).await?;
    let file_id = begun.into_inner().file_id;
    let mut offset = 0;
    for tries_left in (0..TRIES_MAX).rev() {
        let requests = chunks(&file_id, bytes, offset, digest);
        match files.stage(tokio_stream::iter(requests)).await.map_err(Failure::from) {
            Ok(_) => break,
            Err(failure) if failure.is_transient() && tries_left > 0 => {
                match staged_length(&mut files, &file_id).await? {
                    Some(length) => offset = length.min(bytes.len()),
                    None => break,
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(file_id)
}

/// How much of a file the host has; none where it is finished, so that only the answer was lost.
async fn staged_length(
    files: &mut FilesClient<Channel>,
    file_id: &str,
) -> Result<Option<usize>, Failure> {
    let question = StageRequest { file_id: file_id.to_owned(), ..StageRequest::default() };
    match files.stage(tokio_stream::once(question)).await.map_err(Failure::from) {
        Ok(answer) => Ok(usize::try_from(answer.into_inner().length).ok()),
        Err(failure) if failure.is(Reason::WrongState) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The requests for what is left of `bytes`; the last one carries the digest.
fn chunks(file_id: &str, bytes: &Bytes, from: usize, digest: &[u8; 32]) -> Vec<StageRequest> {
    let mut requests = Vec::new();
    let mut offset = from;
    loop {
        let end = bytes.len().min(offset + limits::CHUNK_BYTES_MAX);
        let last = end == bytes.len();
        requests.push(StageRequest {
            file_id: file_id.to_owned(),
            offset: offset as u64,
            data: bytes.slice(offset..end),
            digest: last.then(|| digest.to_vec().into()),
        });
        offset = end;
        if last {
            return requests;
        }
    }
}

/// Reads all of `source`, which may not be larger than `bytes_max`, to be sent with [`stage`].
///
/// # Errors
///
/// What reading answers, and a source that is larger.
pub async fn read_all(
    source: impl AsyncRead + Unpin,
    bytes_max: usize,
) -> Result<Bytes, std::io::Error> {
    let mut bytes = BytesMut::new();
    let mut source = source.take(bytes_max as u64 + 1);
    while source.read_buf(&mut bytes).await? > 0 {}
    if bytes.len() > bytes_max {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes.freeze())
}

/// Writes the file into `sink` and gives its length.
///
/// # Errors
///
/// What the host refused, the last break after several tries, or what writing answers.
pub async fn fetch(
    channel: &Channel,
    file_id: &str,
    mut sink: impl AsyncWrite + Unpin,
) -> Result<u64, TransferError> {
    let mut files = FilesClient::new(channel.clone());
    let mut offset = 0;
    let mut remaining = TRIES_MAX;
    loop {
        remaining -= 1;
        match fetch_from(&mut files, file_id, &mut offset, &mut sink).await {
            Ok(()) => break,
            Err(TransferError::Refused(failure)) if failure.is_transient() && remaining > 0 => {}
            Err(error) => return Err(error),
        }
    }
    sink.flush().await.map_err(TransferError::Local)?;
    Ok(offset)
}

/// Moves `offset` forward with every chunk that was written, so that the next try goes on there.
async fn fetch_from(
    files: &mut FilesClient<Channel>,
    file_id: &str,
    offset: &mut u64,
    sink: &mut (impl AsyncWrite + Unpin),
) -> Result<(), TransferError> {
    let request = FetchRequest { file_id: file_id.to_owned(), offset: *offset };
    let mut parts = files.fetch(request).await.map_err(Failure::from)?.into_inner();
    while let Some(part) = parts.message().await.map_err(Failure::from)? {
        sink.write_all(&part.data).await.map_err(TransferError::Local)?;
        *offset += part.data.len() as u64;
    }
    Ok(())
}
