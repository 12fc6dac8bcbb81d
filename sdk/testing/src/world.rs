//! One organisation: a root, and the clusters that it certifies.

use std::sync::{Arc, Mutex, PoisonError};

use futures_executor::block_on;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_custody::{Custody, Parts, RootAnswer, Settings, genesis};
use mintmark_exchange::canonical::encode;
use mintmark_exchange::charter::{self, Charter};
use mintmark_exchange::order::{CHARTER, SignedOrder, signed_bytes};
use mintmark_pki::{ClusterPath, ClusterRole, TrustKind, Validity, issue, request};

use crate::approvers::{APPROVERS, QUORUM, Voter};
use crate::clock::{EPOCH_MS, TestClock};
use crate::hardware::{Hardware, NODE};
use crate::host::TestHost;
use crate::space::TestSpace;

/// The organisation of every world.
pub(crate) const ORGANIZATION: &str = "acme";

/// An organisation with a root CA, in which hosts are made. Everything under it is a trial.
pub struct World {
    root_key: SigningKey,
    root: Vec<u8>,
    clocks: Mutex<Vec<TestClock>>,
    approvers: Arc<[Voter]>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world of its own, on the first of January 2026.
    pub fn new() -> Self {
        let root_key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let validity = Validity::days(EPOCH_MS, 3_650).expect("the window is one");
        let root = issue::root_ca(&root_key, ORGANIZATION, TrustKind::Trial, validity)
            .expect("the organisation's name is one");
        let approvers = APPROVERS.into_iter().map(Voter::new).collect();
        Self { root_key, root, clocks: Mutex::default(), approvers }
    }

    /// A new headquarters, running, without plugins.
    ///
    /// # Panics
    /// For a name that is none.
    pub fn headquarters(&self, name: &str) -> TestHost {
        self.host(ClusterRole::Headquarters, name, Hardware::memory())
    }

    /// A new site, running, without plugins.
    ///
    /// # Panics
    /// For a name that is none.
    pub fn site(&self, name: &str) -> TestHost {
        self.host(ClusterRole::Site, name, Hardware::memory())
    }

    /// [`headquarters`](Self::headquarters) on hardware of the test's.
    ///
    /// # Panics
    /// For a name that is none, and a store that is not empty.
    pub fn headquarters_on(&self, name: &str, hardware: Hardware) -> TestHost {
        self.host(ClusterRole::Headquarters, name, hardware)
    }

    /// [`site`](Self::site) on hardware of the test's.
    ///
    /// # Panics
    /// For a name that is none, and a store that is not empty.
    pub fn site_on(&self, name: &str, hardware: Hardware) -> TestHost {
        self.host(ClusterRole::Site, name, hardware)
    }

    /// Lets time pass on the clocks of every host.
    pub fn pass_ms(&self, ms: u64) {
        for clock in self.clocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            clock.pass_ms(ms);
        }
    }

    /// Carries the identities of two hosts across the gap, both ways. Plugins that are installed
    /// later are not part of it.
    ///
    /// # Panics
    /// Where a host refuses the other's identity.
    pub fn introduce(&self, one: &TestHost, other: &TestHost) {
        let (of_one, of_other) = (one.export_identity(), other.export_identity());
        other.import_identity(&of_one).expect("a host of the same world is trusted");
        one.import_identity(&of_other).expect("a host of the same world is trusted");
    }

    /// The key of a CA that the root certifies for a host's cluster beside the host's own, and its
    /// certificate: what is forged with it is as authentic as what the host signs.
    ///
    /// # Panics
    /// Never, for a host of this world.
    pub fn second_ca(&self, host: &TestHost) -> (SigningKey, Vec<u8>) {
        let cluster = host.path();
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let csr = issue::cluster_csr(&key, cluster).expect("a cluster's name is one");
        let validity = Validity::days(EPOCH_MS, 3_650).expect("the window is one");
        let certificate = issue::sign_cluster(&self.root_key, &self.root, &csr, cluster, validity);
        (key, certificate.expect("the root certifies the clusters of its organisation"))
    }

    fn host(&self, role: ClusterRole, name: &str, hardware: Hardware) -> TestHost {
        let cluster = ClusterPath::new(ORGANIZATION, role, name).expect("a cluster has a name");
        let clock = TestClock::new(self.now_ms());
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner).push(clock.clone());
        let space = TestSpace::default();
        let custody = self.found(parts(&hardware, &clock, &space), &cluster);
        let senses = (clock, space);
        TestHost::new(cluster, hardware, senses, custody, Arc::clone(&self.approvers))
    }

    /// Both steps by which a node begins, with the root's answer between them.
    fn found(&self, parts: Parts, cluster: &ClusterPath) -> Custody {
        let Parts { store, store_id, platform, .. } = &parts;
        let prepared = genesis::prepare(store, store_id, &**platform, cluster, NODE);
        let csr = block_on(prepared).expect("an empty store can be prepared");
        let validity = Validity::days(EPOCH_MS, 3_650).expect("the window is one");
        let certificate = issue::sign_cluster(&self.root_key, &self.root, &csr, cluster, validity)
            .expect("the root certifies the clusters of its organisation");
        let charter = self.charter(cluster);
        let answer = RootAnswer { root: self.root.clone(), certificate, charter };
        let admin = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let admin_csr = request::csr(&admin, "admin").expect("the name fits a request");
        let installed = genesis::install(parts, answer, ("admin", &admin_csr));
        block_on(installed).expect("the root's answer fits the request").0
    }

    fn charter(&self, cluster: &ClusterPath) -> Vec<u8> {
        let charter = Charter {
            version: charter::VERSION,
            cluster: cluster.to_string(),
            approvers: self.approvers.iter().map(Voter::listed).collect(),
            floor_m: QUORUM,
            trusted_plugins: Vec::new(),
            issued_at: EPOCH_MS,
        };
        let body = encode(&charter);
        let signature = self.root_key.sign(&signed_bytes(CHARTER, &body));
        SignedOrder { body, chain: vec![self.root.clone()], signature }.encode()
    }

    /// What the clocks of the first host show: a host that is made later begins there.
    fn now_ms(&self) -> u64 {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.first().map_or(EPOCH_MS, TestClock::now_ms)
    }
}

/// What a node is opened with.
pub(crate) fn parts(hardware: &Hardware, clock: &TestClock, space: &TestSpace) -> Parts {
    Parts {
        store: Arc::clone(&hardware.store),
        store_id: hardware.store_id,
        platform: Arc::clone(&hardware.platform),
        time: Box::new(clock.clone()),
        space: Box::new(space.clone()),
        settings: Settings::default(),
    }
}
