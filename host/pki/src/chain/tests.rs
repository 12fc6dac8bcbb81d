//! Chains that must be believed, and chains that must not.

use der::asn1::Ia5String;
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsages};

use super::*;
use crate::template::{EXTENDED_KEY_USAGE, NAME_CONSTRAINTS, Template};
use crate::{ClusterRole, Validity, issue, subject};

const NOW_MS: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A root, one cluster, and their keys.
struct Tree {
    root_key: SigningKey,
    root_der: Vec<u8>,
    root: TrustRoot,
    cluster: ClusterPath,
    cluster_key: SigningKey,
    cluster_der: Vec<u8>,
}

impl Tree {
    fn new(algorithm: SignatureAlgorithm) -> Self {
        let root_key = SigningKey::generate(algorithm);
        let root_der = issue::root_ca(&root_key, "acme", TrustKind::Trial, window(7300)).unwrap();
        let root = TrustRoot::new(&root_der).unwrap();
        let cluster = cluster("shenzhen");
        let cluster_key = SigningKey::generate(algorithm);
        let csr = issue::cluster_csr(&cluster_key, &cluster).unwrap();
        let cluster_der =
            issue::sign_cluster(&root_key, &root_der, &csr, &cluster, window(3650)).unwrap();
        Self { root_key, root_der, root, cluster, cluster_key, cluster_der }
    }

    fn p256() -> Self {
        Self::new(SignatureAlgorithm::EcdsaP256)
    }

    fn id(&self, kind: LeafKind) -> SpiffeId {
        self.cluster.leaf(kind, "a").unwrap()
    }

    fn issue(&self, kind: LeafKind, usage: LeafUsage, key: &[u8]) -> Result<Vec<u8>, Error> {
        let id = self.id(kind);
        issue::leaf(&self.cluster_key, &self.cluster_der, &id, key, usage, None, window(90))
    }

    fn node(&self) -> Vec<u8> {
        self.issue(LeafKind::Node, LeafUsage::Tls, p256().public_key_info()).unwrap()
    }

    fn verify(&self, leaf: &[u8], usage: Usage) -> Result<VerifiedChain, ChainError> {
        self.root.verify(&[leaf, &self.cluster_der], NOW_MS, usage)
    }

    /// Signs whatever the template says, as only a broken or hostile cluster would.
    fn sign(&self, template: Template) -> Vec<u8> {
        let issuer = Certificate::parse(&self.cluster_der).unwrap();
        template.signed_by(&self.cluster_key, &issuer).unwrap()
    }
}

#[test]
fn a_leaf_of_each_kind_and_use_is_believed_as_what_it_is() {
    let tree = Tree::p256();
    for kind in LeafKind::ALL {
        for usage in [LeafUsage::Tls, LeafUsage::Signing, LeafUsage::Encryption] {
            let key = key_info(usage);
            let issued = tree.issue(kind, usage, &key);
            if !usage.is_for(kind) {
                assert_eq!(issued, Err(Error::Usage));
                continue;
            }
            let leaf = issued.unwrap();
            let verified = tree.verify(&leaf, Usage::Any).unwrap();
            assert_eq!(*verified.id(), tree.id(kind));
            assert_eq!((verified.kind(), verified.name()), (kind, "a"));
            assert_eq!(verified.usage(), usage);
            assert_eq!(verified.public_key_info(), key);
            assert_eq!(verified.measurement(), None);
            assert_eq!(verified.digest(), mintmark_crypto::digest::sha256(&leaf));
            let cluster_digest = mintmark_crypto::digest::sha256(&tree.cluster_der);
            assert_eq!(verified.cluster_digest(), cluster_digest);
        }
    }
}

#[test]
fn roots_and_leaves_of_each_algorithm_are_believed() {
    for algorithm in SignatureAlgorithm::ALL {
        let tree = Tree::new(algorithm);
        for leaf_algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(leaf_algorithm);
            let leaf = tree.issue(LeafKind::Admin, LeafUsage::Tls, key.public_key_info());
            assert!(tree.verify(&leaf.unwrap(), Usage::ClientAuth).is_ok());
        }
    }
}

#[test]
fn the_root_may_be_in_the_chain_and_shows_its_kind() {
    let tree = Tree::p256();
    let chain = [tree.node(), tree.cluster_der.clone(), tree.root_der.clone()];
    assert!(tree.root.verify(&chain, NOW_MS, Usage::ServerAuth).is_ok());
    assert_eq!(tree.root.kind(), TrustKind::Trial);
    assert_eq!(tree.root.organization(), "acme");
    assert_eq!(tree.root.certificate().der(), tree.root_der);
}

