//! A backup is the store as it was at one moment, and anything less is none.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use cap_std::{ambient_authority, fs::Dir};
use futures_executor::block_on;
use mintmark_crypto::{Secret, SecretBytes};
use mintmark_store::{
    Add, BackupReader, BackupWriter, Damage, Embedded, Error, Identity, Key, NewRow, Range,
    Snapshot, Store, Transaction, Verified,
};

const NAME: &str = "store";
const STORE_ID: [u8; 16] = [7; 16];

fn secret() -> Secret<32> {
    Secret::from_bytes(&[9; 32])
}

fn folder() -> (tempfile::TempDir, Dir) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
    (temporary, dir)
}

fn fresh(node: &str) -> (tempfile::TempDir, Embedded) {
    let (temporary, dir) = folder();
    let identity = Identity::new(STORE_ID, node);
    (temporary, Embedded::create(&dir, NAME, &identity, &secret()).unwrap())
}

/// Writes `count` records of `length` bytes, each with a row.
fn fill(store: &Embedded, from: u32, count: u32, length: usize) {
    let batch = (from..from + count).map(|number| Transaction {
        writes: vec![(
            Key::new(1, number.to_be_bytes()),
            Some(SecretBytes::new(vec![number as u8; length])),
        )],
        adds: vec![Add { key: Key::new(2, "count"), delta: 1, min: 0, max: 1_000_000 }],
        rows: vec![NewRow { body: format!("row of {number}").into(), counters: vec![0] }],
        ..Transaction::default()
    });
    block_on(store.commit(batch.collect())).unwrap();
}

fn backup_of(store: &dyn Store) -> Vec<u8> {
    let snapshot = block_on(store.snapshot()).unwrap();
    pieces(BackupWriter::new(snapshot, &STORE_ID, &secret())).concat()
}

fn pieces(mut writer: BackupWriter) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| block_on(writer.next_piece()).unwrap()).collect()
}

fn restore(backup: &[u8]) -> Result<(tempfile::TempDir, Embedded, Verified), Error> {
    let (temporary, dir) = folder();
    let reader = BackupReader::open(backup, &secret())?;
    let identity = Identity::new(STORE_ID, "a");
    let archived = |chain: &str| format!("{chain}~1");
    let (store, verified) = Embedded::restore(&dir, NAME, &identity, &secret(), reader, archived)?;
    Ok((temporary, store, verified))
}

fn refusal(backup: &[u8]) -> Option<Error> {
    restore(backup).err()
}

/// All records, and all rows of a chain.
fn everything(store: &dyn Store, chain: &str) -> Vec<Vec<u8>> {
    let snapshot: Arc<dyn Snapshot> = block_on(store.snapshot()).unwrap();
    let mut seen = vec![snapshot.position().commit.to_be_bytes().to_vec()];
    seen.push(snapshot.position().set_hash.to_vec());
    for table in 0..=u8::MAX {
        for (key, found) in block_on(snapshot.scan(&Range::all(table, []))).unwrap() {
            seen.push(key.key);
            seen.push(found.version.0.to_be_bytes().into());
            seen.push(found.value.unwrap().expose().to_vec());
        }
    }
    let rows = block_on(snapshot.rows(chain, 0, usize::MAX)).unwrap();
    seen.extend(rows.into_iter().map(|row| row.encoded));
    seen
}

#[test]
fn a_restored_store_is_the_one_that_was_backed_up() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 100, 40);
    // Longer than a chunk of the file, and many that fill some.
    fill(&store, 1_000, 2, 3 << 20);
    fill(&store, 2_000, 40, 100_000);
    let backup = backup_of(&store);
    let (_other, restored, verified) = restore(&backup).unwrap();
    assert_eq!((verified.records, verified.rows), (143, 142));
    assert_eq!(everything(&restored, "a~1"), everything(&store, "a"));
    assert_eq!(block_on(restored.verify()).unwrap().rows, 142);
    // It goes on where it was, with a chain of its own.
    fill(&restored, 5_000, 1, 10);
    let verified = block_on(restored.verify()).unwrap();
    let heads = verified.position.heads.iter().map(|head| (head.node.as_str(), head.sequence));
    assert_eq!(heads.collect::<Vec<_>>(), [("a", 1), ("a~1", 142)]);
}

#[test]
fn a_store_without_anything_has_a_backup_too() {
    let (_place, store) = fresh("a");
    let (_other, restored, verified) = restore(&backup_of(&store)).unwrap();
    assert_eq!((verified.records, verified.rows), (0, 0));
    assert_eq!(everything(&restored, "a~1"), everything(&store, "a"));
}

#[test]
fn what_is_committed_meanwhile_is_not_in_the_backup() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 200, 20_000);
    let before = everything(&store, "a");
    let snapshot = block_on(store.snapshot()).unwrap();
    let mut writer = BackupWriter::new(snapshot, &STORE_ID, &secret());
    let mut backup = Vec::new();
    let mut number = 1_000;
    while let Some(piece) = block_on(writer.next_piece()).unwrap() {
        backup.extend(piece);
        fill(&store, number, 3, 20_000);
        fill(&store, number % 200, 1, 10);
        number += 3;
    }
    assert!(number > 1_009, "the store was written to while the backup was made");
    let (_other, restored, _) = restore(&backup).unwrap();
    assert_eq!(everything(&restored, "a~1"), before);
}

