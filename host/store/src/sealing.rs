//! What is sealed under which key, and to what it is bound: the one table of labels of the store.
//!
//! ```text
//! sealing secret ‖ store id
//!   ├─ header key     HMAC-SHA-256 over the header, which is in the clear
//!   ├─ position key   AES-256-GCM, one record
//!   ├─ records root   one AES-256-GCM key per table and key
//!   ├─ rows root      one AES-256-GCM key per node and sequence
//!   └─ set key        the set hash
//! ```
//!
//! Each arrow is one HKDF. A key per record bounds how much is sealed under any key, and makes a
//! text that was moved to another place unreadable even before the associated data is compared.

use mintmark_crypto::{
    Secret, SecretBytes,
    aead::{AeadAlgorithm, AeadKey},
    hkdf, mac,
};

use crate::{Damage, Error, Key, Version, set_hash::SetKey};

const HEADER_LABEL: &str = "mintmark/store/header/v1";
const POSITION_LABEL: &str = "mintmark/store/position/v1";
const RECORDS_LABEL: &str = "mintmark/store/records/v1";
const RECORD_LABEL: &str = "mintmark/store/record/v1";
const ROWS_LABEL: &str = "mintmark/store/rows/v1";
const ROW_LABEL: &str = "mintmark/store/row/v1";
const SET_LABEL: &str = "mintmark/store/set/v1";

/// The keys of one store.
pub(crate) struct Sealing {
    header: Secret<32>,
    position: AeadKey,
    records: Secret<32>,
    rows: Secret<32>,
    pub(crate) set: SetKey,
}

impl Sealing {
    pub(crate) fn new(secret: &Secret<32>, store_id: &[u8; 16]) -> Self {
        let root = |label| hkdf::derive(secret, label, store_id);
        Self {
            header: root(HEADER_LABEL),
            position: AeadKey::new(AeadAlgorithm::Aes256Gcm, &root(POSITION_LABEL)),
            records: root(RECORDS_LABEL),
            rows: root(ROWS_LABEL),
            set: SetKey::new(root(SET_LABEL)),
        }
    }

    pub(crate) fn header_code(&self, header: &[u8]) -> [u8; 32] {
        mac::hmac_sha256(self.header.expose(), header)
    }

    pub(crate) fn check_header(&self, header: &[u8], code: &[u8]) -> Result<(), Error> {
        mac::verify_sha256(self.header.expose(), header, code).map_err(|_| Error::WrongSecret)
    }

    pub(crate) fn seal_position(&self, position: &[u8]) -> Vec<u8> {
        self.position.seal(POSITION_LABEL.as_bytes(), position)
    }

    pub(crate) fn open_position(&self, sealed: &[u8]) -> Result<SecretBytes, Error> {
        self.position.open(POSITION_LABEL.as_bytes(), sealed).map_err(|_| Damage::Position.into())
    }

    pub(crate) fn seal_record(&self, key: &Key, version: Version, value: &[u8]) -> Vec<u8> {
        self.record_key(key).seal(&record_context(key, version), value)
    }

    pub(crate) fn open_record(
        &self,
        key: &Key,
        version: Version,
        sealed: &[u8],
    ) -> Result<SecretBytes, Error> {
        self.record_key(key)
            .open(&record_context(key, version), sealed)
            .map_err(|_| Damage::Record { table: key.table }.into())
    }

    pub(crate) fn seal_row(&self, node: &str, sequence: u64, encoded: &[u8]) -> Vec<u8> {
        let place = row_place(node, sequence);
        self.row_key(&place).seal(&place, encoded)
    }

    pub(crate) fn open_row(
        &self,
        node: &str,
        sequence: u64,
        sealed: &[u8],
    ) -> Result<SecretBytes, Error> {
        let place = row_place(node, sequence);
        self.row_key(&place).open(&place, sealed).map_err(|_| Damage::Row { sequence }.into())
    }

    fn record_key(&self, key: &Key) -> AeadKey {
        let secret = hkdf::derive(&self.records, RECORD_LABEL, &key.encoded());
        AeadKey::new(AeadAlgorithm::Aes256Gcm, &secret)
    }

    fn row_key(&self, place: &[u8]) -> AeadKey {
        let secret = hkdf::derive(&self.rows, ROW_LABEL, place);
        AeadKey::new(AeadAlgorithm::Aes256Gcm, &secret)
    }
}

/// Table, key and version: a record sealed for one place and time opens for no other.
fn record_context(key: &Key, version: Version) -> Vec<u8> {
    let key_len = u32::try_from(key.key.len()).expect("keys are at most 1024 bytes");
    let mut context = Vec::with_capacity(13 + key.key.len());
    context.push(key.table);
    context.extend_from_slice(&key_len.to_be_bytes());
    context.extend_from_slice(&key.key);
    context.extend_from_slice(&version.0.to_be_bytes());
    context
}

/// Node and sequence; also the row's key on disk, so it sorts by sequence within a node.
pub(crate) fn row_place(node: &str, sequence: u64) -> Vec<u8> {
    let node_len = u8::try_from(node.len()).expect("a node's name is at most 255 bytes");
    let mut place = Vec::with_capacity(9 + node.len());
    place.push(node_len);
    place.extend_from_slice(node.as_bytes());
    place.extend_from_slice(&sequence.to_be_bytes());
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealing(secret: u8, store: u8) -> Sealing {
        Sealing::new(&Secret::from_bytes(&[secret; 32]), &[store; 16])
    }

    #[test]
    fn s11_a_sealed_record_opens_only_in_its_place_version_and_store() {
        let key = Key::new(1, "key");
        let sealed = sealing(1, 1).seal_record(&key, Version(5), b"value");
        let opened = sealing(1, 1).open_record(&key, Version(5), &sealed);
        assert_eq!(opened.unwrap().expose(), b"value");
        for (keys, key, version) in [
            (sealing(2, 1), key.clone(), Version(5)),
            (sealing(1, 2), key.clone(), Version(5)),
            (sealing(1, 1), Key::new(2, "key"), Version(5)),
            (sealing(1, 1), Key::new(1, "kex"), Version(5)),
            (sealing(1, 1), key.clone(), Version(4)),
        ] {
            let opened = keys.open_record(&key, version, &sealed);
            let damage = Damage::Record { table: key.table };
            assert_eq!(opened.map(|_| ()), Err(damage.into()));
        }
    }

    #[test]
    fn s11_a_sealed_row_opens_only_in_its_place() {
        let keys = sealing(1, 1);
        let sealed = keys.seal_row("a", 3, b"row");
        assert_eq!(keys.open_row("a", 3, &sealed).unwrap().expose(), b"row");
        for (node, sequence) in [("a", 4), ("b", 3), ("aa", 3)] {
            let opened = keys.open_row(node, sequence, &sealed).map(|_| ());
            assert_eq!(opened, Err(Damage::Row { sequence }.into()));
        }
    }
}