#[test]
fn a_plugins_measurement_is_read_from_both_of_its_certificates() {
    let tree = Tree::p256();
    for usage in [LeafUsage::Signing, LeafUsage::Encryption] {
        let leaf = issue::leaf(
            &tree.cluster_key,
            &tree.cluster_der,
            &tree.id(LeafKind::Plugin),
            &key_info(usage),
            usage,
            Some(&[7; 32]),
            window(365),
        );
        let verified = tree.verify(&leaf.unwrap(), Usage::Any).unwrap();
        assert_eq!(verified.measurement(), Some([7; 32]));
    }
}

#[test]
fn k1_what_is_expired_or_not_yet_valid_is_refused() {
    let tree = Tree::p256();
    let chain = [tree.node(), tree.cluster_der.clone()];
    let at = |at_ms| tree.root.verify(&chain, at_ms, Usage::Any).err();
    assert_eq!(at(NOW_MS - 2 * DAY_MS), Some(ChainError::NotYetValid));
    assert_eq!(at(NOW_MS + 88 * DAY_MS), None);
    assert_eq!(at(NOW_MS + 90 * DAY_MS), Some(ChainError::Expired));
    assert_eq!(at(NOW_MS + 4000 * DAY_MS), Some(ChainError::Expired));
    assert_eq!(at(NOW_MS + 8000 * DAY_MS), Some(ChainError::Expired));
    let cluster = |at_ms| tree.root.verify_cluster(&tree.cluster_der, at_ms).err();
    assert_eq!(cluster(NOW_MS), None);
    assert_eq!(cluster(NOW_MS - 2 * DAY_MS), Some(ChainError::NotYetValid));
    assert_eq!(cluster(NOW_MS + 4000 * DAY_MS), Some(ChainError::Expired));
}

#[test]
fn k2_a_certificate_for_one_use_is_refused_for_another() {
    let tree = Tree::p256();
    let admin = tree.issue(LeafKind::Admin, LeafUsage::Tls, p256().public_key_info()).unwrap();
    let custody =
        tree.issue(LeafKind::Custody, LeafUsage::Signing, p256().public_key_info()).unwrap();
    assert!(tree.verify(&tree.node(), Usage::ServerAuth).is_ok());
    assert!(tree.verify(&tree.node(), Usage::ClientAuth).is_ok());
    assert!(tree.verify(&admin, Usage::ClientAuth).is_ok());
    assert_eq!(tree.verify(&admin, Usage::ServerAuth).err(), Some(ChainError::Usage));
    assert_eq!(tree.verify(&custody, Usage::ClientAuth).err(), Some(ChainError::Usage));
    assert_eq!(tree.verify(&custody, Usage::ServerAuth).err(), Some(ChainError::Usage));
}

#[test]
fn k2_other_key_usages_than_the_profiles_are_refused() {
    let tree = Tree::p256();
    let any = ObjectIdentifier::new_unwrap("2.5.29.37.0");
    let no_usage = template(&tree.id(LeafKind::Admin));
    let both = template(&tree.id(LeafKind::Admin))
        .key_usage(KeyUsages::DigitalSignature | KeyUsages::KeyAgreement)
        .unwrap();
    let any_extended = template(&tree.id(LeafKind::Admin))
        .key_usage(KeyUsages::DigitalSignature)
        .unwrap()
        .encoded(EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(vec![any]))
        .unwrap();
    for template in [no_usage, both, any_extended] {
        let refused = tree.verify(&tree.sign(template), Usage::Any).err();
        assert_eq!(refused, Some(ChainError::Usage));
    }
}

#[test]
fn k3_a_leaf_that_acts_as_ca_is_refused() {
    let tree = Tree::p256();
    let key = p256();
    let leaf = tree.issue(LeafKind::Admin, LeafUsage::Signing, key.public_key_info()).unwrap();
    let id = tree.cluster.leaf(LeafKind::Node, "forged").unwrap();
    // `signed_by` asks for a key identifier, which leaves have not: sign as the leaf by its name.
    let forged = template(&id)
        .key_usage(KeyUsages::DigitalSignature)
        .unwrap()
        .signed_as(&key, Certificate::parse(&leaf).unwrap().subject().clone())
        .unwrap();
    let chain = [forged, leaf, tree.cluster_der.clone()];
    let refused = tree.root.verify(&chain, NOW_MS, Usage::Any).err();
    assert_eq!(refused, Some(ChainError::Untrusted));
}

