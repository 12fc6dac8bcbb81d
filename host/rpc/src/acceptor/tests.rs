use std::net::SocketAddr;

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_model::{Reason, Role};
use mintmark_pki::{
    ClusterPath, ClusterRole, LeafKind, LeafUsage, TrustKind, TrustRoot, Usage, Validity, issue,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;

use super::*;

/// 2025-01-01, about.
const NOW_MS: u64 = 1_735_689_600_000;

/// A root and a cluster under it.
struct Tree {
    root: Vec<u8>,
    cluster: ClusterPath,
    cluster_key: SigningKey,
    cluster_certificate: Vec<u8>,
    validity: Validity,
}

/// A leaf's chain and key.
struct Leaf {
    chain: Vec<Vec<u8>>,
    key: SigningKey,
}

fn new_key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

impl Tree {
    /// Two clusters under one root.
    fn pair() -> (Self, Self) {
        let root_key = new_key();
        let validity = Validity::days(wall_ms() - 86_400_000, 30).unwrap();
        let root = issue::root_ca(&root_key, "acme", TrustKind::Trial, validity).unwrap();
        let cluster = |name| Self::cluster(&root_key, &root, name, validity);
        (cluster("shenzhen"), cluster("austin"))
    }

    fn cluster(root_key: &SigningKey, root: &[u8], name: &str, validity: Validity) -> Self {
        let cluster = ClusterPath::new("acme", ClusterRole::Site, name).unwrap();
        let cluster_key = new_key();
        let csr = issue::cluster_csr(&cluster_key, &cluster).unwrap();
        let certificate = issue::sign_cluster(root_key, root, &csr, &cluster, validity).unwrap();
        let (root, cluster_certificate) = (root.to_vec(), certificate);
        Self { root, cluster, cluster_key, cluster_certificate, validity }
    }

    fn leaf(&self, kind: LeafKind, name: &str) -> Leaf {
        let key = new_key();
        let id = self.cluster.leaf(kind, name).unwrap();
        let leaf = issue::leaf(
            &self.cluster_key,
            &self.cluster_certificate,
            &id,
            key.public_key_info(),
            LeafUsage::Tls,
            None,
            self.validity,
        );
        Leaf { chain: vec![leaf.unwrap(), self.cluster_certificate.clone()], key }
    }

    /// What custody does: a chain to the root, of this cluster, of a role.
    fn authenticator(&self) -> Authenticate {
        let (root, cluster) = (TrustRoot::new(&self.root).unwrap(), self.cluster.clone());
        Arc::new(move |chain| {
            let refused = || Refusal::new(Reason::PermissionDenied, "Nobody who may call.");
            let chain = root.verify(chain, wall_ms(), Usage::ClientAuth).map_err(|_| refused())?;
            let role = Role::from_name(chain.kind().name()).ok_or_else(refused)?;
            if chain.id().cluster() != &cluster {
                return Err(refused());
            }
            Ok(Principal {
                organization: cluster.organization().to_owned(),
                cluster: format!("site/{}", cluster.name()),
                role,
                name: chain.name().to_owned(),
            })
        })
    }
}

fn wall_ms() -> u64 {
    NOW_MS
}

/// A listener of a cluster, and what it lets in.
struct Door {
    address: SocketAddr,
    server_name: String,
    root: Vec<u8>,
    incoming: ReceiverStream<Result<Connection, Infallible>>,
}

impl Door {
    async fn open(tree: &Tree) -> Self {
        let node = tree.leaf(LeafKind::Node, "n1");
        let key = node.key.to_pkcs8();
        let identity = tls::Identity { chain: node.chain, key_pkcs8: key.expose() };
        let config = tls::server(tree.root.clone(), identity, Box::new(wall_ms)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server_name = tree.cluster.leaf(LeafKind::Node, "n1").unwrap().dns_name();
        let incoming = Acceptor::new(config, tree.authenticator()).run(listener);
        Self { address, server_name, root: tree.root.clone(), incoming }
    }

    /// The name of whom the door lets in next.
    async fn admitted(&mut self) -> String {
        let connection = self.incoming.next().await.unwrap().unwrap();
        connection.connect_info().principal().name.clone()
    }

    /// What a well-behaved client does: TLS, then the preface.
    async fn knock(&self, config: Arc<ClientConfig>) -> io::Result<impl AsyncRead + Unpin + use<>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(self.server_name.clone()).unwrap();
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        stream.write_all(PREFACE).await?;
        Ok(stream)
    }

    /// The client's side with this leaf, at the tests' time.
    fn client(&self, leaf: &Leaf) -> Arc<ClientConfig> {
        let key = leaf.key.to_pkcs8();
        let identity = tls::Identity { chain: leaf.chain.clone(), key_pkcs8: key.expose() };
        let mut config = tls::client(self.root.clone(), identity).unwrap();
        Arc::get_mut(&mut config).unwrap().time_provider = tls::at(wall_ms);
        config
    }

    /// The door is closed to `config`, and still opens for others.
    async fn refuses(&mut self, config: Arc<ClientConfig>, good: &Leaf) {
        if let Ok(mut stream) = self.knock(config).await {
            closed(&mut stream).await;
        }
        let _stream = self.knock(self.client(good)).await.unwrap();
        assert_eq!(self.admitted().await, "tester");
    }
}

/// Reads until the host closes, which is without having said anything.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut said = Vec::new();
    // An error is a refusal too: the alert or the reset came first.
    let _ = stream.read_to_end(&mut said).await;
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_certificate_becomes_a_principal() {
    let (site, _) = Tree::pair();
    let mut door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    let _stream = door.knock(door.client(&tester)).await.unwrap();
    assert_eq!(door.admitted().await, "tester");
}

#[tokio::test]
async fn k11_another_cluster_of_the_same_root_is_refused() {
    let (site, other) = Tree::pair();
    let mut door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    let stranger = door.client(&other.leaf(LeafKind::Admin, "tester"));
    door.refuses(stranger, &tester).await;
}

#[tokio::test]
async fn g7_a_certificate_of_another_root_is_refused() {
    let ((site, _), (elsewhere, _)) = (Tree::pair(), Tree::pair());
    let mut door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    let stranger = door.client(&elsewhere.leaf(LeafKind::Station, "tester"));
    door.refuses(stranger, &tester).await;
}

#[tokio::test]
async fn g7_a_client_without_a_certificate_is_refused() {
    let (site, _) = Tree::pair();
    let mut door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    let mut anonymous = door.client(&tester);
    Arc::get_mut(&mut anonymous).unwrap().client_auth_cert_resolver = tls::nobody();
    door.refuses(anonymous, &tester).await;
}

#[tokio::test]
async fn g7_a_client_without_http2_is_refused() {
    let (site, _) = Tree::pair();
    let mut door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = door.client(&tester);
        Arc::get_mut(&mut config).unwrap().alpn_protocols = protocols;
        door.refuses(config, &tester).await;
    }
}

