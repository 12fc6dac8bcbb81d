//! Headquarters as a test plays it: it knows every key that it grants.

use mintmark_crypto::hpke::Sender;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{Secret, framed};
use mintmark_custody::RootAnswer;
use mintmark_exchange::canonical::encode;
use mintmark_exchange::charter::{Approver, Charter};
use mintmark_exchange::grant::{
    AcceptedPlugins, AuditReturn, ConfirmProof, Grant, GrantPackage, PackageKind, PackageRef,
    SealedPackage, Terms,
};
use mintmark_exchange::order::{CHARTER, GRANT, SignedOrder, signed_bytes};
use mintmark_exchange::product::{Delivery, KeyOrigin, Product, Template};
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_pki::device::{batch_ca, product_ca};
use mintmark_pki::{
    ClusterPath, ClusterRole, LeafKind, LeafUsage, TrustKind, Validity, VerifiedCsr, issue, request,
};

const DAY_SECONDS: u64 = 86_400;

/// The root CA of all clusters of a test.
pub(crate) struct Root {
    key: SigningKey,
    certificate: Vec<u8>,
    validity: Validity,
}

/// A headquarters' host, as far as its signature goes.
pub(crate) struct Headquarters {
    cluster: ClusterPath,
    custody: SigningKey,
    chain: Vec<Vec<u8>>,
}

/// A granted entitlement, with the keys that are under it.
pub(crate) struct Entitlement {
    pub(crate) grant: Grant,
    /// What the site's host takes.
    pub(crate) order: Vec<u8>,
    pub(crate) product_ca: Vec<u8>,
    pub(crate) batch_key: SigningKey,
    /// The secret from which device keys are derived.
    pub(crate) seed: Secret<32>,
}

/// To whom is granted.
pub(crate) struct Recipient<'a> {
    /// The site's SPIFFE URI.
    pub(crate) site: String,
    /// The public key of the site's host, to which keys are sealed.
    pub(crate) transfer_key: &'a [u8],
    /// The measurement of the plugin that may use it.
    pub(crate) plugin: [u8; 32],
}

pub(crate) fn new_key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

impl Root {
    pub(crate) fn new() -> Self {
        let key = new_key();
        let validity = Validity::days(wall_ms() - 60_000, 30).unwrap();
        let certificate = issue::root_ca(&key, "acme", TrustKind::Trial, validity).unwrap();
        Self { key, certificate, validity }
    }

    /// The answer to a cluster's request.
    pub(crate) fn answer(
        &self,
        csr: &[u8],
        cluster: &ClusterPath,
        admin: &SigningKey,
    ) -> RootAnswer {
        let admin = VerifiedCsr::check(&request::csr(admin, "root").unwrap()).unwrap();
        let body = encode(&Charter {
            version: 1,
            cluster: cluster.to_string(),
            approvers: vec![Approver { name: "root".to_owned(), key_hash: admin.key_hash() }],
            floor_m: 1,
            trusted_plugins: Vec::new(),
            issued_at: wall_ms(),
        });
        let signature = self.key.sign(&signed_bytes(CHARTER, &body));
        let charter = SignedOrder { body, chain: vec![self.certificate.clone()], signature };
        RootAnswer {
            root: self.certificate.clone(),
            certificate: self.sign(csr, cluster),
            charter: charter.encode(),
        }
    }

    /// A headquarters under this root.
    pub(crate) fn headquarters(&self) -> Headquarters {
        let cluster = ClusterPath::new("acme", ClusterRole::Headquarters, "berlin").unwrap();
        let (ca, custody) = (new_key(), new_key());
        let authority = self.sign(&issue::cluster_csr(&ca, &cluster).unwrap(), &cluster);
        let id = cluster.leaf(LeafKind::Custody, "n1").unwrap();
        let (key, usage) = (custody.public_key_info(), LeafUsage::Signing);
        let leaf = issue::leaf(&ca, &authority, &id, key, usage, None, self.validity);
        Headquarters { cluster, custody, chain: vec![leaf.unwrap(), authority] }
    }

    fn sign(&self, csr: &[u8], cluster: &ClusterPath) -> Vec<u8> {
        let Self { key, certificate, validity } = self;
        issue::sign_cluster(key, certificate, csr, cluster, *validity).unwrap()
    }
}

