//! One node of a new cluster, served for real: custody over a store in memory, the runtime, TLS on
//! a socket.

#![allow(dead_code, reason = "each test binary uses its own part of the world")]

mod gate;
mod room;

use std::{net::SocketAddr, sync::Arc};

use cap_std::{ambient_authority, fs::Dir};
use mintmark_crypto::{
    random,
    sign::{SignatureAlgorithm, SigningKey},
};
use mintmark_custody::{Custody, Parts, RootAnswer, Settings, SystemTimeSource, genesis};
use mintmark_exchange::{
    SignedOrder, canonical,
    charter::{Approver, Charter},
    order::{CHARTER, signed_bytes},
};
use mintmark_model::Role;
use mintmark_pki::{
    ClusterPath, ClusterRole, LeafKind, TrustKind, Validity, VerifiedCsr, issue, request,
};
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_rpc::{
    Server,
    client::{ClientConfig, Connection, Failure, OpenError},
    proto::admin::{IssueUserRequest, users_client::UsersClient},
};
use mintmark_runtime::{Runtime, RuntimeConfig};
use mintmark_store::{Identity, Memory, Store};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use zeroize::Zeroizing;

/// A served node.
pub(crate) struct World {
    pub(crate) custody: Custody,
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    pub(crate) server_name: String,
    pub(crate) admin: Person,
    /// What commits pass.
    pub(crate) gate: Arc<gate::Gate>,
    /// What its disk has room for.
    pub(crate) room: room::Room,
    root: Vec<u8>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    _platform: TempDir,
}

/// Somebody with a certificate.
pub(crate) struct Person {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
}

fn new_key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The root's answer to a node's request.
fn sign_cluster(csr: &[u8], cluster: &ClusterPath, admin: &SigningKey) -> RootAnswer {
    let key = new_key();
    let validity = Validity::days(wall_ms() - 60_000, 30).unwrap();
    let root = issue::root_ca(&key, cluster.organization(), TrustKind::Trial, validity).unwrap();
    let certificate = issue::sign_cluster(&key, &root, csr, cluster, validity).unwrap();
    let admin_csr = VerifiedCsr::check(&request::csr(admin, "root").unwrap()).unwrap();
    let charter = Charter {
        version: 1,
        cluster: cluster.to_string(),
        approvers: vec![Approver { name: "root".to_owned(), key_hash: admin_csr.key_hash() }],
        floor_m: 1,
        trusted_plugins: Vec::new(),
        issued_at: wall_ms(),
    };
    let body = canonical::encode(&charter);
    let signature = key.sign(&signed_bytes(CHARTER, &body));
    let charter = SignedOrder { body, chain: vec![root.clone()], signature }.encode();
    RootAnswer { root, certificate, charter }
}

impl World {
    /// A site with one admin, serving.
    pub(crate) async fn start() -> Self {
        let platform_dir = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(platform_dir.path(), ambient_authority()).unwrap();
        let platform = Arc::new(EmulatedPlatform::create(&dir).unwrap());
        let store_id = random::array();
        let identity = Identity { store_id, node: "n1".to_owned() };
        let gate = Arc::<gate::Gate>::default();
        let store: Arc<dyn Store> = Arc::new(gate::Gated {
            store: Arc::new(Memory::new(&identity)),
            gate: Arc::clone(&gate),
        });
        let room = room::Room::default();
        let cluster = ClusterPath::new("acme", ClusterRole::Site, "shenzhen").unwrap();
        let prepared = genesis::prepare(&store, &store_id, &*platform, &cluster, "n1").await;
        let key = new_key();
        let answer = sign_cluster(&prepared.unwrap(), &cluster, &key);
        let root = answer.root.clone();
        let time = Box::new(SystemTimeSource::default());
        let (space, settings) = (Box::new(room.clone()), Settings::default());
        let parts = Parts { store, store_id, platform, time, space, settings };
        let csr = request::csr(&key, "root").unwrap();
        let (custody, issued) = genesis::install(parts, answer, ("root", &csr)).await.unwrap();
        let runtime = Runtime::new(custody.clone(), RuntimeConfig::default(), None).unwrap();
        let admin = Person { key, chain: issued.chain };
        let server_name = cluster.leaf(LeafKind::Node, "n1").unwrap().dns_name();
        let mut world = Self {
            custody,
            runtime,
            address: ([127, 0, 0, 1], 0).into(),
            server_name,
            admin,
            gate,
            room,
            root,
            stop: None,
            serving: None,
            _platform: platform_dir,
        };
        world.serve().await;
        world
    }

    /// Serves, at the address where it served before.
    pub(crate) async fn serve(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (custody, runtime) = (self.custody.clone(), self.runtime.clone());
        let server = Server::bind(listener, custody, runtime).await.unwrap();
        self.address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        self.serving = Some(tokio::spawn(async move {
            server.serve(async { drop(stopped.await) }).await.unwrap();
        }));
    }

    /// Asks the server to stop; the task ends when it has drained.
    pub(crate) fn stop(&mut self) -> JoinHandle<()> {
        let stop = self.stop.take().unwrap();
        stop.send(()).unwrap();
        self.serving.take().unwrap()
    }

    /// What `person` needs to connect.
    pub(crate) fn config(&self, person: &Person) -> ClientConfig {
        ClientConfig {
            address: self.address.to_string(),
            server_name: self.server_name.clone(),
            root: self.root.clone(),
            chain: person.chain.clone(),
            key: Zeroizing::new(person.key.to_pkcs8().expose().to_vec()),
        }
    }

    /// A connection of `person`.
    pub(crate) async fn connect(&self, person: &Person) -> Result<Connection, OpenError> {
        Connection::open(self.config(person)).await
    }

    /// The admin's connection.
    pub(crate) async fn as_admin(&self) -> Connection {
        self.connect(&self.admin).await.unwrap()
    }

    /// The admin issues a certificate for somebody new.
    pub(crate) async fn hire(&self, role: Role, name: &str) -> Result<Person, Failure> {
        let key = new_key();
        let request = IssueUserRequest {
            role: role.name().to_owned(),
            name: name.to_owned(),
            csr: request::csr(&key, name).unwrap(),
            ..IssueUserRequest::default()
        };
        let mut users = UsersClient::new(self.as_admin().await.channel());
        let issued = users.issue_user(request).await?.into_inner();
        Ok(Person { key, chain: issued.chain })
    }
}