#[test]
fn k3_a_second_ca_below_a_cluster_is_refused() {
    let tree = Tree::p256();
    let key = p256();
    let subject = subject::name(&[(subject::COMMON_NAME, "ca")]).unwrap();
    let second = Template::new(subject, key.public_key_info(), window(100)).unwrap();
    let second = second.certificate_authority(Some(0)).unwrap();
    let second = tree.sign(second);
    let leaf = template(&tree.id(LeafKind::Custody))
        .key_usage(KeyUsages::DigitalSignature)
        .unwrap()
        .signed_by(&key, &Certificate::parse(&second).unwrap())
        .unwrap();
    let chain = [leaf, second.clone(), tree.cluster_der.clone()];
    let refused = tree.root.verify(&chain, NOW_MS, Usage::Any).err();
    assert_eq!(refused, Some(ChainError::Untrusted));
    let refused = tree.verify(&second, Usage::Any).err();
    assert_eq!(refused, Some(ChainError::Usage));
}

#[test]
fn a_leaf_directly_below_the_root_is_refused() {
    let tree = Tree::p256();
    let leaf = template(&tree.id(LeafKind::Custody))
        .key_usage(KeyUsages::DigitalSignature)
        .unwrap()
        .signed_by(&tree.root_key, &Certificate::parse(&tree.root_der).unwrap())
        .unwrap();
    let refused = tree.root.verify(&[&leaf], NOW_MS, Usage::Any).err();
    assert_eq!(refused, Some(ChainError::Untrusted));
}

#[test]
fn k4_a_dns_name_outside_of_the_constraint_is_refused() {
    let tree = Tree::p256();
    for dns in ["a.node.berlin.acme", "a.node.shenzhen.other", "acme"] {
        let names = [uri(&tree.id(LeafKind::Node).to_string()), dns_name(dns)];
        let refused = tree.verify(&tree.sign(named(&names)), Usage::Any).err();
        assert_eq!(refused, Some(ChainError::Name), "{dns}");
    }
    // Within the constraint, but not the name of this leaf.
    for dns in ["b.node.shenzhen.acme", "shenzhen.acme", "*.shenzhen.acme"] {
        let names = [uri(&tree.id(LeafKind::Node).to_string()), dns_name(dns)];
        let refused = tree.verify(&tree.sign(named(&names)), Usage::Any).err();
        assert_eq!(refused, Some(ChainError::Name), "{dns}");
    }
}

#[test]
fn k4_a_cluster_without_its_constraint_is_refused() {
    let tree = Tree::p256();
    let key = p256();
    let names = [uri("spiffe://acme/site/berlin"), dns_name("berlin.acme")];
    let root = Certificate::parse(&tree.root_der).unwrap();
    let make = |constraints: Option<NameConstraints>, path_len| {
        let subject = subject::name(&[(subject::COMMON_NAME, "berlin")]).unwrap();
        let mut template = Template::new(subject, key.public_key_info(), window(100))
            .and_then(|template| template.certificate_authority(path_len))
            .and_then(|template| template.alternative_names(&names))
            .unwrap();
        if let Some(constraints) = constraints {
            template = template.encoded(NAME_CONSTRAINTS, true, &constraints).unwrap();
        }
        template.signed_by(&tree.root_key, &root).unwrap()
    };
    let permitting = |dns: &[&str]| {
        let subtree =
            |dns: &&str| GeneralSubtree { base: dns_name(dns), minimum: 0, maximum: None };
        let permitted = dns.iter().map(subtree).collect();
        Some(NameConstraints { permitted_subtrees: Some(permitted), excluded_subtrees: None })
    };
    let verify = |der: Vec<u8>| tree.root.verify_cluster(&der, NOW_MS).err();
    assert_eq!(verify(make(permitting(&["berlin.acme"]), Some(0))), None);
    assert_eq!(verify(make(None, Some(0))), Some(ChainError::Name));
    assert_eq!(verify(make(permitting(&["acme"]), Some(0))), Some(ChainError::Name));
    let two = permitting(&["berlin.acme", "shenzhen.acme"]);
    assert_eq!(verify(make(two, Some(0))), Some(ChainError::Name));
    assert_eq!(verify(make(permitting(&["berlin.acme"]), Some(1))), Some(ChainError::Usage));
    assert_eq!(verify(make(permitting(&["berlin.acme"]), None)), Some(ChainError::Usage));
}