impl Headquarters {
    /// Grants `total` devices; `number` names the entitlement among those of a test.
    pub(crate) fn grant(
        &self,
        number: u32,
        total: u64,
        (origin, delivery): (KeyOrigin, Delivery),
        recipient: &Recipient<'_>,
    ) -> Entitlement {
        let (product_key, batch_key, seed) = (new_key(), new_key(), Secret::random());
        let product = product(number, origin, delivery);
        let now = wall_ms();
        let product_ca = product_ca(&product_key, "acme", &product.id, now).unwrap();
        let batch_info = batch_key.public_key_info();
        let batch =
            batch_ca(&product_key, &product_ca, batch_info, &product.id, number, total, now);
        let mut grant = Grant {
            version: 1,
            entitlement: format!("ent-{number:016x}"),
            number,
            order: format!("order-{number}"),
            exporter: self.cluster.to_string(),
            recipient: recipient.site.clone(),
            issued_at: now,
            product,
            terms: terms(total, now),
            product_ca: Some(product_ca.clone()),
            batch_ca: Some(batch.unwrap()),
            packages: Vec::new(),
            accepted_plugins: AcceptedPlugins {
                measurements: vec![recipient.plugin],
                publishers: Vec::new(),
            },
        };
        let seal = |kind, material: &[u8]| seal(kind, material, &grant, recipient.transfer_key);
        let mut packages = vec![seal(PackageKind::BatchCa, batch_key.to_pkcs8().expose())];
        if origin == KeyOrigin::Derived {
            packages.push(seal(PackageKind::KeySet, seed.expose()));
        }
        let listed = packages.iter();
        grant.packages = listed
            .map(|package| PackageRef { kind: package.kind, digest: package.digest() })
            .collect();
        let order = self.sign(&grant, packages);
        Entitlement { grant, order, product_ca, batch_key, seed }
    }

    fn sign(&self, grant: &Grant, packages: Vec<SealedPackage>) -> Vec<u8> {
        let body = encode(grant);
        let signature = self.custody.sign(&signed_bytes(GRANT, &body));
        let grant = SignedOrder { body, chain: self.chain.clone(), signature };
        GrantPackage { grant, packages }.encode()
    }
}

impl Entitlement {
    pub(crate) fn id(&self) -> String {
        self.grant.entitlement.clone()
    }

    /// The key of a unit's device, where it is derived.
    pub(crate) fn device_key(&self, unit: u64) -> SigningKey {
        let fields: [&[u8]; 4] = [
            b"ecdsa-p256",
            self.grant.product.id.as_bytes(),
            self.grant.entitlement.as_bytes(),
            &unit.to_be_bytes(),
        ];
        let info = framed("mintmark device key v1", &fields);
        mintmark_crypto::device_key(SignatureAlgorithm::EcdsaP256, &self.seed, &info)
    }
}

/// A product of its own for each number.
pub(crate) fn product(number: u32, origin: KeyOrigin, delivery: Delivery) -> Product {
    Product {
        id: format!("thermostat-{number}"),
        name: "Thermostat".to_owned(),
        origin,
        algorithm: "ecdsa-p256".to_owned(),
        delivery,
        template: Some(Template {
            organization: "acme".to_owned(),
            model: "T2".to_owned(),
            fields: Vec::new(),
        }),
        serial: SerialRule::Assigned {
            prefix: "T2-".to_owned(),
            digits: 6,
            start: 1,
            check: CheckDigit::None,
        },
        subjects: None,
    }
}

/// Terms that limit nothing but the total.
pub(crate) fn terms(total: u64, now: u64) -> Terms {
    Terms {
        total,
        not_before: now - 60_000,
        not_after: now + 20 * DAY_SECONDS * 1_000,
        rates: Vec::new(),
        max_in_doubt: total,
        max_attempts_per_subject: 100,
        max_units_per_subject: 1,
        scrap_allowance: total,
        audit_return: AuditReturn { units: total, seconds: 10 * DAY_SECONDS },
        confirm_proof: ConfirmProof::Optional,
        grace_seconds: DAY_SECONDS,
        lease_size: total,
        max_pause_seconds: DAY_SECONDS,
        certificates_per_unit: 2,
    }
}

fn seal(kind: PackageKind, material: &[u8], grant: &Grant, recipient: &[u8]) -> SealedPackage {
    let (encapsulated, mut sender) = Sender::new(recipient, b"mintmark key package v1").unwrap();
    let ciphertext = sender.seal(&grant.core_digest(), material);
    SealedPackage { kind, encapsulated, ciphertext }
}
