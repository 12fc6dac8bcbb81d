//! The host that is killed: what it does, and how it is opened.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use cap_std::{ambient_authority, fs::Dir};
use futures_executor::block_on;
use mintmark_custody::pools::PoolLoad;
use mintmark_custody::{OpenError, SecretBytes, Session};
use mintmark_exchange::pool::{KeyFile, given_digest, load_digest};
use mintmark_model::Refusal;
use mintmark_platform::Platform as _;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::{Hardware, NODE, Stopped, TestHost};
use mintmark_store::{Embedded, Identity};
use prost::Message as _;

/// Names the folder of the process that is to be killed, and what it is to do.
pub(crate) const FOLDER: &str = "MINTMARK_KILL_FOLDER";
pub(crate) const ACT: &str = "MINTMARK_KILL_ACT";
const STORE_ID: [u8; 16] = [7; 16];
/// Units of an order.
pub(crate) const TOTAL: u64 = 10;
/// So many units are drawn without a receipt.
pub(crate) const AUDIT_RETURN: u64 = 2;
/// The pool, and how many keys are given to it.
pub(crate) const POOL: &str = "licences";
pub(crate) const GIVEN: usize = 3;

/// What is done when the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Start,
    Provision,
    Import,
    Export,
    Receipt,
    Rotate,
    ImportKeys,
    Load,
    Grant,
}

/// What an act came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(Vec<u8>),
    Refused(String),
}

impl Act {
    pub(crate) const ALL: [Self; 9] = [
        Self::Start,
        Self::Provision,
        Self::Import,
        Self::Export,
        Self::Receipt,
        Self::Rotate,
        Self::ImportKeys,
        Self::Load,
        Self::Grant,
    ];

    /// Whether headquarters does it.
    pub(crate) fn is_at_headquarters(self) -> bool {
        matches!(self, Self::Load | Self::Grant)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Provision => "provision",
            Self::Import => "import",
            Self::Export => "export",
            Self::Receipt => "receipt",
            Self::Rotate => "rotate",
            Self::ImportKeys => "import-keys",
            Self::Load => "load",
            Self::Grant => "grant",
        }
    }
}

/// Not a test: the other process. It says when it is ready, waits for a word, and answers.
#[test]
fn other_process() {
    let (Ok(folder), Ok(name)) = (std::env::var(FOLDER), std::env::var(ACT)) else { return };
    let act = Act::ALL.into_iter().find(|act| act.name() == name).unwrap();
    let folder = Path::new(&folder);
    let started = (act != Act::Start).then(|| open(folder, act).unwrap());
    say("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let host = started.unwrap_or_else(|| open(folder, act).unwrap());
    match self::act(&host, folder, act) {
        Outcome::Answered(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            say(&format!("answered {hex}"));
        }
        Outcome::Refused(reason) => say(&format!("refused {reason}")),
    }
}

/// One line, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Does it once.
pub(crate) fn act(host: &TestHost, folder: &Path, act: Act) -> Outcome {
    let (site, hq) = (host, host);
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    let answer = match act {
        Act::Start => Ok(Vec::new()),
        Act::Provision => {
            let entitlement = String::from_utf8(read("entitlement")).unwrap();
            provision(site, &entitlement, "SN:1", &read("request"))
                .map(|identity| identity.encode_to_vec())
        }
        Act::Import => import(site, &read("second")).map(String::into_bytes),
        Act::Export => export(site),
        Act::Receipt => receipt(site, &read("receipt")),
        Act::Rotate => rotate(site, &read("keys")),
        Act::ImportKeys => import_keys(site, &read("key-file")),
        Act::Load => load(hq, POOL, &given(&read("given"))),
        Act::Grant => grant(hq, &read("order")),
    };
    match answer {
        Ok(bytes) => Outcome::Answered(bytes),
        Err(status) => Outcome::Refused(status.reason),
    }
}

/// A host's hardware in a folder, new.
pub(crate) fn create(folder: &Path) -> Hardware {
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).unwrap();
    let platform = EmulatedPlatform::create(&dir).unwrap();
    let secret = platform.sealing_secret().unwrap();
    let store = Embedded::create(&dir, "store", &Identity::new(STORE_ID, NODE), &secret).unwrap();
    Hardware { store: Arc::new(store), store_id: STORE_ID, platform: Arc::new(platform) }
}

