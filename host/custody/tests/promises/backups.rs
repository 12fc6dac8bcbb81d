//! Backups of a running host: whole, on record, and nothing of them without both.

use futures_executor::block_on;
use mintmark_crypto::digest::sha256;
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_sdk_testing::{Device, Hardware};
use mintmark_store::BackupReader;

use crate::bench::{Bench, Line};

/// A backup of the bench's site, and its pieces.
pub(crate) fn pieces(bench: &Bench) -> Vec<Vec<u8>> {
    let session = bench.site.session_of::<Line>("admin", "anna");
    let mut backup = block_on(bench.site.custody().backup(session)).unwrap();
    std::iter::from_fn(|| block_on(backup.next_piece()).unwrap()).collect()
}

#[test]
fn i2_a_backup_is_on_record_before_its_last_piece_leaves() {
    let bench = Bench::on(Hardware::memory());
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let session = bench.site.session_of::<Line>("admin", "anna");
    let mut backup = block_on(bench.site.custody().backup(session)).unwrap();
    let made = |bench: &Bench| {
        let made = |event| match event {
            Event::BackupMade { commit, digest } => Some((commit, digest)),
            _ => None,
        };
        bench.rows().into_iter().find_map(|row| made(row.body.event))
    };
    let mut file = Vec::new();
    let mut given = 0;
    while let Some(piece) = block_on(backup.next_piece()).unwrap() {
        given += 1;
        file.push(piece);
        if backup.digest().is_none() {
            assert_eq!(made(&bench), None, "piece {given}");
        }
    }
    let commit = backup.commit();
    assert_eq!(made(&bench), Some((commit, sha256(&file.concat()))));
    assert_eq!(backup.digest(), Some(sha256(&file.concat())));
    // Without the last piece nothing opens.
    let sealing = bench.site.hardware().platform.sealing_secret().unwrap();
    let all = file.concat();
    assert_eq!(BackupReader::open(&all[..], &sealing).unwrap().header().commit, commit);
    file.pop();
    assert!(BackupReader::open(&file.concat()[..], &sealing).is_err());
}

#[test]
fn a_backup_that_nobody_finishes_costs_nothing() {
    let bench = Bench::new();
    let rows = bench.rows().len();
    let session = bench.site.session_of::<Line>("admin", "anna");
    let mut backup = block_on(bench.site.custody().backup(session)).unwrap();
    assert!(block_on(backup.next_piece()).unwrap().is_some());
    drop(backup);
    assert_eq!(bench.rows().len(), rows);
    assert!(pieces(&bench).len() >= 2);
}

#[test]
fn every_row_of_the_ledger_can_be_read_and_no_more() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let mut reader = block_on(bench.site.custody().read_ledger()).unwrap();
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    let mut read = 0;
    while let Some(page) = block_on(reader.next_page()).unwrap() {
        assert_eq!(page.node, mintmark_sdk_testing::NODE);
        read += page.rows.len();
    }
    assert_eq!(read, bench.rows().len() - 1, "as of the moment at which reading began");
}

#[test]
fn r5_a_read_only_host_makes_no_backup() {
    let bench = Bench::new();
    let hardware = bench.site.hardware().clone();
    let anchor = hardware.platform.anchor().unwrap().unwrap();
    let ahead = mintmark_platform::Anchor { commit: anchor.commit + 1, ..anchor };
    hardware.platform.advance(&ahead).unwrap();
    let Bench { site, .. } = bench;
    let site = site.restart().unwrap();
    let session = site.session_of::<Line>("admin", "anna");
    let refused = block_on(site.custody().backup(session)).err().unwrap();
    assert_eq!(refused.reason, Reason::RollbackSuspected);
}
