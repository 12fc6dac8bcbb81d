//! Hosts before an act, and what the act takes.

use std::path::Path;

use mintmark_crypto::SecretBytes;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::bundle::{BundleHead, FrameReader};
use mintmark_exchange::canonical::decode;
use mintmark_exchange::checkpoint::{Checkpoint, Position};
use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::{Device, TestHost, World};
use prost::Message as _;
use tempfile::TempDir;

use crate::victim::{self, Act, GIVEN, POOL};

/// A host before the act, and what the acts need.
pub(crate) struct Eve {
    folder: TempDir,
    /// Headquarters, where the act is a site's.
    headquarters: Option<TestHost>,
    /// The site's first entitlement; none at headquarters.
    pub(crate) entitlement: String,
    /// How many of its units were issued.
    pub(crate) issued: u64,
    /// The last row for which the site has a receipt.
    pub(crate) receipted: Position,
    pub(crate) device: Device,
    /// The public keys of those that somebody gave.
    pub(crate) given: Vec<Vec<u8>>,
}

/// What a bundle says.
pub(crate) struct Bundle {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) rows: Vec<Vec<u8>>,
}

/// The longest bundle here.
const BUNDLE_BYTES_MAX: usize = 1 << 22;

impl Eve {
    pub(crate) fn of(act: Act) -> Self {
        if act.is_at_headquarters() { Self::of_headquarters(act) } else { Self::of_site(act) }
    }

    /// Headquarters knows a site that is gone.
    fn of_headquarters(act: Act) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new();
        let mut hq = world.headquarters_on("berlin", victim::create(folder.path()));
        hq.install::<EntitlementPlugin>();
        let mut site = world.site("shenzhen");
        site.install::<DeviceKeyPlugin>();
        world.introduce(&hq, &site);
        let (keys, given) = keys();
        if act == Act::Grant {
            victim::load(&hq, POOL, &victim::given(&keys)).unwrap();
        }
        drop(hq.stop());
        write(folder.path(), "given", &keys);
        let order = victim::order_of_given(&site, "PO-1");
        write(folder.path(), "order", &order.encode_to_vec());
        Self {
            folder,
            headquarters: None,
            entitlement: String::new(),
            issued: 0,
            receipted: Position::default(),
            device: Device::new(),
            given,
        }
    }

    /// The site takes headquarters' messages in their order: what the act takes is the next.
    fn of_site(act: Act) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new();
        let mut hq = world.headquarters("berlin");
        hq.install::<EntitlementPlugin>();
        let mut site = world.site_on("shenzhen", victim::create(folder.path()));
        site.install::<DeviceKeyPlugin>();
        world.introduce(&hq, &site);
        site.enrol_station("line-4", &[]);
        let write = |name, bytes: &[u8]| write(folder.path(), name, bytes);
        let granted = |number| grant(&hq, &victim::order(&site, number));
        let entitlement = victim::import(&site, &granted("PO-1")).unwrap();
        let (device, mut issued) = (Device::new(), 1);
        victim::provision(&site, &entitlement, "SN:0", &Device::new().csr()).unwrap();
        if act == Act::Import {
            write("second", &granted("PO-2"));
        }
        let (keys, given) = keys();
        if act == Act::ImportKeys {
            write("key-file", &give(&hq, &site, &keys));
        }
        let bundle = victim::export(&site).unwrap();
        // Headquarters opens a bundle no more once it is ingested.
        let to = Bundle::read(&hq, &bundle).checkpoint.to;
        let receipt = ingest(&hq, &bundle);
        let mut receipted = Position::default();
        if act == Act::Export {
            victim::receipt(&site, &receipt).unwrap();
            receipted = to;
            victim::provision(&site, &entitlement, "SN:2", &Device::new().csr()).unwrap();
            issued += 1;
        }
        write("keys", &victim::keys(&site));
        drop(site.stop());
        write("receipt", &receipt);
        write("request", &device.csr());
        write("entitlement", entitlement.as_bytes());
        let headquarters = Some(hq);
        Self { folder, headquarters, entitlement, issued, receipted, device, given }
    }

    /// A copy of everything, for one death.
    pub(crate) fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    /// A bundle of the site's, as headquarters reads it.
    pub(crate) fn read(&self, bundle: &[u8]) -> Bundle {
        Bundle::read(self.headquarters.as_ref().unwrap(), bundle)
    }
}

impl Bundle {
    fn read(hq: &TestHost, file: &[u8]) -> Self {
        let file = hq.stage(file);
        let body = hq.run::<EntitlementPlugin, _>("auditor", "eva", || {
            Ok(messages::open(Purpose::Bundle, &file)?.read_all(BUNDLE_BYTES_MAX)?)
        });
        let (mut frames, body) = (FrameReader::new(), body.unwrap());
        let mut rest = &body[..];
        let mut next = || frames.next_frame(&mut rest).unwrap();
        let head: BundleHead = decode(&next().unwrap(), BUNDLE_BYTES_MAX).unwrap();
        assert_eq!(head.checkpoints.len(), 1, "a cluster has one node");
        let mut rows = Vec::new();
        loop {
            let row = next().expect("an empty frame ends the rows");
            if row.is_empty() {
                break;
            }
            rows.push(row);
        }
        assert_eq!(next(), None, "nothing follows");
        assert!(frames.is_between_frames());
        Self { checkpoint: head.checkpoints[0].open().unwrap(), rows }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// What a licensing authority gives, as [`victim::given`] reads it, and the public keys.
fn keys() -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut file, mut public) = (Vec::new(), Vec::new());
    for _ in 0..GIVEN {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let encoded: SecretBytes = key.to_pkcs8();
        file.extend_from_slice(&u16::try_from(encoded.len()).unwrap().to_be_bytes());
        file.extend_from_slice(encoded.expose());
        public.push(key.public_key_info().to_vec());
    }
    (file, public)
}

fn grant(hq: &TestHost, order: &office::CreateRequest) -> Vec<u8> {
    let created: office::CreateResponse = hq.call("admin", "ada", "Create", order).unwrap();
    hq.fetch(&created.file_id).unwrap()
}

/// The site takes a grant of given keys; the file that carries these is the act's.
fn give(hq: &TestHost, site: &TestHost, keys: &[u8]) -> Vec<u8> {
    victim::load(hq, POOL, &victim::given(keys)).unwrap();
    let order = victim::order_of_given(site, "PO-3");
    let entitlement = victim::import(site, &grant(hq, &order)).unwrap();
    let file = futures_executor::block_on(hq.custody().key_file(victim::admin(hq), &entitlement));
    hq.fetch(&file.unwrap()).unwrap()
}

fn ingest(hq: &TestHost, bundle: &[u8]) -> Vec<u8> {
    let request = office::IngestRequest { file_id: hq.stage(bundle) };
    loop {
        let step: office::IngestResponse = hq.call("auditor", "eva", "Ingest", &request).unwrap();
        if step.done {
            return hq.fetch(&step.receipt_file_id).unwrap();
        }
    }
}