#[test]
fn k10_two_uris_or_none_are_refused() {
    let tree = Tree::p256();
    let id = tree.id(LeafKind::Node);
    let (first, dns) = (uri(&id.to_string()), dns_name(&id.dns_name()));
    let second = uri("spiffe://acme/site/shenzhen/admin/a");
    for names in [
        vec![first.clone(), second.clone(), dns.clone()],
        vec![second, first.clone(), dns.clone()],
        vec![first.clone(), first.clone(), dns.clone()],
        vec![first.clone(), dns.clone(), dns.clone()],
        vec![first.clone()],
        vec![dns.clone()],
        vec![uri("https://acme/site/shenzhen/node/a"), dns],
    ] {
        let refused = tree.verify(&tree.sign(named(&names)), Usage::Any).err();
        assert_eq!(refused, Some(ChainError::Name));
    }
}

#[test]
fn k11_a_leaf_with_the_path_of_another_cluster_is_refused() {
    let tree = Tree::p256();
    // The DNS name fits the constraint: only the URI speaks for somebody else.
    let dns = dns_name("a.node.shenzhen.acme");
    for path in [
        "spiffe://acme/site/berlin/node/a",
        "spiffe://acme/headquarters/shenzhen/node/a",
        "spiffe://other/site/shenzhen/node/a",
        "spiffe://acme/site/shenzhen",
    ] {
        let refused = tree.verify(&tree.sign(named(&[uri(path), dns.clone()])), Usage::Any).err();
        assert_eq!(refused, Some(ChainError::Name), "{path}");
    }
    // The same name in another role: the DNS names are equal, the paths are not.
    let headquarters = ClusterPath::new("acme", ClusterRole::Headquarters, "shenzhen").unwrap();
    let id = headquarters.leaf(LeafKind::Node, "a").unwrap();
    let names = [uri(&id.to_string()), dns_name(&id.dns_name())];
    let refused = tree.verify(&tree.sign(named(&names)), Usage::Any).err();
    assert_eq!(refused, Some(ChainError::Name));
}

#[test]
fn another_root_even_of_the_same_name_is_refused() {
    let tree = Tree::p256();
    let other = Tree::p256();
    let chain = [other.node(), other.cluster_der.clone(), other.root_der.clone()];
    let refused = tree.root.verify(&chain, NOW_MS, Usage::Any).err();
    assert_eq!(refused, Some(ChainError::Untrusted));
    let refused = tree.root.verify_cluster(&other.cluster_der, NOW_MS).err();
    assert_eq!(refused, Some(ChainError::Untrusted));
}

#[test]
fn a_root_must_be_a_self_signed_ca_with_a_kind() {
    let tree = Tree::p256();
    assert_eq!(TrustRoot::new(&tree.cluster_der).err(), Some(ChainError::Untrusted));
    let subject = subject::name(&[(subject::ORGANIZATION, "acme")]).unwrap();
    let key = p256();
    let no_kind = Template::new(subject, key.public_key_info(), window(1)).unwrap();
    let no_kind = no_kind.certificate_authority(None).unwrap().self_signed(&key).unwrap();
    assert_eq!(TrustRoot::new(&no_kind).err(), Some(ChainError::Usage));
    let mut changed = tree.root_der.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(TrustRoot::new(&changed).is_err());
}

#[test]
fn k5_chains_that_are_too_long_or_empty_are_refused() {
    let tree = Tree::p256();
    let refused = |chain: &[Vec<u8>]| tree.root.verify(chain, NOW_MS, Usage::Any).err();
    assert_eq!(refused(&[]), Some(ChainError::Size));
    assert_eq!(refused(&vec![tree.node(); CHAIN_LEN_MAX + 1]), Some(ChainError::Size));
    let long = vec![0; CERTIFICATE_BYTES_MAX + 1];
    assert_eq!(refused(&[tree.node(), long]), Some(ChainError::Size));
}

