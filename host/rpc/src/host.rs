//! What the services work with: custody, the plugins, and what is told about both.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use mintmark_custody::{Custody, StorageState};
use mintmark_runtime::Runtime;
use tokio::sync::Mutex;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{proto::ADMIN_DESCRIPTORS, reflection::Catalogue};

/// Shared by all services; cheap to clone.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) custody: Custody,
    pub(crate) runtime: Runtime,
    /// What reflection tells.
    pub(crate) catalogue: Arc<ArcSwap<Catalogue>>,
    /// What health tells, and the plugins' services that it knows.
    health: Arc<Mutex<Health>>,
}

struct Health {
    reporter: HealthReporter,
    plugins: BTreeSet<String>,
    told: Told,
}

/// What health was told last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    read_only: bool,
    storage: StorageState,
}

impl Told {
    fn of(custody: &Custody) -> Self {
        Self { read_only: custody.is_read_only(), storage: custody.storage().state }
    }

    /// A host that still takes confirmations and exports is alive.
    fn serves(self) -> bool {
        !self.read_only && matches!(self.storage, StorageState::Ample | StorageState::Low)
    }

    fn has_room(self) -> bool {
        !self.read_only && self.storage == StorageState::Ample
    }
}

/// The host's own services, as health names them.
const SERVICES: &[&str] = &[
    "mintmark.admin.v1.Approvals",
    "mintmark.admin.v1.Backups",
    "mintmark.admin.v1.Clock",
    "mintmark.admin.v1.Files",
    "mintmark.admin.v1.Outbox",
    "mintmark.admin.v1.Peers",
    "mintmark.admin.v1.Plugins",
    "mintmark.admin.v1.Pools",
    "mintmark.admin.v1.Status",
    "mintmark.admin.v1.Users",
];

/// Of these, what a read-only host serves.
const READING: &[&str] = &["mintmark.admin.v1.Status"];

/// No service: under this name health says whether there is room for everything. It is not serving
/// from the moment at which the disk is nearly full.
const STORAGE: &str = "mintmark.storage";

/// The name under which health speaks of the host as a whole.
const WHOLE_HOST: &str = "";

impl Host {
    pub(crate) fn new(custody: Custody, runtime: Runtime, reporter: HealthReporter) -> Self {
        let told = Told::of(&custody);
        let health = Health { reporter, plugins: BTreeSet::new(), told };
        Self { custody, runtime, catalogue: Arc::default(), health: Arc::new(Mutex::new(health)) }
    }

    /// Tells reflection and health what is served now.
    pub(crate) async fn refresh(&self) {
        let mut health = self.health.lock().await;
        let active = self.runtime.active();
        let descriptors = active.iter().map(|plugin| plugin.descriptors());
        self.catalogue.store(Arc::new(catalogue(descriptors)));
        let services = active.iter().flat_map(|plugin| plugin.services());
        health.told = Told::of(&self.custody);
        health.report(services.map(str::to_owned).collect()).await;
    }

    /// Tells health when the host has become read-only, or when there is room for less or more
    /// than before.
    pub(crate) async fn notice(&self) {
        let now = Told::of(&self.custody);
        if self.health.lock().await.told != now {
            self.refresh().await;
        }
    }
}

impl Health {
    async fn report(&mut self, plugins: BTreeSet<String>) {
        let status = |serves| match serves {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        self.reporter.set_service_status(STORAGE, status(self.told.has_room())).await;
        let status = status(self.told.serves());
        for service in SERVICES {
            let reads = READING.contains(service);
            let status = if reads { ServingStatus::Serving } else { status };
            self.reporter.set_service_status(*service, status).await;
        }
        for service in plugins.iter().map(String::as_str).chain([WHOLE_HOST]) {
            self.reporter.set_service_status(service, status).await;
        }
        for gone in self.plugins.difference(&plugins) {
            self.reporter.set_service_status(gone, ServingStatus::NotServing).await;
        }
        self.plugins = plugins;
    }
}

/// The host's own descriptors come first, so that no plugin's can stand before them.
fn catalogue<'a>(plugins: impl Iterator<Item = &'a [u8]>) -> Catalogue {
    let own = [
        ADMIN_DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    let mut catalogue = Catalogue::default();
    for encoded in own.into_iter().chain(plugins) {
        if let Err(error) = catalogue.add(encoded) {
            tracing::warn!(%error, "descriptors that reflection cannot tell");
        }
    }
    catalogue
}
