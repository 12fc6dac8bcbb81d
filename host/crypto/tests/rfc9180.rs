//! HPKE against the vectors of RFC 9180: a receiver opens what the RFC's sender sealed.
#![expect(clippy::unwrap_used, reason = "a test's helpers say at once what did not hold")]

use mintmark_crypto::hpke::{Receiver, RecipientKey, Suite};

#[derive(serde::Deserialize)]
struct VectorFile {
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
#[expect(non_snake_case, reason = "the RFC's own names")]
struct Vector {
    number: u32,
    kem_id: u16,
    info: String,
    skRm: String,
    pkRm: String,
    enc: String,
    encryptions: Vec<Encryption>,
}

#[derive(serde::Deserialize)]
struct Encryption {
    aad: String,
    ct: String,
    pt: String,
}

#[test]
fn vector_4_x25519_opens() {
    check(4, 0x0020, Suite::X25519Sha256Aes256Gcm);
}

#[test]
fn vector_68_p256_opens() {
    check(68, 0x0010, Suite::P256Sha256Aes256Gcm);
}

fn check(number: u32, kem_id: u16, suite: Suite) {
    let vector = vector(number);
    assert_eq!(vector.kem_id, kem_id);
    let key = RecipientKey::from_bytes(suite, &bytes(&vector.skRm)).unwrap();
    assert!(key.public_key_info().ends_with(&bytes(&vector.pkRm)));
    let mut receiver = Receiver::new(&key, &bytes(&vector.enc), &bytes(&vector.info)).unwrap();
    assert_eq!(vector.encryptions.len(), 8);
    for encryption in &vector.encryptions {
        let opened = receiver.open(&bytes(&encryption.aad), &bytes(&encryption.ct)).unwrap();
        assert_eq!(opened.expose(), bytes(&encryption.pt));
    }
}

fn vector(number: u32) -> Vector {
    let file: VectorFile = serde_json::from_str(include_str!("vectors/rfc9180.json")).unwrap();
    file.vectors.into_iter().find(|vector| vector.number == number).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}
