//! A host in memory: its life, its people, its files. What runs on it is in `run.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_executor::block_on;
use mintmark_custody::{
    Custody, Decided, OpenError, PluginClaims, Session, identities::ImportedIdentity,
};
use mintmark_exchange::approval::ApprovalRequest;
use mintmark_exchange::canonical::sha256;
use mintmark_model::{Principal, Role};
use mintmark_pki::{ClusterPath, ClusterRole};
use mintmark_sdk::{Package, Plugin, Status};

use crate::approvers::{QUORUM, Voter};
use crate::clock::{EPOCH_MS, TestClock};
use crate::device::Station;
use crate::hardware::Hardware;
use crate::manifest::Manifest;
use crate::run::status_of;
use crate::space::TestSpace;
use crate::world::{ORGANIZATION, parts};

/// How many bytes are staged or fetched at once.
const PIECE_BYTES: usize = 1 << 20;

/// One node of a cluster, in memory, with the plugins that a test installs. Threads may share it.
pub struct TestHost {
    cluster: ClusterPath,
    hardware: Hardware,
    clock: TestClock,
    space: TestSpace,
    pub(crate) custody: Custody,
    pub(crate) plugins: BTreeMap<&'static str, Installed>,
    approvers: Arc<[Voter]>,
}

/// A host that does not run, with the plugins that run on it when it does.
pub struct Stopped {
    cluster: ClusterPath,
    clock: TestClock,
    space: TestSpace,
    plugins: BTreeMap<&'static str, Installed>,
    approvers: Arc<[Voter]>,
}

/// [`mintmark_sdk::Plugin::dispatch`] of a plugin.
type Dispatch = fn(&str, &str, &[u8]) -> Result<Vec<u8>, Status>;

/// An active plugin.
#[derive(Clone)]
pub(crate) struct Installed {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) claims: Arc<PluginClaims>,
    pub(crate) dispatch: Dispatch,
}

impl Installed {
    /// A build of a plugin, with its version and the bytes that stand for its component.
    fn of<P: Package>(build: &str) -> (Self, String, Vec<u8>) {
        let manifest = Manifest::parse(P::MANIFEST).expect("the manifest is one that a host takes");
        assert_eq!(manifest.name, P::NAME, "the manifest names the plugin");
        let version = match build {
            "" => manifest.version.clone(),
            build => format!("{}+{build}", manifest.version),
        };
        let component = [P::NAME, P::MANIFEST, build].join("\n").into_bytes();
        let claims = manifest.claims(sha256(&component)).expect("the slots were read before");
        let (manifest, claims) = (Arc::new(manifest), Arc::new(claims));
        (Self { manifest, claims, dispatch: P::dispatch }, version, component)
    }
}

impl TestHost {
    pub(crate) fn new(
        cluster: ClusterPath,
        hardware: Hardware,
        (clock, space): (TestClock, TestSpace),
        custody: Custody,
        approvers: Arc<[Voter]>,
    ) -> Self {
        let plugins = BTreeMap::new();
        Self { cluster, hardware, clock, space, custody, plugins, approvers }
    }

    pub(crate) fn path(&self) -> &ClusterPath {
        &self.cluster
    }

    /// The cluster's SPIFFE URI, such as `spiffe://acme/site/shenzhen`.
    pub fn uri(&self) -> String {
        self.cluster.to_string()
    }

    /// The host's clocks.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// What its disk has room for.
    pub fn space(&self) -> &TestSpace {
        &self.space
    }

    /// What the host runs on.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// The key manager itself, for what no plugin can ask for.
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Installs and activates a plugin from its manifest.
    ///
    /// # Panics
    /// For a manifest that the host would refuse.
    pub fn install<P: Package>(&mut self) {
        self.install_build::<P>("");
    }

    /// The same plugin as other code: another measurement, and a version of its own.
    ///
    /// # Panics
    /// As [`install`](Self::install).
    pub fn install_build<P: Package>(&mut self, build: &str) {
        let (installed, version, component) = Installed::of::<P>(build);
        let (claims, measurement) = (Arc::clone(&installed.claims), sha256(&component));
        let security = installed.manifest.security_version;
        let session = || self.session("admin", "admin", "InstallPlugin");
        block_on(async {
            let custody = &self.custody;
            custody
                .install_plugin(session(), P::NAME, measurement, &version, security, &component)
                .await?;
            custody.activate_plugin(session(), &claims, &version).await
        })
        .expect("the plugin can be installed");
        self.plugins.insert(P::NAME, installed);
    }

