use super::*;
use crate::{
    canonical::sha256,
    grant::Grant,
    merkle::PathBuilder,
    reconcile::tests::site::{HANOI, HQ, Hashes, SHENZHEN, Site, grant, sign_order},
    row::RowBody,
};

/// A site with a start, an import and five devices: rows 1, 2, and 3 to 17.
fn produced() -> (Grant, Site) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 5);
    (grant, site)
}

fn receipt(checkpoint: &Checkpoint) -> ReceiptBody {
    ReceiptBody {
        version: 1,
        exporter: HQ.to_owned(),
        recipient: checkpoint.cluster.clone(),
        bundle: [1; 32],
        stretches: vec![Stretch::of(checkpoint)],
        verdict: Verdict::Clean,
        report: [2; 32],
        made_at: checkpoint.made_at + 1,
        exported_at: checkpoint.made_at,
        holds: Vec::new(),
    }
}

/// The proof of a row in the stretch of ledger after `from`.
fn proof(site: &Site, from: u64, sequence: u64) -> InclusionProof {
    let checkpoint = site.checkpoint(from);
    let mut path = PathBuilder::new(sequence - from - 1, checkpoint.rows).unwrap();
    for row in from + 1..=checkpoint.to.sequence {
        path.push(&site.position(row).hash);
    }
    InclusionProof {
        row: site.rows[sequence as usize - 1].clone(),
        path: path.finish().unwrap(),
        receipt: Some(sign_order(order::RECEIPT, HQ, &receipt(&checkpoint))),
        checkpoint: sign_order(order::CHECKPOINT, SHENZHEN, &checkpoint),
    }
}

#[test]
fn a_device_is_proved_in_any_bundle_that_holds_its_row() {
    let (_, site) = produced();
    for (unit, row) in [(0, 4), (1, 7), (4, 16)] {
        for from in 0..row {
            let proof = proof(&site, from, row);
            let read = InclusionProof::decode(&proof.encode()).unwrap();
            assert_eq!(read, proof);
            let proven = read.verify(&Hashes).unwrap();
            assert_eq!((proven.row, proven.unit.unit), (row, unit));
            assert_eq!((proven.site.as_str(), proven.node.as_str()), (SHENZHEN, "n1"));
            assert_eq!(proven.unit.subject, format!("1-{unit}"));
            assert_eq!(proven.receipted.unwrap().headquarters, HQ);
        }
    }
}

#[test]
fn a_row_that_issues_nothing_proves_no_device() {
    let (_, site) = produced();
    // A start, an import, a reservation, a confirmation.
    for row in [1, 2, 3, 5] {
        assert_eq!(proof(&site, 0, row).verify(&Hashes), Err(ProofError::NoDevice));
    }
}

#[test]
fn s11_an_edited_row_is_not_proved() {
    let (_, site) = produced();
    let honest = proof(&site, 0, 7);
    for place in 0..honest.row.len() {
        let mut edited = honest.clone();
        edited.row[place] ^= 1;
        assert!(edited.verify(&Hashes).is_err(), "byte {place}");
    }
    let mut other = honest;
    other.row = site.rows[9].clone();
    assert_eq!(other.verify(&Hashes), Err(ProofError::Path));
}

#[test]
fn a_row_before_the_stretch_is_not_proved() {
    let (_, site) = produced();
    let mut moved = proof(&site, 8, 10);
    moved.row = site.rows[6].clone();
    assert_eq!(moved.verify(&Hashes), Err(ProofError::Path));
}

/// A checkpoint is believed only from the custody of the cluster that it names.
#[test]
fn a_checkpoint_of_somebody_else_proves_nothing() {
    let (_, site) = produced();
    let checkpoint = site.checkpoint(0);
    for signer in [HANOI, HQ] {
        let mut proof = proof(&site, 0, 7);
        proof.checkpoint = sign_order(order::CHECKPOINT, signer, &checkpoint);
        assert_eq!(proof.verify(&Hashes), Err(ProofError::Checkpoint));
    }
    let mut relabelled = proof(&site, 0, 7);
    relabelled.checkpoint = sign_order(order::GRANT, SHENZHEN, &checkpoint);
    assert_eq!(relabelled.verify(&Hashes), Err(ProofError::Checkpoint));
    let mut widened = checkpoint;
    widened.rows += 1;
    let mut proof = proof(&site, 0, 7);
    proof.checkpoint = sign_order(order::CHECKPOINT, SHENZHEN, &widened);
    assert_eq!(proof.verify(&Hashes), Err(ProofError::Checkpoint));
}

#[test]
fn a_receipt_for_something_else_proves_nothing() {
    let (_, site) = produced();
    let checkpoint = site.checkpoint(0);
    let edits: [fn(&mut ReceiptBody); 9] = [
        |receipt| receipt.exporter = SHENZHEN.to_owned(),
        |receipt| receipt.recipient = HANOI.to_owned(),
        |receipt| receipt.stretches[0].to.hash[0] ^= 1,
        |receipt| receipt.stretches[0].to.sequence -= 1,
        |receipt| receipt.stretches[0].to.incarnation += 1,
        |receipt| receipt.stretches[0].merkle_root[0] ^= 1,
        |receipt| receipt.stretches[0].from += 1,
        |receipt| receipt.verdict = Verdict::Hold,
        |receipt| receipt.version = 2,
    ];
    for edit in edits {
        let mut body = receipt(&checkpoint);
        edit(&mut body);
        let mut proof = proof(&site, 0, 7);
        let signer = body.exporter.clone();
        proof.receipt = Some(sign_order(order::RECEIPT, &signer, &body));
        assert_eq!(proof.verify(&Hashes), Err(ProofError::Receipt));
    }
    let mut forged = proof(&site, 0, 7);
    forged.receipt = Some(sign_order(order::RECEIPT, SHENZHEN, &receipt(&checkpoint)));
    assert_eq!(forged.verify(&Hashes), Err(ProofError::Receipt));
}

