//! A site of its own for each test: custody over a store in memory, an emulated platform, a root
//! that signs it.

#![allow(dead_code, reason = "each test binary uses its own part of the site")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod stall;

use std::sync::Arc;

use cap_tempfile::{TempDir, ambient_authority};

use mintmark_crypto::random;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_custody::{
    Custody, Endless, Parts, RootAnswer, Session, Settings, TimeSource, genesis,
};
use mintmark_exchange::charter::{Approver, Charter};
use mintmark_exchange::order::{CHARTER, signed_bytes};
use mintmark_exchange::{SignedOrder, canonical};
use mintmark_model::{Principal, Role};
use mintmark_pki::{ClusterPath, ClusterRole, TrustKind, Validity, VerifiedCsr, issue, request};
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_store::{Identity, Memory, Store};

use stall::{Gate, Stalling, Stalls};

/// The time at the site: it stands still.
const NOW_MS: u64 = 1_800_000_000_000;

/// A site.
pub(crate) struct Site {
    pub(crate) custody: Custody,
    pub(crate) cache: TempDir,
    #[allow(dead_code, reason = "one test binary alone uses it")]
    pub(crate) stalls: Stalls,
    pub(crate) gate: Arc<Gate>,
    _platform: TempDir,
}

struct StandingClock;

impl TimeSource for StandingClock {
    fn wall_ms(&self) -> u64 {
        NOW_MS
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}

impl Site {
    /// A new site with one admin.
    pub(crate) async fn new() -> Self {
        let dir = cap_tempfile::tempdir(ambient_authority()).unwrap();
        let platform = Arc::new(EmulatedPlatform::create(&dir).unwrap());
        let store_id = random::array();
        let identity = Identity { store_id, node: "n1".to_owned() };
        let (store, stalls) = (Arc::new(Memory::new(&identity)), Stalls::default());
        let gate = Arc::new(Gate::default());
        let stalling = Stalling { store, gate: Arc::clone(&gate), stalls: Arc::clone(&stalls) };
        let store: Arc<dyn Store> = Arc::new(stalling);
        let cluster = ClusterPath::new("acme", ClusterRole::Site, "shenzhen").unwrap();
        let asked = genesis::prepare(&store, &store_id, &*platform, &cluster, "n1").await.unwrap();
        let admin = new_key();
        let answer = answer(&asked, &cluster, &admin);
        let time = Box::new(StandingClock);
        let (space, settings) = (Box::new(Endless), Settings::default());
        let parts = Parts { store, store_id, platform, time, space, settings };
        let csr = request::csr(&admin, "root").unwrap();
        let (custody, _) = genesis::install(parts, answer, ("root", &csr)).await.unwrap();
        let cache = cap_tempfile::tempdir(ambient_authority()).unwrap();
        Self { custody, cache, stalls, gate, _platform: dir }
    }

    /// A session of the admin.
    pub(crate) fn session(&self, method: &str, message: &[u8]) -> Session {
        let principal = Principal {
            organization: "acme".to_owned(),
            cluster: "site/shenzhen".to_owned(),
            role: Role::Admin,
            name: "root".to_owned(),
        };
        Session::new(principal, None, method, message)
    }
}

fn new_key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

/// The root's answer to the site's request.
fn answer(csr: &[u8], cluster: &ClusterPath, admin: &SigningKey) -> RootAnswer {
    let key = new_key();
    let validity = Validity::days(NOW_MS - 60_000, 30).unwrap();
    let root = issue::root_ca(&key, cluster.organization(), TrustKind::Trial, validity).unwrap();
    let certificate = issue::sign_cluster(&key, &root, csr, cluster, validity).unwrap();
    let admin = VerifiedCsr::check(&request::csr(admin, "root").unwrap()).unwrap();
    let charter = Charter {
        version: 1,
        cluster: cluster.to_string(),
        approvers: vec![Approver { name: "root".to_owned(), key_hash: admin.key_hash() }],
        floor_m: 1,
        trusted_plugins: Vec::new(),
        issued_at: NOW_MS,
    };
    let body = canonical::encode(&charter);
    let signature = key.sign(&signed_bytes(CHARTER, &body));
    let charter = SignedOrder { body, chain: vec![root.clone()], signature }.encode();
    RootAnswer { root, certificate, charter }
}
