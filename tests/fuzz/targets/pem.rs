//! PEM files and what is in them, as people, devices and a licensing authority hand them in; the
//! first byte says which.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mintmark_crypto::SecretBytes;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::pool::CHUNK_KEYS;

// The program's own files, without the program.
#[allow(dead_code, reason = "a part of another crate")]
#[path = "../../../host/mintmark/src/commands/pool/given.rs"]
mod given;
#[allow(dead_code, reason = "a part of another crate")]
#[path = "../../../host/mintmark/src/pem.rs"]
mod pem;

/// Stands for the program's errors.
mod error {
    use std::path::Path;

    /// Why a file was refused.
    #[allow(dead_code, reason = "what is in it is for people")]
    pub enum Error {
        /// It has not this document.
        Pem(&'static str),
        /// In one sentence.
        Other(String),
    }

    impl Error {
        /// What is wrong, and what to do next.
        pub fn misfit(what: impl Into<String>, next: &'static str) -> Self {
            Self::Other(what.into() + next)
        }

        /// An act on a file that failed.
        pub fn file(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
            move |why| Self::Other(format!("{act} {}: {why}", path.display()))
        }
    }
}

/// Stands for the program's files: none is opened.
mod files {
    use std::path::Path;

    use crate::error::Error;

    /// Refuses.
    pub fn open(path: &Path) -> Result<std::fs::File, Error> {
        std::fs::File::open(path).map_err(Error::file("open", path))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, file)) = bytes.split_first() else { return };
    match which {
        0 => keys(file),
        1 => key(file),
        2 => chain(file),
        3 => drop(pem::decode_either(file)),
        4 => drop(pem::decode_signing_key(file)),
        5 => drop(pem::decode_recipient(file)),
        _ => documents(file),
    }
});

/// A file of given keys: each chunk but the last is full.
fn keys(file: &[u8]) {
    let mut given = given::Given::of(file, Path::new("keys.pem"));
    let mut last = CHUNK_KEYS;
    while let Ok(Some(chunk)) = given.next_chunk() {
        assert!(last == CHUNK_KEYS && (1..=CHUNK_KEYS).contains(&chunk.len()));
        last = chunk.len();
        chunk.iter().map(SecretBytes::expose).for_each(key);
    }
}

/// A key in PKCS #8 is one key of one algorithm, however headquarters and site keep it.
fn key(pkcs8: &[u8]) {
    let read = |algorithm| SigningKey::from_pkcs8(algorithm, pkcs8).ok();
    let found: Vec<_> = SignatureAlgorithm::ALL.into_iter().filter_map(read).collect();
    assert!(found.len() <= 1, "a key of two algorithms");
    for key in found {
        let algorithm = key.algorithm();
        let scalar = key.to_scalar();
        assert_eq!(scalar.len(), algorithm.scalar_bytes());
        let kept = SigningKey::from_scalar(algorithm, scalar.expose());
        let kept = kept.unwrap_or_else(|why| panic!("{why}: a scalar that was a key's"));
        assert_eq!(kept.public_key_info(), key.public_key_info());
        let again = SigningKey::from_pkcs8(algorithm, key.to_pkcs8().expose());
        let again = again.unwrap_or_else(|why| panic!("{why}: an encoding that was written here"));
        assert_eq!(again.public_key_info(), key.public_key_info());
    }
}

/// What was read as a chain is the chain that is written.
fn chain(file: &[u8]) {
    let Ok(chain) = pem::decode_chain(file) else { return };
    let again = pem::decode_chain(pem::encode_chain(&chain).as_bytes());
    assert!(again.is_ok_and(|again| again == chain));
}

/// The documents are the bytes.
fn documents(bytes: &[u8]) {
    if let Some(documents) = pem::documents(bytes) {
        assert_eq!(documents.concat(), bytes);
    }
}