#[test]
fn s6_a_changed_byte_anywhere_makes_a_backup_none() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 30, 50);
    let backup = backup_of(&store);
    for at in 0..backup.len() {
        let mut changed = backup.clone();
        changed[at] ^= 1;
        assert!(refusal(&changed).is_some(), "byte {at}");
    }
    assert_eq!(refusal(&backup), None);
}

#[test]
fn s8_a_backup_that_is_cut_off_or_goes_on_is_refused() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 30, 50);
    let backup = backup_of(&store);
    for length in 0..backup.len() {
        assert_eq!(refusal(&backup[..length]), Some(Damage::BackupEnd.into()), "{length}");
    }
    assert_eq!(refusal(&[&backup[..], &[0]].concat()), Some(Damage::BackupEnd.into()));
}

#[test]
fn s11_chunks_are_neither_dropped_nor_moved_nor_taken_from_another_backup() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 8, 1 << 20);
    let snapshot = || block_on(store.snapshot()).unwrap();
    let first = pieces(BackupWriter::new(snapshot(), &STORE_ID, &secret()));
    let second = pieces(BackupWriter::new(snapshot(), &STORE_ID, &secret()));
    assert!(first.len() > 5, "{}", first.len());
    assert_eq!(refusal(&first.concat()), None);
    let without = |at: usize| [&first[..at], &first[at + 1..]].concat().concat();
    for at in 1..first.len() {
        assert!(refusal(&without(at)).is_some(), "without {at}");
        let mut mixed = first.clone();
        mixed[at].clone_from(&second[at]);
        let number = at as u64 - 1;
        assert_eq!(refusal(&mixed.concat()), Some(Damage::BackupChunk { number }.into()));
    }
    let mut swapped = first.clone();
    swapped.swap(2, 3);
    assert_eq!(refusal(&swapped.concat()), Some(Damage::BackupChunk { number: 1 }.into()));
}

#[test]
fn s13_only_the_secret_of_its_platform_opens_a_backup() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 3, 50);
    let backup = backup_of(&store);
    let other = Secret::from_bytes(&[8; 32]);
    let opened = BackupReader::open(&backup[..], &other).map(|_| ());
    assert_eq!(opened, Err(Error::WrongSecret));
    let (_temporary, dir) = folder();
    let reader = BackupReader::open(&backup[..], &secret()).unwrap();
    let another = Identity::new([6; 16], "a");
    let restored =
        Embedded::restore(&dir, NAME, &another, &secret(), reader, str::to_owned).map(|_| ());
    assert_eq!(restored, Err(Error::WrongIdentity));
    assert!(!dir.exists(NAME), "nothing was made");
}

#[test]
fn s14_a_backup_of_a_newer_format_is_refused_by_number() {
    let (_place, store) = fresh("a");
    let mut backup = backup_of(&store);
    backup[11] = 2;
    assert_eq!(refusal(&backup), Some(Error::NewerFormat { found: 2, known: 1 }));
    backup[0] ^= 1;
    assert_eq!(refusal(&backup), Some(Damage::Header.into()));
}

#[test]
fn a_restore_that_failed_left_nothing_that_opens() {
    let (_place, store) = fresh("a");
    fill(&store, 0, 8, 1 << 20);
    let backup = backup_of(&store);
    let (_temporary, dir) = folder();
    let identity = Identity::new(STORE_ID, "a");
    let reader = BackupReader::open(&backup[..backup.len() - 1], &secret()).unwrap();
    let restored = Embedded::restore(&dir, NAME, &identity, &secret(), reader, str::to_owned);
    assert_eq!(restored.err(), Some(Damage::BackupEnd.into()));
    assert_eq!(
        Embedded::open(&dir, NAME, &identity, &secret()).err(),
        Some(Damage::Header.into()),
        "half a store opens as none"
    );
    // And a store that is there is never written over.
    let reader = BackupReader::open(&backup[..], &secret()).unwrap();
    let again = Embedded::restore(&dir, NAME, &identity, &secret(), reader, str::to_owned);
    assert_eq!(again.err(), Some(Error::Exists));
}

#[test]
fn nothing_that_was_stored_is_in_a_backup_in_the_clear() {
    let (_place, store) = fresh("node-a");
    let secret_text = b"a secret of many bytes";
    let transaction = Transaction {
        writes: vec![(Key::new(1, "a key"), Some(SecretBytes::new(secret_text.to_vec())))],
        rows: vec![NewRow { body: b"a row of the ledger".to_vec(), counters: Vec::new() }],
        ..Transaction::default()
    };
    block_on(store.commit(vec![transaction])).unwrap();
    let backup = backup_of(&store);
    let holds = |part: &[u8]| backup.windows(part.len()).any(|window| window == part);
    assert!(holds(b"MMBACKUP"));
    for part in [&secret_text[..], b"a key", b"a row of the ledger", b"node-a"] {
        assert!(!holds(part), "{part:?}");
    }
}