    /// Stops the host and starts it again over the same store and platform.
    ///
    /// # Errors
    /// What the host says that it can not start for.
    pub fn restart(self) -> Result<Self, OpenError> {
        let hardware = self.hardware.clone();
        self.stop().start_on(hardware)
    }

    /// Stops the host and lets go of what it ran on.
    pub fn stop(self) -> Stopped {
        let Self { cluster, clock, space, plugins, approvers, .. } = self;
        Stopped { cluster, clock, space, plugins, approvers }
    }

    /// The host's identity bundle.
    ///
    /// # Panics
    /// Where the host refuses.
    pub fn export_identity(&self) -> Vec<u8> {
        let session = self.session("admin", "admin", "ExportIdentity");
        let (file, _) = block_on(self.custody.export_identity(session))
            .expect("a running host has an identity");
        self.fetch(&file).expect("what was staged can be fetched")
    }

    /// Takes another host's identity bundle.
    ///
    /// # Errors
    /// Those of the host.
    pub fn import_identity(&self, bundle: &[u8]) -> Result<ImportedIdentity, Status> {
        let file = self.stage(bundle);
        let session = self.session("admin", "admin", "ImportIdentity");
        block_on(self.custody.import_identity(session, &file)).map_err(status_of)
    }

    /// Stages a file; gives its id.
    ///
    /// # Panics
    /// Where the host refuses.
    pub fn stage(&self, content: &[u8]) -> String {
        self.try_stage(content).expect("a file can be staged")
    }

    /// [`stage`](Self::stage) at a host that may refuse.
    ///
    /// # Errors
    /// Those of the host.
    pub fn try_stage(&self, content: &[u8]) -> Result<String, Status> {
        let session = || self.session("admin", "admin", "Stage");
        block_on(async {
            let file = self.custody.stage_begin(session()).await?;
            let mut offset = 0;
            for piece in content.chunks(PIECE_BYTES) {
                offset = self.custody.stage_append(session(), &file, offset, piece).await?;
            }
            let digest = sha256(content);
            self.custody.stage_finish(session(), &file, &digest).await?;
            Ok(file)
        })
        .map_err(status_of)
    }

