//! Keys that somebody gave. No plugin has a part in it.

use mintmark_custody::SecretBytes;
use mintmark_custody::pools::{PoolLoad, PoolProgress, PoolStatus};
use tonic::{Request, Response, async_trait};

use super::{Answer, digest};
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        self, BeginKeysRequest, BeginKeysResponse, BeginLoadRequest, DestroyPoolRequest,
        DestroyPoolResponse, FindKeyFileRequest, FindKeyFileResponse, ImportKeysRequest,
        ListPoolsRequest, ListPoolsResponse, LoadChunkRequest, pools_server::Pools,
    },
    refusal,
};

const BEGIN_LOAD: &str = "/mintmark.admin.v1.Pools/BeginLoad";
const LOAD_CHUNK: &str = "/mintmark.admin.v1.Pools/LoadChunk";
const LIST: &str = "/mintmark.admin.v1.Pools/ListPools";
const DESTROY: &str = "/mintmark.admin.v1.Pools/DestroyPool";
const FIND_KEY_FILE: &str = "/mintmark.admin.v1.Pools/FindKeyFile";
const BEGIN_KEYS: &str = "/mintmark.admin.v1.Pools/BeginKeys";
const IMPORT_KEYS: &str = "/mintmark.admin.v1.Pools/ImportKeys";

/// The plugin that grants where a load names none.
const PLUGIN: &str = "entitlement";

#[async_trait]
impl Pools for Host {
    async fn begin_load(&self, request: Request<BeginLoadRequest>) -> Answer<admin::PoolProgress> {
        let session = Caller::session(&request, BEGIN_LOAD)?;
        let asked = request.into_inner();
        let plugin = if asked.plugin.is_empty() { PLUGIN.to_owned() } else { asked.plugin };
        let load = PoolLoad {
            name: asked.name,
            plugin,
            algorithm: asked.algorithm,
            keys: asked.keys,
            digest: digest(&asked.digest, "digest").map_err(refusal::status)?,
        };
        let begun = self.custody.begin_load(session, &load).await.map_err(refusal::status)?;
        Ok(Response::new(progress(begun)))
    }

    async fn load_chunk(&self, request: Request<LoadChunkRequest>) -> Answer<admin::PoolProgress> {
        let session = Caller::session(&request, LOAD_CHUNK)?;
        let LoadChunkRequest { name, chunk, keys } = request.into_inner();
        let keys: Vec<_> = keys.into_iter().map(SecretBytes::new).collect();
        let loaded = self.custody.load_chunk(session, &name, chunk, &keys).await;
        Ok(Response::new(progress(loaded.map_err(refusal::status)?)))
    }

    async fn list_pools(&self, request: Request<ListPoolsRequest>) -> Answer<ListPoolsResponse> {
        let session = Caller::session(&request, LIST)?;
        let pools = self.custody.pools(session).await.map_err(refusal::status)?;
        let pools = pools.into_iter().map(pool).collect();
        Ok(Response::new(ListPoolsResponse { pools }))
    }

    async fn destroy_pool(
        &self,
        request: Request<DestroyPoolRequest>,
    ) -> Answer<DestroyPoolResponse> {
        let session = Caller::session(&request, DESTROY)?;
        let name = request.into_inner().name;
        let keys = self.custody.destroy_pool(session, &name).await.map_err(refusal::status)?;
        Ok(Response::new(DestroyPoolResponse { keys }))
    }

    async fn find_key_file(
        &self,
        request: Request<FindKeyFileRequest>,
    ) -> Answer<FindKeyFileResponse> {
        let session = Caller::session(&request, FIND_KEY_FILE)?;
        let entitlement = request.into_inner().entitlement;
        let file = self.custody.key_file(session, &entitlement).await;
        Ok(Response::new(FindKeyFileResponse { file_id: file.map_err(refusal::status)? }))
    }

    async fn begin_keys(&self, request: Request<BeginKeysRequest>) -> Answer<BeginKeysResponse> {
        let session = Caller::session(&request, BEGIN_KEYS)?;
        let head = request.into_inner().head;
        let begun = self.custody.begin_keys(session, &head).await;
        let (entitlement, reached) = begun.map_err(refusal::status)?;
        Ok(Response::new(BeginKeysResponse { entitlement, progress: Some(progress(reached)) }))
    }

    async fn import_keys(
        &self,
        request: Request<ImportKeysRequest>,
    ) -> Answer<admin::PoolProgress> {
        let session = Caller::session(&request, IMPORT_KEYS)?;
        let ImportKeysRequest { entitlement, chunk, data } = request.into_inner();
        let imported = self.custody.import_keys(session, &entitlement, chunk, &data).await;
        Ok(Response::new(progress(imported.map_err(refusal::status)?)))
    }
}

fn progress(progress: PoolProgress) -> admin::PoolProgress {
    let PoolProgress { chunk, keys, whole } = progress;
    admin::PoolProgress { chunk, keys, whole }
}

fn pool(pool: PoolStatus) -> admin::Pool {
    admin::Pool {
        name: pool.name,
        state: pool.state.name().to_owned(),
        plugin: pool.plugin,
        algorithm: pool.algorithm,
        keys: pool.keys,
        arrived: pool.arrived,
        left: pool.left,
    }
}
