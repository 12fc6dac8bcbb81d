//! A cluster of one node: custody over a store in a temporary directory, and the runtime with the
//! hostile guest and the device-key plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use mintmark_crypto::digest::sha256;
use mintmark_crypto::random;
use mintmark_crypto::sign::SigningKey;
use mintmark_custody::files::APPEND_BYTES_MAX;
use mintmark_custody::{
    Call, Custody, Endless, Parts, PluginClaims, Session, Settings, SystemTimeSource, UnitStatus,
    genesis,
};
use mintmark_exchange::canonical;
use mintmark_exchange::identity::{self, IdentityBody};
use mintmark_exchange::message::MessageHead;
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::row::Row;
use mintmark_guest_hostile::proto;
use mintmark_model::{Counters, Principal, Reason, Role};
use mintmark_pki::{Certificate, ClusterPath, ClusterRole, request};
use mintmark_platform::Platform;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_runtime::{LimitsAsked, PluginStream, Refused, Route, Runtime, RuntimeConfig};
use mintmark_store::{Embedded, Identity, Store};
use prost::Message;
use tempfile::TempDir;

use super::headquarters::{Entitlement, Headquarters, Recipient, Root, new_key};
use super::log;

const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile.wasm"));
/// Time for a call of the guest where the case is not about time.
pub(crate) const PATIENT_MS: u64 = 60_000;
const NODE: &str = "n1";
/// The longest file that a test carries.
const FILE_BYTES_MAX: usize = 8 << 20;

/// A running node.
pub(crate) struct Node {
    pub(crate) custody: Custody,
    pub(crate) platform: Arc<EmulatedPlatform>,
    /// On whose behalf everything is called.
    pub(crate) caller: Principal,
    runtime: Runtime,
    headquarters: Headquarters,
    /// What the guest may ask for.
    claims: Option<Arc<PluginClaims>>,
    directory: TempDir,
}

impl Node {
    /// A site under a root of its own, whose hostile guest has so much time for a call.
    pub(crate) async fn start(deadline_ms: u64) -> Self {
        Self::under(&Root::new(), ClusterRole::Site, "shenzhen", deadline_ms).await
    }

    /// A cluster under `root`.
    pub(crate) async fn under(
        root: &Root,
        role: ClusterRole,
        name: &str,
        deadline_ms: u64,
    ) -> Self {
        log::start();
        let directory = tempfile::tempdir().unwrap();
        let platform = Arc::new(EmulatedPlatform::create(&folder(&directory, "platform")).unwrap());
        let cluster = ClusterPath::new("acme", role, name).unwrap();
        let custody = open(&directory, &platform, root, &cluster).await;
        let asked = LimitsAsked { deadline_ms: Some(deadline_ms), ..LimitsAsked::default() };
        let config = RuntimeConfig {
            overrides: BTreeMap::from([("hostile".to_owned(), asked)]),
            ..RuntimeConfig::default()
        };
        let cache = Some(folder(&directory, "cache"));
        let mut node = Self {
            runtime: Runtime::new(custody.clone(), config, cache).unwrap(),
            custody,
            platform,
            caller: Principal {
                organization: "acme".to_owned(),
                cluster: format!("{}/{name}", role.name()),
                role: Role::Operator,
                name: "otto".to_owned(),
            },
            headquarters: root.headquarters(),
            claims: None,
            directory,
        };
        node.install(mintmark_bundled::DEVICE_KEY).await;
        node.claims = Some(Arc::new(node.install(HOSTILE).await));
        node
    }

    /// An entitlement for the hostile guest, not yet imported, from a headquarters that the test
    /// plays.
    pub(crate) async fn granted(
        &self,
        number: u32,
        total: u64,
        keys: (KeyOrigin, Delivery),
    ) -> Entitlement {
        let content = self.identity().await;
        let (_, length) = MessageHead::parse(&content).unwrap();
        let body: IdentityBody =
            canonical::decode(&content[length..], identity::BYTES_MAX).unwrap();
        let transfer = Certificate::parse(&body.transfer[0]).unwrap();
        let recipient = Recipient {
            site: self.custody.cluster(),
            transfer_key: transfer.public_key_info(),
            plugin: self.claims().measurement,
        };
        self.headquarters.grant(number, total, keys, &recipient)
    }