    /// The content of a staged file.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn fetch(&self, file: &str) -> Result<Vec<u8>, Status> {
        let mut content = Vec::new();
        loop {
            let session = self.session("admin", "admin", "Fetch");
            let offset = content.len() as u64;
            let part = block_on(self.custody.fetch(session, file, offset, PIECE_BYTES));
            let part = part.map_err(status_of)?;
            content.extend_from_slice(&part.bytes);
            if content.len() as u64 >= part.total || part.bytes.is_empty() {
                return Ok(content);
            }
        }
    }

    /// The people who approve here, as the charter names them.
    pub fn approvers(&self) -> &[Voter] {
        &self.approvers
    }

    /// The same people, who outlive the host.
    pub fn voters(&self) -> Arc<[Voter]> {
        Arc::clone(&self.approvers)
    }

    /// Two people agree to what a call was refused for: the same call succeeds then.
    ///
    /// # Panics
    /// For a refusal that names no request, and where the host refuses.
    pub fn approve(&self, refused: &Status) {
        for voter in &self.approvers[..QUORUM as usize] {
            self.vote(voter, &self.waiting(refused), true).expect("the request waits");
        }
    }

    /// The request that a call was refused for.
    ///
    /// # Panics
    /// For a refusal that names no request that waits.
    pub fn waiting(&self, refused: &Status) -> ApprovalRequest {
        let named = refused.metadata.iter().find(|(name, _)| name == "request");
        let (_, named) = named.expect("the refusal names a request");
        let pending = block_on(self.custody.approvals()).expect("the store answers");
        let named = pending.iter().find(|it| hex::encode(it.digest) == *named);
        ApprovalRequest::decode(&named.expect("the request waits").request)
            .expect("the host shows requests as they are signed")
    }

    /// Somebody's signed yes or no.
    ///
    /// # Errors
    /// Those of the host.
    pub fn vote(
        &self,
        voter: &Voter,
        request: &ApprovalRequest,
        approve: bool,
    ) -> Result<Decided, Status> {
        let session = self.session("admin", voter.name(), "Decide");
        let statement = voter.says(request, approve);
        block_on(self.custody.decide_approval(session, &statement)).map_err(status_of)
    }

    /// Gives a station its certificates, with a key to which device keys are sealed. Without
    /// entitlements it may use all.
    ///
    /// # Panics
    /// Where the host refuses.
    pub fn enrol_station(&self, name: &str, entitlements: &[String]) -> Station {
        let (station, tls, sealing) = Station::new(name);
        let session = self.session("admin", "admin", "IssueUser");
        let issued =
            self.custody.issue_user(session, "station", name, &tls, Some(&sealing), entitlements);
        block_on(issued).expect("a station can be enrolled");
        station
    }

    /// A session of somebody who calls the plugin `P`, for calls that a test makes step by step.
    ///
    /// # Panics
    /// For a plugin that is not installed, and a role that there is not.
    pub fn session_of<P: Plugin>(&self, role: &str, name: &str) -> Session {
        let plugin = self.plugins.get(P::NAME).expect("the plugin is installed");
        let principal = self.principal(role, name);
        Session::new(principal, Some(plugin.claims.clone()), "/test/Run", &[])
    }

    /// A session of somebody at this host, without a plugin.
    pub(crate) fn session(&self, role: &str, name: &str, method: &str) -> Session {
        Session::new(self.principal(role, name), None, method, &[])
    }

    /// Somebody at this host.
    ///
    /// # Panics
    /// For a role that there is not.
    pub(crate) fn principal(&self, role: &str, name: &str) -> Principal {
        Principal {
            organization: ORGANIZATION.to_owned(),
            cluster: format!("{}/{}", self.cluster.role().name(), self.cluster.name()),
            role: Role::from_name(role).expect("admin, auditor, operator, station or publisher"),
            name: name.to_owned(),
        }
    }
}

impl Stopped {
    /// A site that another process has made, without plugins and approvers.
    ///
    /// # Panics
    /// For a name that is none.
    pub fn site(name: &str) -> Self {
        Self::of(ClusterRole::Site, name)
    }

    /// A headquarters that another process has made, without plugins and approvers.
    ///
    /// # Panics
    /// For a name that is none.
    pub fn headquarters(name: &str) -> Self {
        Self::of(ClusterRole::Headquarters, name)
    }

    fn of(role: ClusterRole, name: &str) -> Self {
        let cluster = ClusterPath::new(ORGANIZATION, role, name);
        let cluster = cluster.expect("a cluster has a name");
        let (clock, plugins) = (TestClock::new(EPOCH_MS), BTreeMap::new());
        let space = TestSpace::default();
        Self { cluster, clock, space, plugins, approvers: Arc::new([]) }
    }

    /// A plugin that was installed there.
    ///
    /// # Panics
    /// As [`TestHost::install`].
    pub fn with_plugin<P: Package>(&mut self) {
        let (installed, _, _) = Installed::of::<P>("");
        self.plugins.insert(P::NAME, installed);
    }

    /// The same host once more, with clocks of its own: for a test that lets it live several lives
    /// from one beginning.
    #[must_use]
    pub fn fork(&self) -> Self {
        let Self { cluster, clock, plugins, approvers, .. } = self;
        let (cluster, plugins, approvers) =
            (cluster.clone(), plugins.clone(), Arc::clone(approvers));
        let space = TestSpace::default();
        Self { cluster, clock: clock.fork(), space, plugins, approvers }
    }

    /// The host's clocks.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Starts the host on what it ran on before, or on a copy that was put back.
    ///
    /// # Errors
    /// What the host says that it can not start for.
    pub fn start_on(self, hardware: Hardware) -> Result<TestHost, OpenError> {
        let Self { cluster, clock, space, plugins, approvers } = self;
        let custody = block_on(Custody::open(parts(&hardware, &clock, &space)))?;
        Ok(TestHost { cluster, hardware, clock, space, custody, plugins, approvers })
    }
}
