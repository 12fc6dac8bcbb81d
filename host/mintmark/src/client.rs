//! A connection to a host, with the steps that several commands share. gRPC and nothing else.

use bytes::Bytes;
use mintmark_crypto::digest::sha256;
use mintmark_model::Reason;
use mintmark_rpc::client::plugins::device_key::device_key_client::DeviceKeyClient;
use mintmark_rpc::client::plugins::entitlement::audit_client::AuditClient;
use mintmark_rpc::client::plugins::entitlement::entitlements_client::EntitlementsClient;
use mintmark_rpc::client::{Connection, Failure, files};
use mintmark_rpc::proto::admin::approvals_client::ApprovalsClient;
use mintmark_rpc::proto::admin::backups_client::BackupsClient;
use mintmark_rpc::proto::admin::clock_client::ClockClient;
use mintmark_rpc::proto::admin::files_client::FilesClient;
use mintmark_rpc::proto::admin::ledger_client::LedgerClient;
use mintmark_rpc::proto::admin::outbox_client::OutboxClient;
use mintmark_rpc::proto::admin::peers_client::PeersClient;
use mintmark_rpc::proto::admin::plugins_client::PluginsClient;
use mintmark_rpc::proto::admin::pools_client::PoolsClient;
use mintmark_rpc::proto::admin::status_client::StatusClient;
use mintmark_rpc::proto::admin::users_client::UsersClient;
use mintmark_rpc::proto::admin::{ActivateRequest, FetchRequest, InstallRequest, Plugin};
use tonic::transport::Channel;

use crate::context::Context;
use crate::error::Error;

/// A host, as a client sees it. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Client {
    connection: Connection,
}

/// How much of a component goes into one message.
const COMPONENT_CHUNK_BYTES: usize = 1 << 20;

impl Client {
    /// Connects as the context says.
    pub(crate) async fn open(context: &Context) -> Result<Self, Error> {
        let connection = Connection::open(context.load()?).await.map_err(Error::Connect)?;
        Ok(Self { connection })
    }

    /// What the host says of itself.
    pub(crate) fn status(&self) -> StatusClient<Channel> {
        StatusClient::new(self.connection.channel())
    }

    /// A staged message; none once the site has acknowledged it and headquarters keeps it no more.
    pub(crate) async fn fetch_kept(&self, file_id: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.fetch(file_id).await {
            Err(error) if error.reason() == Some(Reason::NotFound.code()) => Ok(None),
            fetched => fetched.map(Some),
        }
    }

    /// The host's plugins.
    pub(crate) fn plugins(&self) -> PluginsClient<Channel> {
        PluginsClient::new(self.connection.channel())
    }

    /// The other clusters.
    pub(crate) fn peers(&self) -> PeersClient<Channel> {
        PeersClient::new(self.connection.channel())
    }

    /// People and stations.
    pub(crate) fn users(&self) -> UsersClient<Channel> {
        UsersClient::new(self.connection.channel())
    }

    /// What needs several people.
    pub(crate) fn approvals(&self) -> ApprovalsClient<Channel> {
        ApprovalsClient::new(self.connection.channel())
    }

    /// Site time.
    pub(crate) fn clock(&self) -> ClockClient<Channel> {
        ClockClient::new(self.connection.channel())
    }

    /// The store and the ledger as files.
    pub(crate) fn backups(&self) -> BackupsClient<Channel> {
        BackupsClient::new(self.connection.channel())
    }

    /// What was sent to sites.
    pub(crate) fn outbox(&self) -> OutboxClient<Channel> {
        OutboxClient::new(self.connection.channel())
    }

    /// Keys that somebody gave.
    pub(crate) fn pools(&self) -> PoolsClient<Channel> {
        PoolsClient::new(self.connection.channel())
    }

    /// What the host's ledger proves.
    pub(crate) fn ledger(&self) -> LedgerClient<Channel> {
        LedgerClient::new(self.connection.channel())
    }

    /// The factory's service.
    pub(crate) fn devices(&self) -> DeviceKeyClient<Channel> {
        DeviceKeyClient::new(self.connection.channel())
    }

    /// Headquarters' grants.
    pub(crate) fn entitlements(&self) -> EntitlementsClient<Channel> {
        EntitlementsClient::new(self.connection.channel())
    }

    /// Headquarters' audits.
    pub(crate) fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.connection.channel())
    }

    /// Stages a file; gives its id.
    pub(crate) async fn send(&self, content: Vec<u8>) -> Result<String, Error> {
        let digest = sha256(&content);
        Ok(files::stage(&self.connection.channel(), &Bytes::from(content), &digest).await?)
    }

    /// Fetches a file.
    pub(crate) async fn fetch(&self, file_id: &str) -> Result<Vec<u8>, Error> {
        let mut files = FilesClient::new(self.connection.channel());
        let request = FetchRequest { file_id: file_id.to_owned(), offset: 0 };
        let mut parts = files.fetch(request).await.map_err(Failure::from)?.into_inner();
        let mut content = Vec::new();
        while let Some(part) = parts.message().await.map_err(Failure::from)? {
            content.extend_from_slice(&part.data);
        }
        Ok(content)
    }

    /// Installs a component.
    pub(crate) async fn install(&self, component: &[u8]) -> Result<Plugin, Error> {
        let chunks: Vec<_> = component
            .chunks(COMPONENT_CHUNK_BYTES)
            .map(|chunk| InstallRequest { chunk: Bytes::copy_from_slice(chunk) })
            .collect();
        let answer = self.plugins().install(tokio_stream::iter(chunks)).await;
        let answer = answer.map_err(Failure::from)?.into_inner();
        Ok(answer.plugin.unwrap_or_default())
    }

    /// Makes an installed version of a plugin the one that answers.
    pub(crate) async fn activate(&self, name: String, version: String) -> Result<Plugin, Error> {
        let activated = self.plugins().activate(ActivateRequest { name, version }).await;
        Ok(activated.map_err(Failure::from)?.into_inner().plugin.unwrap_or_default())
    }
}