    /// An entitlement of so many devices that make their own keys, imported by the guest.
    pub(crate) async fn entitled(&self, total: u64) -> Entitlement {
        let entitlement = self.granted(1, total, (KeyOrigin::DeviceBorn, Delivery::None)).await;
        let request = proto::ImportRequest { order: entitlement.order.clone() };
        let imported: proto::ImportResponse = self.call("Import", &request).await.unwrap();
        assert_eq!(imported.entitlement, entitlement.id());
        entitlement
    }

    /// Calls a method of the guest.
    pub(crate) async fn call<M: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<M, Refused> {
        Ok(M::decode(self.raw(method, request).await?).unwrap())
    }

    /// Calls a method of the guest, for the bytes of its answer.
    pub(crate) async fn raw(&self, method: &str, request: &impl Message) -> Result<Bytes, Refused> {
        let route = self.hostile(method);
        let message = request.encode_to_vec();
        let session = self.session(&message);
        self.runtime.call(&route, session, message.into()).await
    }

    /// The reason for which the host ends a call of the guest.
    pub(crate) async fn refusal(&self, method: &str, request: &impl Message) -> Reason {
        host_reason(&self.raw(method, request).await.unwrap_err())
    }

    /// A stream of requests to a method of the guest.
    pub(crate) fn stream(&self, method: &str) -> PluginStream {
        self.runtime.open_stream(&self.hostile(method))
    }

    /// An honest call of the guest, and one of the other plugin.
    pub(crate) async fn canary(&self) {
        let request = proto::EchoRequest { text: "hello".to_owned(), ..Default::default() };
        let echo: proto::EchoResponse = self.call("Echo", &request).await.unwrap();
        assert_eq!((echo.text.as_str(), echo.calls_before), ("hello", 0));
        self.neighbour().await;
    }

    /// A call of the other plugin, which has no entitlement to list.
    pub(crate) async fn neighbour(&self) {
        let path = "/mintmark.devicekey.v1.DeviceKey/ListEntitlements";
        let route = self.runtime.route(path).unwrap();
        let answer = self.runtime.call(&route, self.session(&[]), Bytes::new()).await;
        assert_eq!(answer.as_deref(), Ok(&[][..]));
    }

    /// Records of the guest that are committed.
    pub(crate) async fn records(&self) -> u64 {
        let request = proto::EchoRequest::default();
        let echo: proto::EchoResponse = self.call("Echo", &request).await.unwrap();
        echo.records
    }

    /// Where the units of an entitlement are; they add up.
    pub(crate) async fn counters(&self, entitlement: &str) -> Counters {
        let mut call = self.begin().await;
        let allotment = call.open_allotment(entitlement).await.unwrap();
        let counters = call.allotment_status(&allotment).await.unwrap().counters;
        assert!(counters.add_up(), "{counters:?}");
        counters
    }

    /// A device's unit; none for a device that has none.
    pub(crate) async fn unit(&self, entitlement: &str, subject: &str) -> Option<UnitStatus> {
        let mut call = self.begin().await;
        let allotment = call.open_allotment(entitlement).await.unwrap();
        let unit = call.find_unit(&allotment, subject).await.ok()?;
        Some(call.unit_status(&unit).await.unwrap())
    }