/// The host of a folder, started.
pub(crate) fn open(folder: &Path, act: Act) -> Result<TestHost, OpenError> {
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).unwrap();
    let platform = EmulatedPlatform::open(&dir).map_err(OpenError::Platform)?;
    let secret = platform.sealing_secret().map_err(OpenError::Platform)?;
    let identity = Identity::new(STORE_ID, NODE);
    let store = Embedded::open(&dir, "store", &identity, &secret).map_err(OpenError::Store)?;
    let (store, platform) = (Arc::new(store), Arc::new(platform));
    let mut stopped = if act.is_at_headquarters() {
        Stopped::headquarters("berlin")
    } else {
        Stopped::site("shenzhen")
    };
    if act.is_at_headquarters() {
        stopped.with_plugin::<EntitlementPlugin>();
    } else {
        stopped.with_plugin::<DeviceKeyPlugin>();
    }
    stopped.start_on(Hardware { store, store_id: STORE_ID, platform })
}

pub(crate) fn provision(
    site: &TestHost,
    entitlement: &str,
    subject: &str,
    csr: &[u8],
) -> Result<line::DeviceIdentity, Status> {
    let request = line::ProvisionRequest {
        entitlement: entitlement.to_owned(),
        subject: subject.to_owned(),
        serial: None,
        csr: csr.to_vec(),
        fields: Default::default(),
    };
    site.call("station", "line-4", "Provision", &request)
}

pub(crate) fn import(site: &TestHost, file: &[u8]) -> Result<String, Status> {
    let request = line::ImportRequest { file_id: site.try_stage(file)? };
    let imported: line::ImportResponse = site.call("operator", "mei", "Import", &request)?;
    Ok(imported.entitlement)
}

pub(crate) fn export(site: &TestHost) -> Result<Vec<u8>, Status> {
    let request = line::ExportBundleRequest::default();
    let exported: line::ExportBundleResponse =
        site.call("auditor", "eve", "ExportBundle", &request)?;
    site.fetch(&exported.file_id)
}

/// The keys of the site to which others seal, side by side.
pub(crate) fn keys(site: &TestHost) -> Vec<u8> {
    let keys = block_on(site.custody().host_keys()).unwrap();
    keys.iter().filter(|key| key.retired.is_none()).flat_map(|key| key.key).collect()
}

/// Replaces these keys; gives those in their place.
fn rotate(site: &TestHost, old: &[u8]) -> Result<Vec<u8>, Status> {
    let old: Vec<_> = old.as_chunks().0.to_vec();
    let rotated = block_on(site.custody().rotate_keys(admin(site), &old));
    rotated.map(|_| keys(site)).map_err(status)
}

/// Somebody who may do what no plugin does.
pub(crate) fn admin(host: &TestHost) -> Session {
    let session = if host.uri().contains("/site/") {
        host.session_of::<DeviceKeyPlugin>("admin", "ada")
    } else {
        host.session_of::<EntitlementPlugin>("admin", "ada")
    };
    Session { plugin: None, ..session }
}

fn status(refusal: Refusal) -> Status {
    Status::invalid(refusal.reason.code(), refusal.detail)
}

