//! No key bytes in a guest's memory, whatever it asks the host for; nor on disk, nor in an answer.

use mintmark_crypto::digest::sha256;
use mintmark_crypto::random;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_guest_hostile::proto::{Needle, SearchRequest, SearchResponse};
use mintmark_model::Role;
use mintmark_pki::{ClusterRole, request};
use mintmark_platform::Platform;
use prost::Message;

use super::headquarters::{Entitlement, Root, new_key, product, terms, wall_ms};
use super::log;
use super::node::{Node, PATIENT_MS};

/// What is between version and private key in an ECPrivateKey (RFC 5915) of P-256.
const P256_SCALAR_HEADER: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
const SCALAR_BYTES: usize = 32;
/// Bytes of PKCS#8 before the private key that are searched for.
const HEADER_BYTES: usize = 10;

/// Bytes that must not be found.
struct Secret {
    name: String,
    bytes: Vec<u8>,
}

/// A search on many occasions: what must not be found, and what the guest has done so far.
#[derive(Default)]
struct Hunt {
    secrets: Vec<Secret>,
    steps: String,
}

impl Hunt {
    fn for_keys_of(node: &Node) -> Self {
        let mut hunt = Self::default();
        let (_, header) = scalar(&new_key());
        hunt.add("any P-256 key in PKCS#8", header);
        let ed25519 = SigningKey::generate(SignatureAlgorithm::Ed25519).to_pkcs8();
        hunt.add("any Ed25519 key in PKCS#8", ed25519.expose()[..16].to_vec());
        hunt.add("sealing secret", node.platform.sealing_secret().unwrap().expose().to_vec());
        hunt
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        self.secrets.push(Secret { name: name.to_owned(), bytes });
    }

    fn add_keys_of(&mut self, entitlement: &Entitlement) {
        let id = entitlement.id();
        self.add(&format!("batch key of {id}"), scalar(&entitlement.batch_key).0);
        self.add(&format!("secret of {id}"), entitlement.seed.expose().to_vec());
        self.add(&format!("device key of {id}"), scalar(&entitlement.device_key(0)).0);
    }

    /// Lets the guest search while it does what `request` says.
    async fn search(
        &mut self,
        node: &Node,
        occasion: &str,
        parts: &[&str],
        request: SearchRequest,
    ) -> SearchResponse {
        let request = SearchRequest {
            needles: self.secrets.iter().map(Secret::masked).collect(),
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            ..request
        };
        let response: SearchResponse = node.call("Search", &request).await.unwrap();
        self.steps += &format!("# {occasion}\n");
        for step in &response.steps {
            assert_eq!(step.found, [""; 0], "{occasion}, after {}", step.name);
            self.steps += format!("{} {}", step.name, step.refused).trim_end();
            self.steps.push('\n');
        }
        assert_eq!(response.control, vec![true; self.secrets.len()], "what is there is found");
        assert!(response.memory_bytes >= 1 << 20, "the whole memory was searched");
        self.check_absent(&response.encode_to_vec(), "the answer");
        response
    }

    fn check_absent(&self, haystack: &[u8], place: &str) {
        for Secret { name, bytes } in &self.secrets {
            let found = haystack.windows(bytes.len()).any(|window| window == bytes);
            assert!(!found, "{name} lies in {place}");
        }
    }

    /// Neither disk nor log has what no guest may have.
    fn check_host(&self, node: &Node) {
        self.check_absent(&node.disk(), "the store");
        let logged = log::text();
        self.check_absent(logged.as_bytes(), "the log");
        for Secret { name, bytes } in &self.secrets {
            assert!(!logged.contains(&hex::encode(bytes)), "{name} is logged");
        }
    }
}

impl Secret {
    fn masked(&self) -> Needle {
        let mut mask = vec![0; self.bytes.len()];
        random::fill(&mut mask);
        // A mask byte of 0 would leave a byte of the needle in the clear.
        mask.iter_mut().for_each(|byte| *byte |= 1);
        let masked = self.bytes.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
        Needle { name: self.name.clone(), masked, mask }
    }
}

