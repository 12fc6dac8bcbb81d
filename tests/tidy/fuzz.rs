//! The fuzz targets are built by another toolchain, so nothing else notices when they rot: each is
//! declared and has seeds, those still decode, and every method of a plugin is called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mintmark_crypto::Secret;
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::SignedOrder;
use mintmark_exchange::approval::{ApprovalRequest, ApprovalStatement};
use mintmark_exchange::canonical::decode;
use mintmark_exchange::charter::Charter;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::{Change, Directive};
use mintmark_exchange::grant::{Grant, GrantPackage};
use mintmark_exchange::held::HeldOrders;
use mintmark_exchange::identity::{self, IdentityBody};
use mintmark_exchange::inclusion::InclusionProof;
use mintmark_exchange::message::MessageHead;
use mintmark_exchange::opened::OpenedHead;
use mintmark_exchange::order::BODY_BYTES_MAX;
use mintmark_exchange::pool::{KeyFile, KeyFileHead, SealedKeys};
use mintmark_exchange::proposal::{
    ClosingMessageBody, DirectiveMessageBody, EntitlementBody, GrantProposal, ReceiptMessageBody,
};
use mintmark_exchange::receipt::ReceiptBody;
use mintmark_exchange::row::Row;
use mintmark_pki::{Certificate, VerifiedCsr};
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_runtime::{Manifest, inspect};
use mintmark_store::{BackupReader, Key};

use super::root;

/// The names of the files in a folder of the fuzz targets', without endings.
fn names(folder: &str) -> BTreeSet<String> {
    let folder = root().join("tests/fuzz").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{folder:?}: {why}"));
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.unwrap().path())).collect()
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn text(path: &str) -> String {
    String::from_utf8(read(path)).unwrap()
}

#[test]
fn every_fuzz_target_is_declared_and_has_seeds() {
    let manifest = text("tests/fuzz/Cargo.toml");
    let declared: BTreeSet<_> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\""))
        .map(str::to_owned)
        .collect();
    assert_eq!(names("targets"), declared, "each file is a target, and each target a file");
    assert_eq!(names("seeds"), declared, "each target has seeds, and all seeds have a target");
    for target in &declared {
        let seeds = names(&format!("seeds/{target}"));
        assert!(!seeds.is_empty(), "{target} has no seed");
        for seed in seeds {
            assert_ne!(read(&format!("tests/fuzz/seeds/{target}/{seed}")), b"", "{target}/{seed}");
        }
    }
}

#[test]
fn every_method_of_a_plugin_is_fuzzed() {
    let calls = text("tests/fuzz/src/calls.rs");
    for plugin in ["device-key", "entitlement"] {
        let manifest = text(&format!("plugins/{plugin}/plugin.toml"));
        let manifest = Manifest::parse(&manifest).unwrap();
        for method in manifest.services.values().flat_map(BTreeMap::keys) {
            // A stream is many calls of another method.
            let called = method.strip_suffix("Stream").unwrap_or(method);
            assert!(calls.contains(&format!("\"{called}\")")), "{plugin}: {method} is not fuzzed");
        }
    }
}

#[test]
fn every_seed_still_decodes() {
    let mut bodies = BTreeSet::new();
    for target in names("seeds") {
        for seed in names(&format!("seeds/{target}")) {
            let bytes = read(&format!("tests/fuzz/seeds/{target}/{seed}"));
            assert!(decodes(&target, &seed, &bytes), "{target}/{seed}: make the seeds anew");
            if target == "bodies" {
                bodies.insert(bytes[0]);
            }
        }
    }
    assert_eq!(bodies, (0..=14).collect(), "each body has a seed");
}