#[test]
fn p1_every_truncated_prefix_and_every_flipped_bit_of_a_leaf_is_refused() {
    let tree = Tree::p256();
    let leaf = tree.node();
    for len in 0..leaf.len() {
        assert!(tree.verify(&leaf[..len], Usage::Any).is_err());
    }
    for bit in 0..leaf.len() * 8 {
        let mut changed = leaf.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(tree.verify(&changed, Usage::Any).is_err(), "bit {bit}");
    }
    assert!(tree.verify(&[&leaf[..], &[0]].concat(), Usage::Any).is_err());
}

#[test]
fn nothing_is_issued_outside_of_what_the_issuer_may_certify() {
    let tree = Tree::p256();
    let key = p256();
    let leaf = |cluster_key: &SigningKey, id: &SpiffeId, validity| {
        let info = key.public_key_info();
        let der = &tree.cluster_der;
        issue::leaf(cluster_key, der, id, info, LeafUsage::Signing, None, validity).err()
    };
    let id = tree.id(LeafKind::Custody);
    assert_eq!(leaf(&tree.cluster_key, &id, window(90)), None);
    assert_eq!(leaf(&key, &id, window(90)), Some(Error::IssuerKey));
    assert_eq!(leaf(&tree.cluster_key, &id, window(4000)), Some(Error::OutsideIssuer));
    let foreign = cluster("berlin").leaf(LeafKind::Custody, "a").unwrap();
    assert_eq!(leaf(&tree.cluster_key, &foreign, window(90)), Some(Error::OutsideIssuer));
    let encryption = key_info(LeafUsage::Encryption);
    let wrong_key = tree.issue(LeafKind::Custody, LeafUsage::Signing, &encryption);
    assert_eq!(wrong_key, Err(Error::SubjectKey));
    let other = ClusterPath::new("other", ClusterRole::Site, "x").unwrap();
    let csr = issue::cluster_csr(&key, &other).unwrap();
    let signed = issue::sign_cluster(&tree.root_key, &tree.root_der, &csr, &other, window(1));
    assert_eq!(signed, Err(Error::OutsideIssuer));
}

#[test]
fn the_longest_names_are_certified() {
    let longest = "a".repeat(63);
    let key = p256();
    let root = issue::root_ca(&key, &longest, TrustKind::Production, window(10)).unwrap();
    let cluster = ClusterPath::new(&longest, ClusterRole::Headquarters, &longest).unwrap();
    let csr = issue::cluster_csr(&key, &cluster).unwrap();
    let ca = issue::sign_cluster(&key, &root, &csr, &cluster, window(9)).unwrap();
    let id = cluster.leaf(LeafKind::Publisher, &longest).unwrap();
    let usage = LeafUsage::Signing;
    let leaf = issue::leaf(&key, &ca, &id, key.public_key_info(), usage, None, window(8)).unwrap();
    let root = TrustRoot::new(&root).unwrap();
    assert_eq!(root.kind(), TrustKind::Production);
    assert_eq!(*root.verify(&[leaf, ca], NOW_MS, Usage::Any).unwrap().id(), id);
}

fn p256() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

/// A public key for that use; X25519 for encryption.
fn key_info(usage: LeafUsage) -> Vec<u8> {
    match usage {
        LeafUsage::Tls | LeafUsage::Signing => p256().public_key_info().to_vec(),
        LeafUsage::Encryption => {
            RecipientKey::generate(Suite::X25519Sha256Aes256Gcm).public_key_info().to_vec()
        }
    }
}

fn cluster(name: &str) -> ClusterPath {
    ClusterPath::new("acme", ClusterRole::Site, name).unwrap()
}

/// From yesterday on, for a number of days.
fn window(days: u32) -> Validity {
    Validity::days(NOW_MS - DAY_MS, days).unwrap()
}

/// A leaf for signatures with that id, not signed yet.
fn template(id: &SpiffeId) -> Template {
    bare(&[uri(&id.to_string()), dns_name(&id.dns_name())])
}

fn named(names: &[GeneralName]) -> Template {
    bare(names).key_usage(KeyUsages::DigitalSignature).unwrap()
}

fn bare(names: &[GeneralName]) -> Template {
    let subject = subject::name(&[(subject::COMMON_NAME, "a")]).unwrap();
    Template::new(subject, p256().public_key_info(), window(90))
        .and_then(|template| template.alternative_names(names))
        .unwrap()
}

fn uri(text: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap())
}

fn dns_name(text: &str) -> GeneralName {
    GeneralName::DnsName(Ia5String::new(text).unwrap())
}
