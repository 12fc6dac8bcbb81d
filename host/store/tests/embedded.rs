//! What the embedded engine holds to when its file, or whoever opens it, is not what it should be.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use cap_std::{ambient_authority, fs::Dir};
use futures_executor::block_on;
use mintmark_crypto::{Secret, SecretBytes};
use mintmark_store::{
    Add, Damage, Embedded, Error, Identity, Key, NewRow, Range, Store, Transaction,
};

const NAME: &str = "store";

struct Machine {
    temporary: tempfile::TempDir,
    dir: Dir,
}

fn identity() -> Identity {
    Identity::new([7; 16], "node-a")
}

fn secret() -> Secret<32> {
    Secret::from_bytes(&[9; 32])
}

impl Machine {
    fn empty() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
        Self { temporary, dir }
    }

    /// A machine with a store of a hundred units, closed.
    fn with_units() -> Self {
        let machine = Self::empty();
        let store = machine.create().unwrap();
        for unit in 0..100 {
            draw(&store, unit);
        }
        machine
    }

    fn create(&self) -> Result<Embedded, Error> {
        Embedded::create(&self.dir, NAME, &identity(), &secret())
    }

    fn open(&self) -> Result<Embedded, Error> {
        Embedded::open(&self.dir, NAME, &identity(), &secret())
    }

    fn refusal(&self) -> Option<Error> {
        self.open().err()
    }

    fn content(&self) -> Vec<u8> {
        self.dir.read(NAME).unwrap()
    }

    fn replace(&self, content: &[u8]) {
        self.dir.write(NAME, content).unwrap();
    }
}

fn draw(store: &Embedded, unit: u32) {
    let transaction = Transaction {
        writes: vec![(
            Key::new(1, unit.to_be_bytes()),
            Some(SecretBytes::new(format!("secret of unit {unit}").into())),
        )],
        adds: vec![Add { key: Key::new(2, "issued"), delta: 1, min: 0, max: 1_000 }],
        rows: vec![NewRow { body: format!("issued unit {unit}").into(), counters: vec![0] }],
        ..Transaction::default()
    };
    block_on(store.commit(vec![transaction])).unwrap();
}

/// Everything that a reader can see.
fn everything(store: &Embedded) -> Result<Vec<Vec<u8>>, Error> {
    let snapshot = block_on(store.snapshot())?;
    let mut seen = vec![format!("{:?}", snapshot.position()).into()];
    for table in [1, 2] {
        for (key, found) in block_on(snapshot.scan(&Range::all(table, [])))? {
            seen.push(key.key);
            seen.push(found.version.0.to_be_bytes().into());
            seen.push(found.value.unwrap().expose().to_vec());
        }
    }
    for row in block_on(snapshot.rows("node-a", 0, usize::MAX))? {
        seen.push(row.encoded);
    }
    Ok(seen)
}

#[test]
fn a_store_is_there_after_a_restart() {
    let machine = Machine::with_units();
    let first = everything(&machine.open().unwrap()).unwrap();
    let store = machine.open().unwrap();
    assert_eq!(everything(&store).unwrap(), first);
    draw(&store, 100);
    let verified = block_on(store.verify()).unwrap();
    assert_eq!((verified.records, verified.rows), (102, 101));
}

#[test]
fn s8_a_missing_or_empty_file_is_refused_and_never_made() {
    let machine = Machine::empty();
    assert_eq!(machine.refusal(), Some(Error::Missing));
    machine.replace(b"");
    assert_eq!(machine.refusal(), Some(Damage::EmptyFile.into()));
    assert_eq!(machine.content(), b"");
    assert_eq!(machine.create().err(), Some(Error::Exists));
    machine.replace(&[0; 100_000]);
    assert_eq!(machine.refusal(), Some(Damage::File.into()));
}

#[test]
fn a_store_is_never_created_over_another() {
    let machine = Machine::with_units();
    let content = machine.content();
    assert_eq!(machine.create().err(), Some(Error::Exists));
    assert_eq!(machine.content(), content);
}

#[test]
fn another_secret_or_identity_is_refused_by_name() {
    let machine = Machine::with_units();
    let open = |identity, secret| Embedded::open(&machine.dir, NAME, &identity, &secret).err();
    let other_secret = Secret::from_bytes(&[8; 32]);
    assert_eq!(open(identity(), other_secret), Some(Error::WrongSecret));
    let other_store = Identity::new([8; 16], "node-a");
    assert_eq!(open(other_store, secret()), Some(Error::WrongIdentity));
    let nameless = Identity::new([7; 16], "");
    assert_eq!(open(nameless, secret()), Some(Error::WrongIdentity));
    assert_eq!(machine.refusal(), None);
}

