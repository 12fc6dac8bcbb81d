//! Inclusion proofs: made by a site's host, verified by anybody who has the root certificate.

use std::path::Path;

use mintmark_crypto::digest::sha256;
use mintmark_exchange::inclusion::{InclusionProof, Proven};
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::ProveDeviceRequest;
use serde_json::{Value, json};

use super::offline::{Signatures, word};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Page, moment};
use crate::{files, pem};

/// Fetches the proof of a device.
pub(super) async fn prove(
    client: &Client,
    subject: String,
    entitlement: String,
    out: &Path,
) -> Result<Page, Error> {
    let request = ProveDeviceRequest { entitlement, subject };
    let answer = client.ledger().prove_device(request).await.map_err(Failure::from)?;
    let file = answer.into_inner().proof;
    let proof = InclusionProof::decode(&file)
        .map_err(|why| Error::misfit(why.to_string(), "Use the program of the host's version."))?;
    Ok(Page::facts(&[
        ("file", json!(files::write(out, &file)?)),
        ("bytes", json!(file.len())),
        ("receipted", json!(proof.receipt.is_some())),
    ]))
}

/// Verifies the proof in a file, and that it is about this certificate.
pub(super) fn verify(file: &Path, root: &Path, certificate: Option<&Path>) -> Result<Page, Error> {
    let signatures = Signatures::under(root)?;
    let next = "Ask the site for the proof again, and headquarters about the device.";
    let refused = |why: String| Error::misfit(format!("{}: {why}", file.display()), next);
    let content = files::read(file)?;
    let proof = InclusionProof::decode(&content).map_err(|why| refused(why.to_string()))?;
    let proven = proof.verify(&signatures).map_err(|why| refused(why.to_string()))?;
    if let Some(path) = certificate {
        let certificate = pem::decode_chain(&files::read(path)?)?.swap_remove(0);
        if proven.unit.certificate_hash != Some(sha256(&certificate)) {
            return Err(refused("it is about another certificate".to_owned()));
        }
    }
    Ok(Page::facts(&facts(&proven)))
}

fn facts(proven: &Proven) -> Vec<(&'static str, Value)> {
    let hash = |hash: Option<[u8; 32]>| hash.map(hex::encode);
    let unit = &proven.unit;
    let receipted = proven.receipted.as_ref();
    let by = receipted.map_or("nobody: the site alone vouches for it", |by| &by.headquarters);
    let mut facts = vec![
        ("site", json!(proven.site)),
        ("device", json!(unit.subject)),
        ("serial number", json!(unit.serial)),
        ("entitlement", json!(unit.entitlement)),
        ("unit", json!(unit.unit)),
        ("certificate", json!(hash(unit.certificate_hash))),
        ("certificate serial", json!(unit.certificate_serial.as_ref().map(hex::encode))),
        ("public key", json!(hash(unit.key_hash))),
        ("program", json!(hash(proven.measurement))),
        ("issued (site time)", json!(moment(proven.time_ms))),
        ("ledger", json!(format!("{} incarnation {}", proven.node, proven.incarnation))),
        ("row", json!(proven.row)),
        ("receipted by", json!(by)),
    ];
    if let Some(receipted) = receipted {
        facts.push(("verdict", json!(word(receipted.verdict))));
        facts.push(("receipted", json!(moment(receipted.made_at))));
    }
    facts
}