#[tokio::test]
async fn g7_plain_text_is_refused() {
    let (site, _) = Tree::pair();
    let mut door = Door::open(&site).await;
    for bytes in [&PREFACE[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", &[0; 64]] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        // A TLS alert (RFC 8446, section 6) at most.
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    let tester = site.leaf(LeafKind::Station, "tester");
    let _stream = door.knock(door.client(&tester)).await.unwrap();
    assert_eq!(door.admitted().await, "tester");
}

#[tokio::test]
async fn g7_another_preface_is_refused() {
    let (site, _) = Tree::pair();
    let door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    let stream = TcpStream::connect(door.address).await.unwrap();
    let name = ServerName::try_from(door.server_name.clone()).unwrap();
    let connector = TlsConnector::from(door.client(&tester));
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_node_is_no_caller() {
    let (site, _) = Tree::pair();
    let mut door = Door::open(&site).await;
    let tester = site.leaf(LeafKind::Station, "tester");
    let node = door.client(&site.leaf(LeafKind::Node, "n2"));
    door.refuses(node, &tester).await;
}

#[tokio::test(start_paused = true)]
async fn g1_a_silent_peer_is_closed_in_time() {
    let (site, _) = Tree::pair();
    let door = Door::open(&site).await;
    let begun = tokio::time::Instant::now();
    let mut silent = TcpStream::connect(door.address).await.unwrap();
    closed(&mut silent).await;
    assert!(begun.elapsed() <= limits::HANDSHAKE_MAX + limits::ACCEPT_PAUSE);
}
