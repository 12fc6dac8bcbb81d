//! What the emulated platform holds to, through restarts, crashes and edited files.

#![expect(clippy::unwrap_used, reason = "tests")]

use cap_std::{ambient_authority, fs::Dir};
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_platform::{Anchor, Error, Part, Platform, emulated::EmulatedPlatform};

const SLOT_OFFSETS: [usize; 2] = [0, 4096];
const SLOT_LEN: usize = 153;

struct Machine {
    _temporary: tempfile::TempDir,
    dir: Dir,
}

impl Machine {
    /// A machine with a fresh platform.
    fn new() -> Self {
        let machine = Self::empty();
        EmulatedPlatform::create(&machine.dir).unwrap();
        machine
    }

    fn empty() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
        Self { _temporary: temporary, dir }
    }

    fn start(&self) -> Result<EmulatedPlatform, Error> {
        EmulatedPlatform::open(&self.dir)
    }

    /// Starts, acts and stops.
    fn run<T>(&self, act: impl FnOnce(&EmulatedPlatform) -> T) -> T {
        act(&self.start().unwrap())
    }

    fn refusal(&self) -> Option<Error> {
        self.start().err()
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.dir.read(name).unwrap();
        edit(&mut content);
        self.dir.write(name, content).unwrap();
    }

    fn anchored_commit(&self) -> Option<u64> {
        self.run(|platform| platform.anchor().unwrap().map(|anchor| anchor.commit))
    }
}

fn anchor(commit: u64) -> Anchor {
    Anchor { store_id: [1; 16], epoch: 1, commit, heads_digest: [2; 32], set_hash: [3; 32] }
}

#[test]
fn the_secret_is_the_same_at_each_start_and_another_on_each_machine() {
    let machine = Machine::new();
    let secret = || machine.run(|platform| *platform.sealing_secret().unwrap().expose());
    assert_eq!(secret(), secret());
    let other = Machine::new();
    let other_secret = other.run(|platform| *platform.sealing_secret().unwrap().expose());
    assert_ne!(secret(), other_secret);
}