/// The private scalar in a P-256 key's PKCS#8, and what stands before it in every such key.
fn scalar(key: &SigningKey) -> (Vec<u8>, Vec<u8>) {
    let encoded = key.to_pkcs8();
    let encoded = encoded.expose();
    let header = P256_SCALAR_HEADER;
    let at = encoded.windows(header.len()).position(|window| window == header).unwrap();
    let at = at + header.len();
    (encoded[at..at + SCALAR_BYTES].to_vec(), encoded[at - HEADER_BYTES..at].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w23_no_key_bytes_reach_a_guests_memory() {
    let mut site = Node::start(PATIENT_MS).await;
    let mut hunt = Hunt::for_keys_of(&site);
    let request =
        SearchRequest { csr: request::csr(&new_key(), "d").unwrap(), ..SearchRequest::default() };
    hunt.search(&site, "a site's guest", &["host", "keys", "grant"], request).await;
    hire_station(&mut site).await;
    let deliveries = [
        (KeyOrigin::Derived, Delivery::SealedToDevice),
        (KeyOrigin::Derived, Delivery::SealedToStation),
        (KeyOrigin::SiteBorn, Delivery::SealedToDevice),
        (KeyOrigin::DeviceBorn, Delivery::None),
    ];
    for (number, keys) in (1..).zip(deliveries) {
        let entitlement = site.granted(number, 10, keys).await;
        hunt.add_keys_of(&entitlement);
        let (id, subject) = (entitlement.id(), "d1".to_owned());
        let order = entitlement.order.clone();
        let importing = SearchRequest { order, ..SearchRequest::default() };
        let occasion = format!("{keys:?}");
        hunt.search(&site, &occasion, &["import"], importing).await;
        let csr = request::csr(&new_key(), &subject).unwrap();
        let making = SearchRequest { entitlement: id, subject, csr, ..SearchRequest::default() };
        hunt.search(&site, &occasion, &["device"], making).await;
        let unit = site.unit(&entitlement.id(), "d1").await.unwrap();
        if keys.0 == KeyOrigin::Derived {
            // The device's key is the one that was looked for.
            let device = entitlement.device_key(0);
            assert_eq!(unit.key_hash, Some(sha256(device.public_key_info())));
        }
        assert!(unit.key_hash.is_some(), "a key was used");
    }
    hunt.check_host(&site);
    assert_eq!(hunt.steps, include_str!("golden/site.txt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w23_no_key_bytes_reach_a_guests_memory_between_two_hosts() {
    let root = Root::new();
    let munich = Node::under(&root, ClusterRole::Headquarters, "munich", PATIENT_MS).await;
    let site = Node::under(&root, ClusterRole::Site, "shenzhen", PATIENT_MS).await;
    munich.meet(&site).await;
    let mut hunt = Hunt::for_keys_of(&munich);
    hunt.add("the site's sealing secret", site.platform.sealing_secret().unwrap().expose().into());

    let to_site = |request| SearchRequest { peer: site.custody.cluster(), ..request };
    let granting = SearchRequest { proposal: proposal(), ..SearchRequest::default() };
    let parts = ["host", "keys", "grant", "messages"];
    let granted = hunt.search(&munich, "headquarters grants", &parts, to_site(granting)).await;

    let taking = SearchRequest {
        peer: munich.custody.cluster(),
        order: granted.order,
        file: site.stage(&munich.fetch(&granted.file).await).await,
        ..SearchRequest::default()
    };
    let taken = hunt.search(&site, "the site takes", &["import", "host", "messages"], taking).await;

    let auditing = SearchRequest {
        file: munich.stage(&site.fetch(&taken.file).await).await,
        checkpoints: taken.checkpoints,
        ..SearchRequest::default()
    };
    let parts = ["messages", "receipt"];
    let audited = hunt.search(&munich, "headquarters audits", &parts, to_site(auditing)).await;

    let renewing = SearchRequest { order: audited.order, ..SearchRequest::default() };
    hunt.search(&site, "the site renews", &["receipt"], renewing).await;
    hunt.check_host(&munich);
    hunt.check_host(&site);
    assert_eq!(hunt.steps, include_str!("golden/two_hosts.txt"));
}

/// From now on a station calls, to which keys can be sealed.
async fn hire_station(site: &mut Node) {
    const NAME: &str = "line-4";
    let csr = || request::csr(&new_key(), NAME).unwrap();
    let (session, own, sealing) = (site.session(&[]), csr(), csr());
    let role = Role::Station.name();
    let issued = site.custody.issue_user(session, role, NAME, &own, Some(&sealing), &[]);
    issued.await.unwrap();
    site.caller.role = Role::Station;
    site.caller.name = NAME.to_owned();
}

/// What headquarters' guest asks its host to grant.
fn proposal() -> Vec<u8> {
    let proposal = GrantProposal {
        version: 1,
        order: "order-9".to_owned(),
        product: product(9, KeyOrigin::Derived, Delivery::SealedToDevice),
        terms: terms(9, wall_ms()),
        pool: None,
    };
    proposal.encode()
}