    /// The whole ledger.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let mut call = self.begin().await;
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let page = call.read_rows(NODE, rows.len() as u64, 1 << 20).await.unwrap();
            if page.rows.is_empty() {
                return rows;
            }
            rows.extend(page.rows.iter().map(|row| Row::decode(row).unwrap()));
        }
    }

    /// The bytes of a file that was staged here.
    pub(crate) async fn fetch(&self, file: &str) -> Vec<u8> {
        let part = self.custody.fetch(self.session(&[]), file, 0, FILE_BYTES_MAX).await.unwrap();
        assert_eq!(part.bytes.len() as u64, part.total, "the whole file");
        part.bytes
    }

    /// Stages a file from elsewhere; gives its id.
    pub(crate) async fn stage(&self, content: &[u8]) -> String {
        let (custody, session) = (&self.custody, || self.session(&[]));
        let file = custody.stage_begin(session()).await.unwrap();
        let mut offset = 0;
        for part in content.chunks(APPEND_BYTES_MAX) {
            offset = custody.stage_append(session(), &file, offset, part).await.unwrap();
        }
        custody.stage_finish(session(), &file, &sha256(content)).await.unwrap();
        file
    }

    /// Lets this cluster and `other` know each other.
    pub(crate) async fn meet(&self, other: &Self) {
        for (from, to) in [(self, other), (other, self)] {
            let file = to.stage(&from.identity().await).await;
            to.custody.import_identity(to.session(&[]), &file).await.unwrap();
        }
    }

    /// The bytes of the store's file.
    pub(crate) fn disk(&self) -> Vec<u8> {
        folder(&self.directory, "store").read("store").unwrap()
    }

    /// A session of the caller.
    pub(crate) fn session(&self, message: &[u8]) -> Session {
        Session::new(self.caller.clone(), None, "/mintmark.test.v1.Hostile/Call", message)
    }

    /// The cluster's identity bundle.
    async fn identity(&self) -> Vec<u8> {
        let (file, _) = self.custody.export_identity(self.session(&[])).await.unwrap();
        self.fetch(&file).await
    }

    async fn install(&self, component: &[u8]) -> PluginClaims {
        let inspected = self.runtime.install(self.session(&[]), component).await.unwrap();
        let measurement = inspected.measurement;
        self.runtime.activate(self.session(&[]), &measurement).await.unwrap();
        inspected.manifest.claims(measurement)
    }

    fn claims(&self) -> &Arc<PluginClaims> {
        self.claims.as_ref().unwrap()
    }

    fn hostile(&self, method: &str) -> Route {
        self.runtime.route(&format!("/mintmark.test.v1.Hostile/{method}")).unwrap()
    }

    async fn begin(&self) -> Call {
        let session = Session { plugin: Some(Arc::clone(self.claims())), ..self.session(&[]) };
        self.custody.begin(session, None).await.unwrap()
    }
}

/// The reason of a refusal that is the host's own, not the guest's.
pub(crate) fn host_reason(refused: &Refused) -> Reason {
    match refused {
        Refused::Host(refusal) => refusal.reason,
        Refused::Plugin(status) => panic!("the guest's own words: {status:?}"),
    }
}

fn folder(directory: &TempDir, name: &str) -> Dir {
    let path = directory.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

async fn open(
    directory: &TempDir,
    platform: &Arc<EmulatedPlatform>,
    root: &Root,
    cluster: &ClusterPath,
) -> Custody {
    let store_id = random::array();
    let identity = Identity { store_id, node: NODE.to_owned() };
    let secret = platform.sealing_secret().unwrap();
    let store = Embedded::create(&folder(directory, "store"), "store", &identity, &secret);
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let csr = genesis::prepare(&store, &store_id, &**platform, cluster, NODE).await.unwrap();
    let admin: SigningKey = new_key();
    let answer = root.answer(&csr, cluster, &admin);
    let parts = Parts {
        store,
        store_id,
        platform: Arc::<EmulatedPlatform>::clone(platform),
        time: Box::new(SystemTimeSource::default()),
        space: Box::new(Endless),
        settings: Settings::default(),
    };
    let csr = request::csr(&admin, "root").unwrap();
    genesis::install(parts, answer, ("root", &csr)).await.unwrap().0
}
