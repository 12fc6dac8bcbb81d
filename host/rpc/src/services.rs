//! The host's own services: parse, call custody or the runtime, convert. They decide nothing.

mod approvals;
mod backups;
mod clock;
mod files;
mod ledger;
mod outbox;
mod peers;
mod plugins;
mod pools;
mod status;
mod users;

use mintmark_model::Refusal;
use tonic::{Response, Status, service::Routes};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;

use crate::{
    host::Host,
    limits,
    proto::admin::{
        approvals_server::ApprovalsServer, backups_server::BackupsServer,
        clock_server::ClockServer, files_server::FilesServer, ledger_server::LedgerServer,
        outbox_server::OutboxServer, peers_server::PeersServer, plugins_server::PluginsServer,
        pools_server::PoolsServer, status_server::StatusServer, users_server::UsersServer,
    },
    reflection::Reflection,
};

/// All services of the host.
pub(crate) fn routes(host: &Host, health: HealthServer<impl Health>) -> Routes {
    /// No service takes or gives more in one message.
    macro_rules! bounded {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
        };
    }
    let catalogue = std::sync::Arc::clone(&host.catalogue);
    Routes::new(health)
        .add_service(bounded!(ServerReflectionServer, Reflection(catalogue)))
        .add_service(bounded!(StatusServer, host.clone()))
        .add_service(bounded!(PluginsServer, host.clone()))
        .add_service(bounded!(PeersServer, host.clone()))
        .add_service(bounded!(FilesServer, host.clone()))
        .add_service(bounded!(UsersServer, host.clone()))
        .add_service(bounded!(OutboxServer, host.clone()))
        .add_service(bounded!(ApprovalsServer, host.clone()))
        .add_service(bounded!(PoolsServer, host.clone()))
        .add_service(bounded!(BackupsServer, host.clone()))
        .add_service(bounded!(ClockServer, host.clone()))
        .add_service(bounded!(LedgerServer, host.clone()))
        .prepare()
}

/// A digest of 32 bytes, or a refusal that names the field.
fn digest(bytes: &[u8], field: &str) -> Result<[u8; 32], Refusal> {
    bytes.try_into().map_err(|_| Refusal::invalid(format!("`{field}` is not 32 bytes long.")))
}

/// What a unary handler answers.
type Answer<T> = Result<Response<T>, Status>;
