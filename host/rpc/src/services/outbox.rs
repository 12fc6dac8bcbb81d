//! What headquarters sent to its sites.

use mintmark_custody::status::OutboxEntry;
use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        self, ListOutboxRequest, ListOutboxResponse, OpenStreamRequest, OpenStreamResponse,
        outbox_server::Outbox,
    },
    refusal,
};

const LIST: &str = "/mintmark.admin.v1.Outbox/ListOutbox";
const OPEN: &str = "/mintmark.admin.v1.Outbox/OpenStream";

#[async_trait]
impl Outbox for Host {
    async fn list_outbox(&self, request: Request<ListOutboxRequest>) -> Answer<ListOutboxResponse> {
        let session = Caller::session(&request, LIST)?;
        let site = request.into_inner().site;
        let site = Some(site.as_str()).filter(|site| !site.is_empty());
        let entries = self.custody.outbox(session, site).await.map_err(refusal::status)?;
        let entries = entries.into_iter().map(entry).collect();
        Ok(Response::new(ListOutboxResponse { entries }))
    }

    async fn open_stream(&self, request: Request<OpenStreamRequest>) -> Answer<OpenStreamResponse> {
        let session = Caller::session(&request, OPEN)?;
        let OpenStreamRequest { site, epoch } = request.into_inner();
        let epoch = Some(epoch).filter(|epoch| *epoch > 0);
        let opened = self.custody.open_stream(session, &site, epoch).await;
        let epoch = opened.map_err(refusal::status)?;
        Ok(Response::new(OpenStreamResponse { epoch }))
    }
}

fn entry(entry: OutboxEntry) -> admin::OutboxEntry {
    admin::OutboxEntry {
        site: entry.site,
        sequence: entry.sequence,
        purpose: entry.purpose,
        file_id: entry.file,
        digest: entry.digest.to_vec(),
        made_at_ms: entry.made_at,
        epoch: entry.epoch,
    }
}