#[test]
fn s8_the_file_of_another_store_is_refused() {
    let machine = Machine::with_units();
    let other = Machine::empty();
    let other_identity = Identity::new([6; 16], "node-a");
    drop(Embedded::create(&other.dir, NAME, &other_identity, &secret()).unwrap());
    machine.replace(&other.content());
    assert_eq!(machine.refusal(), Some(Error::WrongIdentity));
}

#[test]
fn another_node_continues_the_store_with_a_chain_of_its_own() {
    let machine = Machine::with_units();
    let incarnation = Identity::new([7; 16], "node-a-2");
    let store = Embedded::open(&machine.dir, NAME, &incarnation, &secret()).unwrap();
    draw(&store, 100);
    let verified = block_on(store.verify()).unwrap();
    let heads = verified.position.heads;
    let ends: Vec<_> = heads.iter().map(|h| (h.node.as_str(), h.sequence)).collect();
    assert_eq!(ends, [("node-a", 100), ("node-a-2", 1)]);
}

#[test]
fn s9_a_second_opener_is_refused() {
    let machine = Machine::with_units();
    let store = machine.open().unwrap();
    assert_eq!(machine.refusal(), Some(Error::Locked));
    draw(&store, 100);
    drop(store);
    assert_eq!(machine.refusal(), None);
}

#[test]
fn s9_a_second_process_is_refused() {
    let machine = Machine::with_units();
    let refused_in_child = || {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process", "--nocapture"])
            .env("MINTMARK_TEST_STORE", machine.temporary.path())
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&child.stdout).contains("running 1 test"));
        !child.status.success() && String::from_utf8_lossy(&child.stderr).contains("Locked")
    };
    let store = machine.open().unwrap();
    assert!(refused_in_child());
    drop(store);
    assert!(!refused_in_child());
}

/// The other process of the test above; does nothing when it is run by itself.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os("MINTMARK_TEST_STORE") else {
        return;
    };
    let dir = Dir::open_ambient_dir(path, ambient_authority()).unwrap();
    Embedded::open(&dir, NAME, &identity(), &secret()).unwrap();
}

#[test]
fn s8_every_truncation_is_refused() {
    let machine = Machine::with_units();
    let whole = machine.content();
    let pages = (1..whole.len() / 4096).map(|page| page * 4096);
    for len in pages.chain([1, 100, whole.len() - 1, 4097]) {
        machine.replace(&whole[..len]);
        let refusal = machine.refusal();
        let named = [Damage::Truncated.into(), Damage::File.into()];
        assert!(refusal.is_some_and(|error| named.contains(&error)), "{len}: {refusal:?}");
        assert_eq!(machine.content(), &whole[..len], "evidence is kept");
    }
    machine.replace(&whole);
    assert_eq!(machine.refusal(), None);
}

#[test]
fn s6_a_flipped_byte_is_refused_named_or_without_effect() {
    let machine = Machine::with_units();
    let whole = machine.content();
    let intact = everything(&machine.open().unwrap()).unwrap();
    let whole_after = machine.content();
    assert_eq!(whole.len(), whole_after.len());
    let mut detected = 0;
    for at in (0..whole.len()).step_by(397) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        machine.replace(&flipped);
        let outcome = machine.open().and_then(|store| {
            block_on(store.verify())?;
            everything(&store)
        });
        match outcome {
            Ok(seen) => assert!(seen == intact, "byte {at} changed what is read"),
            Err(Error::Corrupt { .. } | Error::WrongSecret | Error::WrongIdentity) => detected += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(detected > 10, "the flips did reach something: {detected}");
}

#[test]
fn nothing_that_was_stored_is_in_the_file_in_the_clear() {
    let machine = Machine::with_units();
    let content = machine.content();
    for secret in ["secret of unit", "issued unit"] {
        let found = content.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
        assert!(!found, "{secret}");
    }
    let control = content.windows(8).any(|bytes| bytes == b"MINTMARK");
    assert!(control, "the search does find what is in the clear");
}

#[cfg(unix)]
#[test]
fn the_file_is_readable_by_its_owner_alone() {
    use cap_std::fs::MetadataExt;
    let machine = Machine::with_units();
    assert_eq!(machine.dir.metadata(NAME).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_snapshot_that_outlives_its_store_does_not_keep_the_file() {
    let machine = Machine::with_units();
    let store = machine.open().unwrap();
    let snapshot = block_on(store.snapshot()).unwrap();
    drop(store);
    assert_eq!(machine.refusal(), None);
    let late = block_on(snapshot.get(&[Key::new(1, 5_u32.to_be_bytes())])).map(|_| ());
    assert_eq!(late, Err(Error::Unavailable));
}