/// Whether the decoder that the target is about takes the seed.
fn decodes(target: &str, seed: &str, bytes: &[u8]) -> bool {
    match target {
        "message" => MessageHead::parse(bytes).is_ok(),
        "order" => SignedOrder::decode(bytes).is_ok_and(|order| signed(seed, &order)),
        "bodies" => body(bytes[0], &bytes[1..]),
        "grant" => {
            let package = GrantPackage::decode(bytes);
            package.is_ok_and(|it| it.grant.open::<Grant>().is_ok_and(|it| it.check().is_ok()))
        }
        "row" => Row::decode(bytes).is_ok(),
        "opened" | "reconcile" | "reconcile_rows" => OpenedHead::split(bytes).is_ok(),
        "certificate" => Certificate::parse(bytes).is_ok(),
        "request" => VerifiedCsr::check(bytes).is_ok(),
        "component" => inspect(bytes).is_ok(),
        "manifest" => std::str::from_utf8(bytes).is_ok_and(|text| Manifest::parse(text).is_ok()),
        "proof" => InclusionProof::decode(bytes).is_ok(),
        "backup" => {
            let backup = BackupReader::open(bytes, &Secret::from_bytes(&[7; 32]));
            backup.is_ok_and(|mut backup| backup.find(&Key::new(0, b"nothing")).is_ok())
        }
        "key_file" => key_file(bytes),
        "pem" => pem(bytes[0], &bytes[1..]),
        "escrow" => escrow(bytes),
        "order_text" => std::str::from_utf8(bytes).is_ok(),
        // What is in them has a target of its own.
        "chain" | "calls" | "acts" => true,
        _ => panic!("{target} is not known here"),
    }
}

/// The body of an order is what the seed's name says.
fn signed(seed: &str, order: &SignedOrder) -> bool {
    match seed {
        "approval" => order.open::<ApprovalStatement>().is_ok(),
        "charter" => order.open::<Charter>().is_ok_and(|it| it.is_sound()),
        "checkpoint" => order.open::<Checkpoint>().is_ok(),
        "closing" => order.open::<ClosingStatement>().is_ok_and(|it| it.check().is_ok()),
        "directive" => order.open::<Directive>().is_ok_and(|it| it.check().is_ok()),
        "grant" => order.open::<Grant>().is_ok_and(|it| it.check().is_ok()),
        "receipt" => order.open::<ReceiptBody>().is_ok(),
        _ => panic!("{seed} is not known here"),
    }
}

fn body(which: u8, body: &[u8]) -> bool {
    match which {
        0 => decode::<IdentityBody>(body, identity::BYTES_MAX).is_ok(),
        1 => decode::<Charter>(body, BODY_BYTES_MAX).is_ok_and(|it| it.is_sound()),
        2 => decode::<ReceiptBody>(body, BODY_BYTES_MAX).is_ok(),
        3 => decode::<Directive>(body, BODY_BYTES_MAX).is_ok_and(|it| it.check().is_ok()),
        4 => decode::<Checkpoint>(body, BODY_BYTES_MAX).is_ok(),
        5 => decode::<ApprovalStatement>(body, BODY_BYTES_MAX).is_ok(),
        6 => ApprovalRequest::decode(body).is_ok(),
        7 => GrantProposal::decode(body).is_ok_and(|it| it.check().is_ok()),
        8 => EntitlementBody::decode(body).is_ok(),
        9 => ReceiptMessageBody::decode(body).is_ok(),
        10 => HeldOrders::decode(body).is_ok_and(|it| !it.orders.is_empty()),
        11 => decode::<ClosingStatement>(body, BODY_BYTES_MAX).is_ok_and(|it| it.check().is_ok()),
        12 => DirectiveMessageBody::decode(body).is_ok(),
        13 => ClosingMessageBody::decode(body).is_ok(),
        14 => Change::decode(body).is_ok(),
        _ => false,
    }
}

fn key_file(bytes: &[u8]) -> bool {
    let Ok(file) = KeyFile::parse(bytes) else { return false };
    let chunks = file.chunks().unwrap_or_default();
    KeyFileHead::decode(file.head()).is_ok()
        && !chunks.is_empty()
        && chunks.iter().all(|chunk| SealedKeys::decode(chunk).is_ok())
}

/// The program's own reading of PEM is behind these; here it is what is in the documents.
fn pem(which: u8, file: &[u8]) -> bool {
    let key = |pkcs8: &[u8]| {
        let mut all = SignatureAlgorithm::ALL.into_iter();
        all.any(|algorithm| SigningKey::from_pkcs8(algorithm, pkcs8).is_ok())
    };
    let document = || pem_rfc7468::decode_vec(file).map(|(_, der)| der).unwrap_or_default();
    match which {
        1 => key(file),
        3 => VerifiedCsr::check(&document()).is_ok(),
        4 => key(&document()),
        5 => RecipientKey::from_bytes(Suite::P256Sha256Aes256Gcm, &document()).is_ok(),
        _ => true,
    }
}

fn escrow(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority());
    let key = RecipientKey::from_bytes(Suite::P256Sha256Aes256Gcm, &[7; 32]).unwrap();
    EmulatedPlatform::recover(&dir.unwrap(), bytes, &key).is_ok()
}
