//! The site that is killed: what it does, and how it is opened.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use cap_std::{ambient_authority, fs::Dir};
use futures_executor::block_on;
use mintmark_custody::{OpenError, Session};
use mintmark_platform::Platform as _;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::{Hardware, NODE, Stopped, TestHost};
use mintmark_store::{Embedded, Identity};
use prost::Message as _;

/// Names the folder of the process that is to be killed, and what it is to do.
pub(crate) const FOLDER: &str = "MINTMARK_KILL_FOLDER";
pub(crate) const ACT: &str = "MINTMARK_KILL_ACT";
const STORE_ID: [u8; 16] = [7; 16];

/// What is done when the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Start,
    Provision,
    Import,
    Export,
    Receipt,
    Rotate,
}

/// What an act came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(Vec<u8>),
    Refused(String),
}

impl Act {
    pub(crate) const ALL: [Self; 6] =
        [Self::Start, Self::Provision, Self::Import, Self::Export, Self::Receipt, Self::Rotate];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Provision => "provision",
            Self::Import => "import",
            Self::Export => "export",
            Self::Receipt => "receipt",
            Self::Rotate => "rotate",
        }
    }
}

/// Not a test: the other process. It says when it is ready, waits for a word, and answers.
#[test]
fn other_process() {
    let (Ok(folder), Ok(name)) = (std::env::var(FOLDER), std::env::var(ACT)) else { return };
    let act = Act::ALL.into_iter().find(|act| act.name() == name).unwrap();
    let folder = Path::new(&folder);
    let started = (act != Act::Start).then(|| open(folder).unwrap());
    say("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let site = started.unwrap_or_else(|| open(folder).unwrap());
    match self::act(&site, folder, act) {
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
pub(crate) fn act(site: &TestHost, folder: &Path, act: Act) -> Outcome {
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    let answer = match act {
        Act::Start => Ok(Vec::new()),
        Act::Provision => {
            let entitlement = String::from_utf8(read("entitlement")).unwrap();
            provision(site, &entitlement, "SN:1", &read("request"))
                .map(|identity| identity.encode_to_vec())
        }
        Act::Import => import(site, &read("second")).map(String::into_bytes),
        Act::Export => export(site).map(|_| Vec::new()),
        Act::Receipt => receipt(site, &read("receipt")),
        Act::Rotate => rotate(site, &read("keys")),
    };
    match answer {
        Ok(bytes) => Outcome::Answered(bytes),
        Err(status) => Outcome::Refused(status.reason),
    }
}

/// A site's hardware in a folder, new.
pub(crate) fn create(folder: &Path) -> Hardware {
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).unwrap();
    let platform = EmulatedPlatform::create(&dir).unwrap();
    let secret = platform.sealing_secret().unwrap();
    let store = Embedded::create(&dir, "store", &Identity::new(STORE_ID, NODE), &secret).unwrap();
    Hardware { store: Arc::new(store), store_id: STORE_ID, platform: Arc::new(platform) }
}

/// The site of a folder, started.
pub(crate) fn open(folder: &Path) -> Result<TestHost, OpenError> {
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).unwrap();
    let platform = EmulatedPlatform::open(&dir).map_err(OpenError::Platform)?;
    let secret = platform.sealing_secret().map_err(OpenError::Platform)?;
    let identity = Identity::new(STORE_ID, NODE);
    let store = Embedded::open(&dir, "store", &identity, &secret).map_err(OpenError::Store)?;
    let (store, platform) = (Arc::new(store), Arc::new(platform));
    let mut stopped = Stopped::site("shenzhen");
    stopped.with_plugin::<DeviceKeyPlugin>();
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
    let session = Session { plugin: None, ..site.session_of::<DeviceKeyPlugin>("admin", "ada") };
    let old: Vec<_> = old.as_chunks().0.to_vec();
    let rotated = block_on(site.custody().rotate_keys(session, &old));
    rotated
        .map(|_| keys(site))
        .map_err(|refusal| Status::invalid(refusal.reason.code(), refusal.detail))
}

fn receipt(site: &TestHost, file: &[u8]) -> Result<Vec<u8>, Status> {
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
            total: 10,
            not_before_ms: now_ms,
            not_after_ms: now_ms + 30 * 86_400_000,
            rates: vec![office::Rate { units: 100, per_seconds: 10 }],
            audit_return: Some(office::AuditReturn { units: 100, seconds: 7 * 86_400 }),
            scrap_allowance: Some(2),
            ..office::Terms::default()
        }),
        plugin: String::new(),
    }
}