#[test]
fn the_platform_says_that_it_is_emulated() {
    Machine::new().run(|platform| {
        assert_eq!(platform.hardware_model(), "software-emulated");
        let empty = platform.measure(b"");
        assert_eq!(empty[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    });
}

#[test]
fn a_platform_is_never_made_anew_or_out_of_nothing() {
    let machine = Machine::empty();
    assert_eq!(machine.refusal(), Some(Error::Missing(Part::Secret)));
    EmulatedPlatform::create(&machine.dir).unwrap();
    let again = EmulatedPlatform::create(&machine.dir).err();
    assert_eq!(again, Some(Error::Exists));
    for (name, part) in [("memory", Part::Memory), ("anchor", Part::Anchor)] {
        machine.dir.remove_file(name).unwrap();
        assert_eq!(machine.refusal(), Some(Error::Missing(part)));
    }
}

#[test]
fn a_creation_that_was_interrupted_is_done_again() {
    let machine = Machine::new();
    machine.dir.remove_file("secret").unwrap();
    EmulatedPlatform::create(&machine.dir).unwrap();
    assert_eq!(machine.anchored_commit(), None);
}

#[test]
fn s9_a_second_opener_is_refused() {
    let machine = Machine::new();
    let first = machine.start().unwrap();
    assert_eq!(machine.refusal(), Some(Error::Locked));
    drop(first);
    assert_eq!(machine.refusal(), None);
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_refused() {
    use cap_std::fs::{MetadataExt, Permissions, PermissionsExt};
    let machine = Machine::new();
    assert_eq!(machine.dir.metadata("secret").unwrap().mode() & 0o777, 0o600);
    machine.dir.set_permissions("secret", Permissions::from_mode(0o640)).unwrap();
    assert_eq!(machine.refusal(), Some(Error::Exposed));
}

#[test]
fn a_secret_of_another_length_is_refused_and_another_secret_fits_nothing() {
    let machine = Machine::new();
    machine.edit("secret", |secret| secret[0] ^= 1);
    assert_eq!(machine.refusal(), Some(Error::Corrupt(Part::Anchor)));
    machine.edit("secret", |secret| secret.truncate(31));
    assert_eq!(machine.refusal(), Some(Error::Corrupt(Part::Secret)));
}

#[test]
fn the_anchor_is_there_after_a_restart() {
    let machine = Machine::new();
    assert_eq!(machine.anchored_commit(), None);
    for commit in 1..=5 {
        machine.run(|platform| platform.advance(&anchor(commit)).unwrap());
        let anchored = machine.run(|platform| platform.anchor().unwrap());
        assert_eq!(anchored, Some(anchor(commit)));
    }
}

#[test]
fn r5_the_anchor_never_goes_back() {
    let machine = Machine::new();
    machine.run(|platform| {
        platform.advance(&anchor(5)).unwrap();
        assert_eq!(platform.advance(&anchor(4)), Err(Error::Backwards));
        let fork = Anchor { heads_digest: [9; 32], ..anchor(5) };
        assert_eq!(platform.advance(&fork), Err(Error::Backwards));
        let other_store = Anchor { store_id: [9; 16], ..anchor(6) };
        assert_eq!(platform.advance(&other_store), Err(Error::Backwards));
        platform.advance(&anchor(5)).unwrap();
        let restored = Anchor { epoch: 2, ..anchor(3) };
        platform.advance(&restored).unwrap();
    });
    assert_eq!(machine.anchored_commit(), Some(3));
}

/// The file after 6 and 7 were anchored, and the slot that holds 7.
fn twice_anchored() -> (Machine, usize) {
    let machine = Machine::new();
    machine.run(|platform| platform.advance(&anchor(6)).unwrap());
    let before = machine.dir.read("anchor").unwrap();
    machine.run(|platform| platform.advance(&anchor(7)).unwrap());
    let after = machine.dir.read("anchor").unwrap();
    let changed: Vec<usize> = SLOT_OFFSETS
        .into_iter()
        .filter(|&at| before[at..at + SLOT_LEN] != after[at..at + SLOT_LEN])
        .collect();
    assert_eq!(changed.len(), 1, "a write touches one slot");
    (machine, changed[0])
}

#[test]
fn s2_a_slot_that_is_torn_at_any_byte_leaves_the_anchor_before() {
    let (machine, newer) = twice_anchored();
    let whole = machine.dir.read("anchor").unwrap();
    for torn_at in 0..SLOT_LEN {
        machine.dir.write("anchor", &whole).unwrap();
        machine.edit("anchor", |content| {
            for byte in &mut content[newer + torn_at..newer + SLOT_LEN] {
                *byte ^= 0xa5;
            }
        });
        assert_eq!(machine.anchored_commit(), Some(6), "torn at {torn_at}");
        machine.run(|platform| platform.advance(&anchor(7)).unwrap());
        assert_eq!(machine.anchored_commit(), Some(7), "torn at {torn_at}");
    }
}

#[test]
fn every_flipped_byte_of_a_slot_makes_it_void() {
    let (machine, newer) = twice_anchored();
    let whole = machine.dir.read("anchor").unwrap();
    for index in 0..SLOT_LEN {
        machine.dir.write("anchor", &whole).unwrap();
        machine.edit("anchor", |content| content[newer + index] ^= 1);
        assert_eq!(machine.anchored_commit(), Some(6), "byte {index}");
    }
}

#[test]
fn without_a_whole_slot_the_anchor_is_called_corrupt() {
    let (machine, _) = twice_anchored();
    let whole = machine.dir.read("anchor").unwrap();
    machine.edit("anchor", |content| {
        for at in SLOT_OFFSETS {
            content[at + 20] ^= 1;
        }
    });
    assert_eq!(machine.refusal(), Some(Error::Corrupt(Part::Anchor)));
    machine.dir.write("anchor", []).unwrap();
    assert_eq!(machine.refusal(), Some(Error::Corrupt(Part::Anchor)));
    machine.dir.write("anchor", &whole[..100]).unwrap();
    assert_eq!(machine.refusal(), Some(Error::Corrupt(Part::Anchor)));
}

#[test]
fn after_the_first_anchor_no_single_slot_says_that_there_was_none() {
    for at in SLOT_OFFSETS {
        let machine = Machine::new();
        machine.run(|platform| platform.advance(&anchor(1)).unwrap());
        machine.edit("anchor", |content| content[at + 20] ^= 1);
        assert_eq!(machine.anchored_commit(), Some(1));
    }
}

#[test]
fn what_was_remembered_is_known_for_good_and_costs_nothing_again() {
    let machine = Machine::new();
    machine.run(|platform| {
        assert!(!platform.remembers(&[1; 32]));
        platform.remember(&[[1; 32], [2; 32], [1; 32]]).unwrap();
        platform.remember(&[[2; 32]]).unwrap();
        assert!(platform.remembers(&[1; 32]));
    });
    machine.run(|platform| {
        assert!(platform.remembers(&[1; 32]) && platform.remembers(&[2; 32]));
        assert!(!platform.remembers(&[3; 32]));
    });
    assert_eq!(machine.dir.metadata("memory").unwrap().len(), 128);
}

#[test]
fn s2_a_torn_end_of_the_memory_that_no_anchor_covers_is_dropped() {
    let machine = Machine::new();
    machine.run(|platform| {
        platform.remember(&[[1; 32]]).unwrap();
        platform.advance(&anchor(1)).unwrap();
        platform.remember(&[[2; 32]]).unwrap();
    });
    let whole = machine.dir.read("memory").unwrap();
    let torn = (64..128).map(|len| whole[..len].to_vec());
    let zeroed = [[&whole[..64], &[0; 64]].concat()];
    for content in torn.chain(zeroed) {
        machine.dir.write("memory", &content).unwrap();
        machine.run(|platform| {
            assert!(platform.remembers(&[1; 32]) && !platform.remembers(&[2; 32]));
            platform.remember(&[[3; 32]]).unwrap();
        });
        machine.run(|platform| {
            assert!(platform.remembers(&[1; 32]) && platform.remembers(&[3; 32]));
        });
    }
}

#[test]
fn r5_a_memory_that_lost_or_changed_what_the_anchor_covers_is_called_corrupt() {
    let machine = Machine::new();
    machine.run(|platform| {
        platform.remember(&[[1; 32], [2; 32]]).unwrap();
        platform.advance(&anchor(1)).unwrap();
    });
    let whole = machine.dir.read("memory").unwrap();
    let swapped = [&whole[64..], &whole[..64]].concat();
    let mut damaged: Vec<Vec<u8>> = (0..128).map(|len| whole[..len].to_vec()).collect();
    damaged.push(swapped);
    damaged.extend((0..128).map(|index| {
        let mut flipped = whole.clone();
        flipped[index] ^= 1;
        flipped
    }));
    for content in damaged {
        machine.dir.write("memory", &content).unwrap();
        assert_eq!(machine.refusal(), Some(Error::Corrupt(Part::Memory)));
        assert_eq!(machine.dir.read("memory").unwrap(), content, "evidence is kept");
    }
}

#[test]
fn s13_an_escrow_brings_the_secret_to_other_hardware_and_nothing_else() {
    let machine = Machine::new();
    let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
    let escrow = machine.run(|platform| {
        platform.remember(&[[1; 32]]).unwrap();
        platform.advance(&anchor(5)).unwrap();
        platform.escrow(key.public_key_info()).unwrap()
    });
    let secret =
        |machine: &Machine| machine.run(|platform| *platform.sealing_secret().unwrap().expose());
    let other = Machine::empty();
    EmulatedPlatform::recover(&other.dir, &escrow, &key).unwrap();
    assert_eq!(secret(&other), secret(&machine));
    assert_eq!(other.anchored_commit(), None, "it has anchored nothing");
    other.run(|platform| assert!(!platform.remembers(&[1; 32])));
    // Not over a platform that is there.
    let again = EmulatedPlatform::recover(&machine.dir, &escrow, &key).err();
    assert_eq!(again, Some(Error::Exists));
    assert_eq!(machine.anchored_commit(), Some(5));
}

#[test]
fn an_escrow_opens_whole_and_with_its_key_alone() {
    let machine = Machine::new();
    let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
    let escrow = machine.run(|platform| platform.escrow(key.public_key_info()).unwrap());
    let refused = |escrow: &[u8], key: &RecipientKey| {
        EmulatedPlatform::recover(&Machine::empty().dir, escrow, key).err()
    };
    let other = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
    assert_eq!(refused(&escrow, &other), Some(Error::Escrow));
    for at in 0..escrow.len() {
        assert_eq!(refused(&escrow[..at], &key), Some(Error::Escrow), "cut at {at}");
        let mut edited = escrow.clone();
        edited[at] ^= 1;
        assert_eq!(refused(&edited, &key), Some(Error::Escrow), "byte {at}");
    }
    assert_eq!(refused(&[&escrow[..], &[0]].concat(), &key), Some(Error::Escrow));
    assert!(machine.run(|platform| platform.escrow(b"no key").is_err()));
}
