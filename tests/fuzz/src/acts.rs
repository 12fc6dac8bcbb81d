//! What the host's own services hand to custody: key files, statements, requests, and messages that
//! were changed on their way.

use futures_executor::block_on;
use mintmark_crypto::SecretBytes;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_custody::Session;
use mintmark_custody::pools::PoolLoad;
use mintmark_exchange::pool::{KeyFile, given_digest, load_digest};
use mintmark_model::{Reason, Refusal};
use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::TestHost;

use crate::calls::{Factory, order};
use crate::parts;

/// The keys of the entitlement whose key file is sent.
const KEYS: usize = 3;

/// Two hosts, and what travels between them.
pub struct Acts {
    factory: Factory,
    key_file: Vec<u8>,
    identity: Vec<u8>,
    /// How many acts there were.
    pub count: u32,
}

impl Default for Acts {
    fn default() -> Self {
        Self::new()
    }
}

impl Acts {
    /// A new world, in which a site waits for a key file.
    ///
    /// # Panics
    /// Where a host refuses what it always takes.
    pub fn new() -> Self {
        let factory = Factory::new();
        let algorithm = SignatureAlgorithm::EcdsaP256;
        let keys: Vec<_> = (0..KEYS).map(|_| SigningKey::generate(algorithm).to_pkcs8()).collect();
        load(&factory.hq, "licences", algorithm, &keys).expect("the keys are new");
        let mut request = order(&factory.site);
        request.order_number = "PO-2".to_owned();
        let product = request.product.as_mut().expect("an order has a product");
        product.id = "license".to_owned();
        product.origin = office::KeyOrigin::Pool.into();
        product.pool = "licences".to_owned();
        product.delivery = office::Delivery::SealedToDevice.into();
        let terms = request.terms.as_mut().expect("an order has terms");
        terms.total = KEYS as u64;
        terms.confirm_proof = office::ConfirmProof::None.into();
        let created: office::CreateResponse =
            factory.hq.call("admin", "ada", "Create", &request).expect("the order is sound");
        let file = factory.hq.fetch(&created.file_id).expect("it was staged");
        let request = line::ImportRequest { file_id: factory.site.stage(&file) };
        let imported: line::ImportResponse =
            factory.site.call("operator", "mei", "Import", &request).expect("it is for the site");
        let found = factory.hq.custody().key_file(at_hq(&factory.hq), &imported.entitlement);
        let key_file = block_on(found).expect("the grant has a key file");
        let key_file = factory.hq.fetch(&key_file).expect("it was staged");
        let identity = factory.site.export_identity();
        Self { factory, key_file, identity, count: 0 }
    }

    /// Does what the first byte says with the rest.
    ///
    /// # Panics
    /// Where a store is damaged by what came, and where a message that was changed is taken.
    pub fn act(&mut self, which: u8, bytes: &[u8]) {
        self.count += 1;
        self.factory.world.pass_ms(1);
        match which % 8 {
            algorithm @ 0..3 => {
                self.load_keys(SignatureAlgorithm::ALL[usize::from(algorithm)], bytes);
            }
            3 => self.import_keys(bytes),
            4 => self.decide(bytes),
            5 => self.import_identity(bytes),
            6 => self.issue(bytes),
            _ => self.import(bytes),
        }
    }

    /// A load of one chunk: each part is a key.
    fn load_keys(&self, algorithm: SignatureAlgorithm, bytes: &[u8]) {
        let keys: Vec<_> =
            parts(bytes).into_iter().map(|it| SecretBytes::new(it.to_vec())).collect();
        sound(load(&self.factory.hq, &format!("load-{}", self.count), algorithm, &keys));
    }

    fn import_keys(&self, changes: &[u8]) {
        let file = changed(&self.key_file, changes);
        let Ok(file) = KeyFile::parse(&file) else { return };
        let site = self.factory.site.custody();
        let begun = block_on(site.begin_keys(at_site(&self.factory.site), file.head()));
        let Some((entitlement, _)) = sound(begun) else { return };
        for (chunk, sealed) in (0..).zip(file.chunks().unwrap_or_default()) {
            let session = at_site(&self.factory.site);
            sound(block_on(site.import_keys(session, &entitlement, chunk, sealed)));
        }
    }

    fn decide(&self, statement: &[u8]) {
        let hq = &self.factory.hq;
        sound(block_on(hq.custody().decide_approval(at_hq(hq), statement)));
    }

    fn import_identity(&self, changes: &[u8]) {
        let file = changed(&self.identity, changes);
        let taken = self.factory.hq.import_identity(&file);
        assert!(taken.is_err() || file == self.identity, "an identity that was changed");
    }

    fn issue(&self, request: &[u8]) {
        let hq = &self.factory.hq;
        let name = format!("line-{}", self.count);
        let issued = hq.custody().issue_user(at_hq(hq), "operator", &name, request, None, &[]);
        sound(block_on(issued));
    }

    fn import(&self, changes: &[u8]) {
        let site = &self.factory.site;
        let file = changed(&self.factory.file, changes);
        let Ok(file_id) = site.try_stage(&file) else { return };
        let request = line::ImportRequest { file_id };
        let taken: Result<line::ImportResponse, _> =
            site.call("operator", "mei", "Import", &request);
        let refused = taken.expect_err("it was imported before");
        assert_ne!(refused.reason, "PLUGIN_FAULT");
    }
}

/// Announces and sends keys of one chunk.
fn load(
    hq: &TestHost,
    name: &str,
    algorithm: SignatureAlgorithm,
    keys: &[SecretBytes],
) -> Result<(), Refusal> {
    let load = PoolLoad {
        name: name.to_owned(),
        plugin: "entitlement".to_owned(),
        algorithm: algorithm.name().to_owned(),
        keys: keys.len() as u64,
        digest: load_digest(&[given_digest(keys.iter().map(SecretBytes::expose))]),
    };
    block_on(hq.custody().begin_load(at_hq(hq), &load))?;
    block_on(hq.custody().load_chunk(at_hq(hq), name, 0, keys))?;
    Ok(())
}

/// The file with the bytes at some places changed: two bytes of place, one of change, each.
fn changed(file: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut changed = file.to_vec();
    for [high, low, change] in changes.as_chunks().0 {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % changed.len();
        changed[place] ^= change;
    }
    changed
}

/// Whatever came, the host can read its own store.
fn sound<T>(result: Result<T, Refusal>) -> Option<T> {
    if let Err(refusal) = &result {
        assert_ne!(refusal.reason, Reason::Unavailable, "{}", refusal.detail);
    }
    result.ok()
}

fn at_hq(host: &TestHost) -> Session {
    Session { plugin: None, ..host.session_of::<EntitlementPlugin>("admin", "ada") }
}

fn at_site(host: &TestHost) -> Session {
    Session { plugin: None, ..host.session_of::<DeviceKeyPlugin>("operator", "mei") }
}
