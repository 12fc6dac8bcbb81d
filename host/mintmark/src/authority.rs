//! The root of an organisation, offline: makes itself, and signs clusters with their charters.

use std::path::Path;
use std::time::SystemTime;

use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::canonical;
use mintmark_exchange::charter::{self, Approver, Charter};
use mintmark_exchange::message::TrustedMeasurement;
use mintmark_exchange::order::{self, CHARTER, SignedOrder};
use mintmark_pki::{
    Certificate, ClusterPath, ClusterRole, TrustKind, Validity, VerifiedCsr, issue,
};

use crate::error::Error;
use crate::files::{self, Folder};
use crate::pem::{self, Public};

/// The file of the root's key.
pub(crate) const ROOT_KEY: &str = "root.key.pem";
/// The file of the root's certificate.
pub(crate) const ROOT: &str = "root.pem";

/// How long a root is valid, in days.
const ROOT_DAYS: u32 = 20 * 365;
/// How long a cluster CA is valid, in days.
const CLUSTER_DAYS: u32 = 5 * 365;
/// Clocks differ: certificates begin a little before now.
const SKEW_MS: u64 = 5 * 60_000;

/// The plugin of headquarters whose messages sites trust from the start.
const ENTITLEMENT_PLUGIN: &str = "entitlement";

/// An opened root.
pub(crate) struct Authority {
    key: SigningKey,
    certificate: Vec<u8>,
}

/// What the root says about a cluster.
pub(crate) struct SignedCluster {
    /// Which cluster.
    pub(crate) cluster: ClusterPath,
    /// Its CA's certificate, DER.
    pub(crate) certificate: Vec<u8>,
    /// Its charter, encoded.
    pub(crate) charter: Vec<u8>,
}

/// What a charter is to say.
pub(crate) struct CharterTerms {
    /// The people who approve.
    pub(crate) approvers: Vec<Approver>,
    /// The smallest quorum.
    pub(crate) floor: u32,
    /// The plugins of headquarters that are trusted; none: what this program carries.
    pub(crate) trusted: Vec<TrustedMeasurement>,
}

impl Authority {
    /// Makes a root, and writes key and certificate into `folder`.
    pub(crate) fn create(
        folder: &Folder,
        organization: &str,
        kind: TrustKind,
        algorithm: SignatureAlgorithm,
    ) -> Result<Self, Error> {
        let key = SigningKey::generate(algorithm);
        let validity = window(ROOT_DAYS)?;
        let certificate = issue::root_ca(&key, organization, kind, validity)
            .map_err(|_| Error::Usage("an organization is 1 to 63 of a-z, 0-9 and -".to_owned()))?;
        folder.write_secret(ROOT_KEY, pem::encode_key(&key.to_pkcs8()).as_bytes())?;
        folder.write(ROOT, pem::encode(pem::CERTIFICATE, &certificate).as_bytes())?;
        Ok(Self { key, certificate })
    }

    /// Opens the root that [`Self::create`] wrote.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let folder = Folder::open(path)?;
        let key = zeroize::Zeroizing::new(folder.read(ROOT_KEY)?);
        let key = pem::decode_signing_key(&key)?;
        let certificate = pem::decode(pem::CERTIFICATE, &folder.read(ROOT)?)?;
        let parsed = Certificate::parse(&certificate);
        if !parsed.is_ok_and(|parsed| parsed.public_key_info() == key.public_key_info()) {
            let next = "Put the root's key and its certificate into one folder.";
            return Err(Error::misfit("the root's key is not that of its certificate", next));
        }
        Ok(Self { key, certificate })
    }

    /// The root's certificate, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Signs a cluster's request and its charter.
    pub(crate) fn sign_cluster(
        &self,
        csr: &[u8],
        terms: CharterTerms,
    ) -> Result<SignedCluster, Error> {
        const NEXT: &str = "Use the request that `mintmark init` wrote.";
        let request = VerifiedCsr::check(csr);
        let request = request.map_err(|why| Error::misfit(why.to_string(), NEXT))?;
        let cluster = request.requested_cluster().cloned();
        let cluster =
            cluster.ok_or_else(|| Error::misfit("the request is not a cluster's", NEXT))?;
        let validity = window(CLUSTER_DAYS)?;
        let certificate =
            issue::sign_cluster(&self.key, &self.certificate, csr, &cluster, validity)
                .map_err(|why| Error::misfit(why.to_string(), NEXT))?;
        let charter = self.charter(&cluster, terms)?;
        Ok(SignedCluster { cluster, certificate, charter })
    }

    fn charter(&self, cluster: &ClusterPath, terms: CharterTerms) -> Result<Vec<u8>, Error> {
        let trusted_plugins = match cluster.role() {
            ClusterRole::Site if terms.trusted.is_empty() => vec![bundled_entitlement()],
            _ => terms.trusted,
        };
        let charter = Charter {
            version: charter::VERSION,
            cluster: cluster.to_string(),
            approvers: terms.approvers,
            floor_m: terms.floor,
            trusted_plugins,
            issued_at: now_ms(),
        };
        if !charter.is_sound() {
            let next = "Give each approver once, with a key of his own, and a floor from 1 to \
                        their number.";
            return Err(Error::misfit("the charter would contradict itself", next));
        }
        let body = canonical::encode(&charter);
        let signature = self.key.sign(&order::signed_bytes(CHARTER, &body));
        Ok(SignedOrder { body, chain: vec![self.certificate.clone()], signature }.encode())
    }
}