/// A device that was never in the ledger: the site signs a second checkpoint, which ends with the
/// same row, over hashes of its choice.
#[test]
fn a_receipt_does_not_vouch_for_another_root_before_the_same_row() {
    let (_, site) = produced();
    let honest = site.checkpoint(0);
    let copied = proof(&site, 0, 7);
    let body = RowBody { request: [9; 16], ..Row::decode(&copied.row).unwrap().body };
    let invented = crate::row::encode_envelope(7, &[8; 32], &body.encode(), &[], &[0; 32]).unwrap();
    let hash = Row::decode(&invented).unwrap().hash;
    let mut tree = merkle::Tree::new();
    let mut path = PathBuilder::new(6, honest.rows).unwrap();
    for row in 1..=honest.rows {
        let leaf = if row == 7 { hash } else { sha256(&row.to_be_bytes()) };
        tree.push(&leaf);
        path.push(&leaf);
    }
    let forged = Checkpoint { merkle_root: tree.root(), ..honest };
    let forged = InclusionProof {
        row: invented,
        path: path.finish().unwrap(),
        checkpoint: sign_order(order::CHECKPOINT, SHENZHEN, &forged),
        receipt: copied.receipt,
    };
    let alone = InclusionProof { receipt: None, ..forged.clone() };
    assert_eq!(alone.verify(&Hashes).unwrap().receipted, None, "the site signed it");
    assert_eq!(forged.verify(&Hashes), Err(ProofError::Receipt));
}

/// Bundles that begin at different rows and end with the same one have receipts of their own.
#[test]
fn a_receipt_does_not_vouch_for_a_bundle_that_begins_elsewhere() {
    let (_, site) = produced();
    let longer = proof(&site, 0, 7);
    let shorter = proof(&site, 3, 7);
    for (proof, other) in [(&longer, &shorter), (&shorter, &longer)] {
        let mixed = InclusionProof { receipt: other.receipt.clone(), ..proof.clone() };
        assert_eq!(mixed.verify(&Hashes), Err(ProofError::Receipt));
    }
}

/// A site that loses a bundle signs the same rows again, later.
#[test]
fn a_receipt_vouches_for_every_checkpoint_over_its_rows() {
    let (_, site) = produced();
    let mut again = site.checkpoint(0);
    again.made_at += 60_000;
    let checkpoint = sign_order(order::CHECKPOINT, SHENZHEN, &again);
    let proof = InclusionProof { checkpoint, ..proof(&site, 0, 7) };
    assert_eq!(proof.verify(&Hashes).unwrap().receipted.unwrap().verdict, Verdict::Clean);
}

#[test]
fn without_a_receipt_the_site_alone_vouches() {
    let (_, site) = produced();
    let proof = InclusionProof { receipt: None, ..proof(&site, 0, 7) };
    assert_eq!(proof.verify(&Hashes).unwrap().receipted, None);
}

#[test]
fn p1_every_truncated_prefix_and_p4_every_longer_file_is_refused() {
    let (_, site) = produced();
    let file = proof(&site, 0, 7).encode();
    for end in 0..file.len() {
        assert!(InclusionProof::decode(&file[..end]).is_err(), "{end}");
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert_eq!(InclusionProof::decode(&longer), Err(DecodeError::Trailing));
    let mut newer = file;
    newer[5] = 2;
    assert_eq!(InclusionProof::decode(&newer), Err(DecodeError::UnknownVersion));
}

#[test]
fn p3_a_path_without_end_is_refused() {
    let (_, site) = produced();
    let mut proof = proof(&site, 0, 7);
    proof.path = vec![[0; 32]; PATH_LENGTH_MAX + 1];
    assert_eq!(InclusionProof::decode(&proof.encode()), Err(DecodeError::TooLong));
}

#[test]
fn the_first_row_of_another_ledger_with_the_same_number_is_not_proved() {
    let (grant, site) = produced();
    let mut copy = Site::new(SHENZHEN);
    copy.import(&grant);
    copy.now_ms += 1;
    copy.produce(&grant, 5);
    let mut proof = proof(&site, 0, 7);
    proof.row = copy.rows[6].clone();
    assert_eq!(proof.verify(&Hashes), Err(ProofError::Path));
    // A row that was made up to hash to nothing known.
    let body = RowBody { request: [9; 16], ..Row::decode(&proof.row).unwrap().body };
    let previous = sha256(b"made up");
    proof.row = crate::row::encode_envelope(7, &previous, &body.encode(), &[], &[0; 32]).unwrap();
    assert_eq!(proof.verify(&Hashes), Err(ProofError::Path));
}
