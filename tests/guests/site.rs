//! A site: custody over a store in a temporary directory, and the runtime with the hostile guest and
//! the device-key plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use mintmark_crypto::random;
use mintmark_crypto::sign::SigningKey;
use mintmark_custody::{
    Call, Custody, Parts, PluginClaims, Session, Settings, SystemTimeSource, UnitStatus, genesis,
};
use mintmark_exchange::canonical;
use mintmark_exchange::identity::{self, IdentityBody};
use mintmark_exchange::message::MessageHead;
use mintmark_exchange::product::KeyOrigin;
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

/// A running site.
pub(crate) struct Site {
    pub(crate) custody: Custody,
    pub(crate) platform: Arc<EmulatedPlatform>,
    runtime: Runtime,
    headquarters: Headquarters,
    claims: Arc<PluginClaims>,
    transfer_key: Vec<u8>,
    directory: TempDir,
}

impl Site {
    /// A site whose hostile guest has so much time for a call.
    pub(crate) async fn start(deadline_ms: u64) -> Self {
        log::start();
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new();
        let platform = Arc::new(EmulatedPlatform::create(&folder(&directory, "platform")).unwrap());
        let custody = open(&directory, &platform, &root).await;
        let asked = LimitsAsked { deadline_ms: Some(deadline_ms), ..LimitsAsked::default() };
        let config = RuntimeConfig {
            overrides: BTreeMap::from([("hostile".to_owned(), asked)]),
            ..RuntimeConfig::default()
        };
        let runtime = Runtime::new(custody.clone(), config, None).unwrap();
        let hostile = install(&runtime, HOSTILE).await;
        install(&runtime, mintmark_bundled::DEVICE_KEY).await;
        let transfer_key = transfer_key(&custody).await;
        let (headquarters, claims) = (root.headquarters(), Arc::new(hostile));
        Self { custody, platform, runtime, headquarters, claims, transfer_key, directory }
    }

    /// An entitlement for the hostile guest, not yet imported.
    pub(crate) fn granted(&self, number: u32, total: u64, origin: KeyOrigin) -> Entitlement {
        let recipient = Recipient {
            site: self.custody.cluster(),
            transfer_key: &self.transfer_key,
            plugin: self.claims.measurement,
        };
        self.headquarters.grant(number, total, origin, &recipient)
    }

    /// An entitlement of so many devices that make their own keys, imported by the guest.
    pub(crate) async fn entitled(&self, total: u64) -> Entitlement {
        let entitlement = self.granted(1, total, KeyOrigin::DeviceBorn);
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
        let session = session(&message);
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
        let answer = self.runtime.call(&route, session(&[]), Bytes::new()).await;
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

    /// The bytes of the store's file.
    pub(crate) fn disk(&self) -> Vec<u8> {
        folder(&self.directory, "store").read("store").unwrap()
    }

    fn hostile(&self, method: &str) -> Route {
        self.runtime.route(&format!("/mintmark.test.v1.Hostile/{method}")).unwrap()
    }

    async fn begin(&self) -> Call {
        let session = Session { plugin: Some(Arc::clone(&self.claims)), ..session(&[]) };
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

/// A session of the operator who calls the guest.
pub(crate) fn session(message: &[u8]) -> Session {
    let principal = Principal {
        organization: "acme".to_owned(),
        cluster: "site/shenzhen".to_owned(),
        role: Role::Operator,
        name: "otto".to_owned(),
    };
    Session::new(principal, None, "/mintmark.test.v1.Hostile/Call", message)
}

fn folder(directory: &TempDir, name: &str) -> Dir {
    let path = directory.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

async fn open(directory: &TempDir, platform: &Arc<EmulatedPlatform>, root: &Root) -> Custody {
    let store_id = random::array();
    let identity = Identity { store_id, node: NODE.to_owned() };
    let secret = platform.sealing_secret().unwrap();
    let store = Embedded::create(&folder(directory, "store"), "store", &identity, &secret);
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let cluster = ClusterPath::new("acme", ClusterRole::Site, "shenzhen").unwrap();
    let csr = genesis::prepare(&store, &store_id, &**platform, &cluster, NODE).await.unwrap();
    let admin: SigningKey = new_key();
    let answer = root.answer(&csr, &cluster, &admin);
    let parts = Parts {
        store,
        store_id,
        platform: Arc::<EmulatedPlatform>::clone(platform),
        time: Box::new(SystemTimeSource::default()),
        settings: Settings::default(),
    };
    let csr = request::csr(&admin, "root").unwrap();
    genesis::install(parts, answer, ("root", &csr)).await.unwrap().0
}

async fn install(runtime: &Runtime, component: &[u8]) -> PluginClaims {
    let inspected = runtime.install(session(&[]), component).await.unwrap();
    runtime.activate(session(&[]), &inspected.measurement).await.unwrap();
    inspected.manifest.claims(inspected.measurement)
}

/// The public key to which keys for the site are sealed, as its identity bundle says it.
async fn transfer_key(custody: &Custody) -> Vec<u8> {
    let (file, _) = custody.export_identity(session(&[])).await.unwrap();
    let content = custody.fetch(session(&[]), &file, 0, 1 << 20).await.unwrap().bytes;
    let (_, length) = MessageHead::parse(&content).unwrap();
    let body: IdentityBody =
        canonical::decode(&content[length..], identity::BYTES_MAX).unwrap();
    Certificate::parse(&body.transfer[0]).unwrap().public_key_info().to_vec()
}
