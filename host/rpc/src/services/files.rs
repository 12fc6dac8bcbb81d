//! Staging and fetching files.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, future, stream};
use mintmark_custody::Session;
use mintmark_model::Refusal;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Answer, digest};
use crate::{
    caller::Caller,
    host::Host,
    limits,
    proto::admin::{
        FetchRequest, FetchResponse, StageBeginRequest, StageBeginResponse, StageRequest,
        StageResponse, files_server::Files,
    },
    refusal,
    routing::next,
};

const STAGE_BEGIN: &str = "/mintmark.admin.v1.Files/StageBegin";
const STAGE: &str = "/mintmark.admin.v1.Files/Stage";
const FETCH: &str = "/mintmark.admin.v1.Files/Fetch";

#[async_trait]
impl Files for Host {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<FetchResponse, Status>> + Send>>;

    async fn stage_begin(&self, request: Request<StageBeginRequest>) -> Answer<StageBeginResponse> {
        let session = Caller::session(&request, STAGE_BEGIN)?;
        let file_id = self.custody.stage_begin(session).await.map_err(refusal::status)?;
        Ok(Response::new(StageBeginResponse { file_id }))
    }

    async fn stage(&self, request: Request<Streaming<StageRequest>>) -> Answer<StageResponse> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut upload = Upload { host: self, caller, staged: StageResponse::default() };
        let mut parts = request.into_inner();
        while !upload.staged.finished
            && let Some(part) = next(&mut parts).await?
        {
            upload.take(part).await.map_err(refusal::status)?;
        }
        Ok(Response::new(upload.staged))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Answer<Self::FetchStream> {
        let session = Caller::session(&request, FETCH)?;
        let FetchRequest { file_id, offset } = request.into_inner();
        let mut download = Download { host: self.clone(), session, file_id, offset, total: 0 };
        // The first part is read before the answer begins, so that a refusal comes at once.
        let first = download.part().await?;
        let rest = stream::try_unfold(download, Download::turn);
        Ok(Response::new(stream::once(future::ready(Ok(first))).chain(rest).boxed()))
    }
}

/// A file on its way in.
struct Upload<'a> {
    host: &'a Host,
    caller: Caller,
    staged: StageResponse,
}

impl Upload<'_> {
    async fn take(&mut self, part: StageRequest) -> Result<(), Refusal> {
        if part.data.len() > limits::CHUNK_BYTES_MAX {
            return Err(Refusal::invalid("`data` is larger than 1 MiB."));
        }
        self.name_file(&part).await?;
        let (custody, file) = (&self.host.custody, self.staged.file_id.as_str());
        let session = self.caller.session_of(STAGE, &part.data);
        let append = custody.stage_append(session, file, part.offset, &part.data);
        self.staged.length = append.await?;
        if let Some(expected) = part.digest {
            let expected = digest(&expected, "digest")?;
            let session = self.caller.session_of(STAGE, &expected);
            custody.stage_finish(session, file, &expected).await?;
            self.staged.finished = true;
        }
        Ok(())
    }

    /// A stream fills one file: the one that its first message names, or a new one.
    async fn name_file(&mut self, part: &StageRequest) -> Result<(), Refusal> {
        if self.staged.file_id.is_empty() {
            self.staged.file_id = if part.file_id.is_empty() {
                let session = self.caller.session_of(STAGE_BEGIN, &[]);
                self.host.custody.stage_begin(session).await?
            } else {
                part.file_id.clone()
            };
        } else if !part.file_id.is_empty() && part.file_id != self.staged.file_id {
            return Err(Refusal::invalid("`file_id` changed within the stream."));
        }
        Ok(())
    }
}

/// A file on its way out.
struct Download {
    host: Host,
    session: Session,
    file_id: String,
    offset: u64,
    total: u64,
}

impl Download {
    async fn turn(mut self) -> Result<Option<(FetchResponse, Self)>, Status> {
        if self.offset >= self.total {
            return Ok(None);
        }
        let part = self.part().await?;
        // Without this a file that got shorter would keep the stream alive for ever.
        if part.data.is_empty() {
            return Ok(None);
        }
        Ok(Some((part, self)))
    }

    async fn part(&mut self) -> Result<FetchResponse, Status> {
        let (custody, session) = (&self.host.custody, self.session.clone());
        let part = custody.fetch(session, &self.file_id, self.offset, limits::FETCH_BYTES);
        let part = part.await.map_err(refusal::status)?;
        let offset = self.offset;
        self.total = part.total;
        self.offset += part.bytes.len() as u64;
        Ok(FetchResponse { offset, data: part.bytes.into(), total: part.total })
    }
}
