//! No key bytes in a guest's memory, whatever it asks the host for; nor on disk, nor in an answer.

use mintmark_crypto::digest::sha256;
use mintmark_crypto::random;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::product::KeyOrigin;
use mintmark_guest_hostile::proto::{Needle, SearchRequest, SearchResponse};
use mintmark_pki::request;
use mintmark_platform::Platform;
use prost::Message;

use super::headquarters::{Entitlement, new_key};
use super::log;
use super::site::{PATIENT_MS, Site};

/// What is between version and private key in an ECPrivateKey (RFC 5915) of P-256.
const P256_SCALAR_HEADER: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
const SCALAR_BYTES: usize = 32;

/// Bytes that must not be found.
struct Secret {
    name: &'static str,
    bytes: Vec<u8>,
}

/// The private scalar in a P-256 key's PKCS#8, and what stands before it in every such key.
fn scalar(key: &SigningKey) -> (Vec<u8>, Vec<u8>) {
    let encoded = key.to_pkcs8();
    let encoded = encoded.expose();
    let header = P256_SCALAR_HEADER;
    let at = encoded.windows(header.len()).position(|window| window == header).unwrap();
    let at = at + header.len();
    (encoded[at..at + SCALAR_BYTES].to_vec(), encoded[at - 10..at].to_vec())
}

fn secrets(site: &Site, entitlement: &Entitlement) -> Vec<Secret> {
    let (batch, p256_header) = scalar(&entitlement.batch_key);
    let (device, _) = scalar(&entitlement.device_key(0));
    let ed25519 = SigningKey::generate(SignatureAlgorithm::Ed25519).to_pkcs8();
    let ed25519_header = ed25519.expose()[..16].to_vec();
    let sealing = site.platform.sealing_secret().unwrap().expose().to_vec();
    let named = [
        ("batch key", batch),
        ("key-set secret", entitlement.seed.expose().to_vec()),
        ("device key", device),
        ("sealing secret", sealing),
        ("any P-256 key in PKCS#8", p256_header),
        ("any Ed25519 key in PKCS#8", ed25519_header),
    ];
    named.into_iter().map(|(name, bytes)| Secret { name, bytes }).collect()
}

fn masked(secret: &Secret) -> Needle {
    let mut mask = vec![0; secret.bytes.len()];
    random::fill(&mut mask);
    // A mask byte of 0 would leave a byte of the needle in the clear.
    mask.iter_mut().for_each(|byte| *byte |= 1);
    let masked = secret.bytes.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
    Needle { name: secret.name.to_owned(), masked, mask }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn check(response: &SearchResponse, secrets: &[Secret]) {
    for step in &response.steps {
        assert_eq!(step.found, [""; 0], "after {}", step.name);
    }
    assert_eq!(response.control, vec![true; secrets.len()], "the search finds what is there");
    assert!(response.memory_bytes >= 1 << 20, "the whole memory was searched");
    let answer = response.encode_to_vec();
    assert!(secrets.iter().all(|secret| !contains(&answer, &secret.bytes)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w23_no_key_bytes_reach_a_guests_memory() {
    let site = Site::start(PATIENT_MS).await;
    let entitlement = site.granted(1, 10, KeyOrigin::Derived);
    let secrets = secrets(&site, &entitlement);
    let needles = || secrets.iter().map(masked).collect();
    let importing = SearchRequest {
        needles: needles(),
        order: entitlement.order.clone(),
        ..SearchRequest::default()
    };
    let response: SearchResponse = site.call("Search", &importing).await.unwrap();
    check(&response, &secrets);

    let touring = SearchRequest {
        needles: needles(),
        entitlement: entitlement.id(),
        subject: "d1".to_owned(),
        csr: request::csr(&new_key(), "d1").unwrap(),
        rubbish: vec![0x5a; 100],
        ..SearchRequest::default()
    };
    let response: SearchResponse = site.call("Search", &touring).await.unwrap();
    check(&response, &secrets);
    let steps = response.steps.iter();
    let steps: Vec<String> =
        steps.map(|step| format!("{} {}", step.name, step.refused).trim_end().to_owned()).collect();
    assert_eq!(steps.join("\n"), include_str!("golden/tour.txt").trim_end());

    // The device's key is the one that was looked for.
    let unit = site.unit(&entitlement.id(), "d1").await.unwrap();
    let device = entitlement.device_key(unit.number);
    assert_eq!((unit.number, unit.key_hash), (0, Some(sha256(device.public_key_info()))));
    let (disk, logged) = (site.disk(), log::text());
    for secret in &secrets[..4] {
        assert!(!contains(&disk, &secret.bytes), "{} lies on disk", secret.name);
        assert!(!logged.contains(&hex::encode(&secret.bytes)), "{} is logged", secret.name);
    }
}