/// The approver `name=FILE`, whose key is that of a request or a certificate.
pub(crate) fn approver(argument: &str) -> Result<Approver, Error> {
    let (name, path) = argument
        .split_once('=')
        .ok_or_else(|| Error::Usage(format!("`{argument}` is not NAME=FILE")))?;
    const NEXT: &str = "Give a file that `mintmark user key` or `mintmark user issue` wrote.";
    let misfit = |what: String| Error::misfit(what, NEXT);
    let key = match pem::decode_either(&files::read(Path::new(path))?)? {
        Public::Request(der) => {
            let request = VerifiedCsr::check(&der).map_err(|why| misfit(why.to_string()))?;
            request.key_hash()
        }
        Public::Certificate(der) => {
            let certificate = Certificate::parse(&der).map_err(|why| misfit(why.to_string()))?;
            sha256(certificate.public_key_info())
        }
    };
    Ok(Approver { name: name.to_owned(), key_hash: key })
}

/// The plugin `name=MEASUREMENT` or `name=FILE`, which is measured.
pub(crate) fn trusted_plugin(argument: &str) -> Result<TrustedMeasurement, Error> {
    let (name, value) = argument.split_once('=').ok_or_else(|| {
        Error::Usage(format!("`{argument}` is not NAME=MEASUREMENT or NAME=FILE"))
    })?;
    let mut measurement = [0; 32];
    if hex::decode_to_slice(value, &mut measurement).is_err() {
        measurement = sha256(&files::read(Path::new(value))?);
    }
    Ok(TrustedMeasurement { plugin: name.to_owned(), measurement })
}

fn bundled_entitlement() -> TrustedMeasurement {
    TrustedMeasurement {
        plugin: ENTITLEMENT_PLUGIN.to_owned(),
        measurement: sha256(mintmark_bundled::ENTITLEMENT),
    }
}

fn window(days: u32) -> Result<Validity, Error> {
    Validity::days(now_ms().saturating_sub(SKEW_MS), days)
        .map_err(|_| Error::misfit("this machine's clock is far from now", "Set the clock."))
}

/// The wall clock, in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use mintmark_pki::TrustRoot;

    use super::*;

    fn authority() -> (tempfile::TempDir, Authority) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let algorithm = SignatureAlgorithm::EcdsaP384;
        Authority::create(&folder, "acme", TrustKind::Trial, algorithm).unwrap();
        let opened = Authority::open(place.path()).unwrap();
        (place, opened)
    }

    fn terms(names: &[&str], floor: u32) -> CharterTerms {
        let approver = |(at, name): (usize, &&str)| Approver {
            name: (*name).to_owned(),
            key_hash: [u8::try_from(at).unwrap(); 32],
        };
        let approvers = names.iter().enumerate().map(approver).collect();
        CharterTerms { approvers, floor, trusted: Vec::new() }
    }

    fn request(role: ClusterRole) -> Vec<u8> {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let cluster = ClusterPath::new("acme", role, "shenzhen").unwrap();
        issue::cluster_csr(&key, &cluster).unwrap()
    }

    #[test]
    fn a_site_trusts_the_bundled_plugin_of_headquarters_from_the_start() {
        let (_place, authority) = authority();
        let csr = request(ClusterRole::Site);
        let signed = authority.sign_cluster(&csr, terms(&["anna"], 1)).unwrap();
        let root = TrustRoot::new(authority.certificate()).unwrap();
        let verified = root.verify_cluster(&signed.certificate, now_ms()).unwrap();
        assert_eq!(verified.path(), &signed.cluster);
        let order = SignedOrder::decode(&signed.charter).unwrap();
        let charter: Charter = order.open().unwrap();
        assert_eq!(charter.trusted_plugins, [bundled_entitlement()]);
        let key = root.certificate().public_key_info();
        let signed_bytes = order.signed_bytes(CHARTER);
        assert!(mintmark_crypto::sign::verify(key, &signed_bytes, &order.signature).is_ok());
    }

    #[test]
    fn a_charter_without_approvers_or_with_an_unreachable_floor_is_refused() {
        let (_place, authority) = authority();
        let csr = request(ClusterRole::Headquarters);
        for bad in [terms(&[], 0), terms(&[], 1), terms(&["anna"], 2), terms(&["a", "a"], 1)] {
            assert!(authority.sign_cluster(&csr, bad).is_err());
        }
        assert!(authority.sign_cluster(b"no request", terms(&["anna"], 1)).is_err());
    }

    #[test]
    fn a_root_is_never_replaced() {
        let (place, _) = authority();
        let folder = Folder::open(place.path()).unwrap();
        let algorithm = SignatureAlgorithm::EcdsaP256;
        let again = Authority::create(&folder, "acme", TrustKind::Trial, algorithm);
        assert!(matches!(again, Err(Error::Exists(_))));
    }
}