/// Given keys, as they lie in a file: a length of two bytes before each.
pub(crate) fn given(mut file: &[u8]) -> Vec<SecretBytes> {
    let mut keys = Vec::new();
    while let Some((length, rest)) = file.split_first_chunk() {
        let (key, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        keys.push(SecretBytes::new(key.to_vec()));
        file = rest;
    }
    keys
}

/// Loads a pool of one chunk; gives how many keys are in it.
pub(crate) fn load(hq: &TestHost, name: &str, keys: &[SecretBytes]) -> Result<Vec<u8>, Status> {
    let load = PoolLoad {
        name: name.to_owned(),
        plugin: "entitlement".to_owned(),
        algorithm: "ecdsa-p256".to_owned(),
        keys: keys.len() as u64,
        digest: load_digest(&[given_digest(keys.iter().map(SecretBytes::expose))]),
    };
    block_on(hq.custody().begin_load(admin(hq), &load)).map_err(status)?;
    let reached = block_on(hq.custody().load_chunk(admin(hq), name, 0, keys)).map_err(status)?;
    assert!(reached.whole, "{reached:?}");
    Ok(reached.keys.to_be_bytes().to_vec())
}

/// Grants an order; gives the file to carry, and the key file.
pub(crate) fn grant(hq: &TestHost, order: &[u8]) -> Result<Vec<u8>, Status> {
    let order = office::CreateRequest::decode(order).unwrap();
    let created: office::CreateResponse = hq.call("admin", "ada", "Create", &order)?;
    let message = hq.fetch(&created.file_id)?;
    let key_file = block_on(hq.custody().key_file(admin(hq), &created.entitlement));
    Ok([message, hq.fetch(&key_file.map_err(status)?)?].concat())
}

/// Imports a key file; gives how many keys are here.
fn import_keys(site: &TestHost, file: &[u8]) -> Result<Vec<u8>, Status> {
    let file = KeyFile::parse(file).unwrap();
    let custody = site.custody();
    let begun = block_on(custody.begin_keys(admin(site), file.head()));
    let (entitlement, mut reached) = begun.map_err(status)?;
    for (chunk, sealed) in (0..).zip(file.chunks().unwrap()) {
        let taken = block_on(custody.import_keys(admin(site), &entitlement, chunk, sealed));
        reached = taken.map_err(status)?;
    }
    assert!(reached.whole, "{reached:?}");
    Ok(reached.keys.to_be_bytes().to_vec())
}

pub(crate) fn receipt(site: &TestHost, file: &[u8]) -> Result<Vec<u8>, Status> {
    let request = line::ImportReceiptRequest { file_id: site.try_stage(file)? };
    let taken: line::ImportReceiptResponse =
        site.call("operator", "mei", "ImportReceipt", &request)?;
    Ok(taken.bundle)
}

/// An order of device-born devices with room in every limit.
pub(crate) fn order(site: &TestHost, number: &str) -> office::CreateRequest {
    let now_ms = site.clock().now_ms();
    office::CreateRequest {
        order_number: number.to_owned(),
        site: site.uri(),
        product: Some(office::Product {
            id: "thermostat-2".to_owned(),
            name: "Thermostat 2".to_owned(),
            origin: office::KeyOrigin::DeviceBorn.into(),
            algorithm: "ecdsa-p256".to_owned(),
            delivery: office::Delivery::None.into(),
            template: Some(office::CertificateTemplate {
                organization: "Acme".to_owned(),
                model: "T2".to_owned(),
                fields: Vec::new(),
            }),
            serial: Some(office::product::Serial::Assigned(office::AssignedSerial {
                prefix: format!("{number}-"),
                digits: 6,
                start: 1,
                check: office::CheckDigit::None.into(),
            })),
            ..office::Product::default()
        }),
        terms: Some(office::Terms {
            total: TOTAL,
            not_before_ms: now_ms,
            not_after_ms: now_ms + 30 * 86_400_000,
            rates: vec![office::Rate { units: 100, per_seconds: 10 }],
            audit_return: Some(office::AuditReturn { units: AUDIT_RETURN, seconds: 7 * 86_400 }),
            scrap_allowance: Some(2),
            ..office::Terms::default()
        }),
        plugin: String::new(),
    }
}

/// An order of given keys, one for each of the pool's.
pub(crate) fn order_of_given(site: &TestHost, number: &str) -> office::CreateRequest {
    let mut request = order(site, number);
    let product = request.product.as_mut().unwrap();
    product.id = "license".to_owned();
    product.origin = office::KeyOrigin::Pool.into();
    product.pool = POOL.to_owned();
    product.delivery = office::Delivery::SealedToDevice.into();
    let terms = request.terms.as_mut().unwrap();
    terms.total = GIVEN as u64;
    terms.audit_return = Some(office::AuditReturn { units: 100, seconds: 7 * 86_400 });
    terms.confirm_proof = office::ConfirmProof::None.into();
    request
}
