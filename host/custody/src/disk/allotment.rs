//! The disk form of allotments, units and what makes them unique.

use mintmark_model::UnitState;
use serde::{Deserialize, Serialize};

/// An allotment. Its counters are records of their own, its limits are in the grant.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AllotmentRecord {
    /// The signed grant, encoded.
    pub(crate) grant: Vec<u8>,
    /// The plugin that imported it.
    pub(crate) plugin: String,
    pub(crate) imported_at: u64,
    /// Whether and how it ended: 0 not, 1 revoked, 2 closed, 3 revoked and then closed.
    pub(crate) end: u8,
    /// Units drawn up to the heads of the newest receipt.
    pub(crate) receipted_drawn: u64,
    /// Site time at which reservations stop without a further receipt.
    pub(crate) receipt_due: u64,
    /// Set where a restore wrote units off: no number of it is ever drawn again, since any may have
    /// been drawn after the backup.
    pub(crate) written_off: bool,
    /// What directives changed of the grant's terms.
    pub(crate) orders: OrdersRecord,
    /// Site time at which it was closed.
    pub(crate) closed_at: Option<u64>,
}

/// What directives made of an allotment's terms; the grant itself stays as it was signed.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct OrdersRecord {
    /// The number of the last directive that was acted on.
    pub(crate) number: u32,
    /// Units that were added.
    pub(crate) extended: u64,
    /// The end of the window, where it is another one.
    pub(crate) not_after: Option<u64>,
    /// Certificates of the batch CA for the units that were added, each with the number of the
    /// first unit that it does not cover.
    pub(crate) batch_cas: Vec<(u64, Vec<u8>)>,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitRecord {
    pub(crate) subject: String,
    pub(crate) serial: String,
    /// Position in [`UnitState::ALL`].
    pub(crate) state: u8,
    /// Failed attempts of the subject, also with earlier units.
    pub(crate) attempts: u32,
    /// The principal that it is bound to.
    pub(crate) station: String,
    /// Those that it was bound to before, until it was handed over.
    pub(crate) earlier_stations: Vec<String>,
    /// Site time of the reservation.
    pub(crate) reserved_at: u64,
    pub(crate) changed_at: u64,
    pub(crate) artefact: Option<ArtefactRecord>,
    /// It failed because its device lost the key, as somebody said who never had the unit.
    pub(crate) key_lost: bool,
    /// The subject's unit before this one, of the same entitlement, that was released.
    pub(crate) follows: Option<u64>,
}

/// What a unit released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArtefactRecord {
    /// SHA-256 of the device key's SubjectPublicKeyInfo.
    pub(crate) key_hash: [u8; 32],
    /// By ordinal, all for that key; none where the grant has no template.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// SHA-256 of the key to which the device key was sealed.
    pub(crate) recipient: Option<[u8; 32]>,
    /// The rest, for as long as it may be released again.
    pub(crate) kept: Option<KeptRecord>,
}

/// What a unit released besides certificates. It is dropped when the unit ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRecord {
    pub(crate) public_key: Vec<u8>,
    pub(crate) sealed_key: Option<SealedKeyRecord>,
    /// What the device signs at confirmation.
    pub(crate) nonce: [u8; 32],
}

/// A device key, sealed to its recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedKeyRecord {
    pub(crate) suite: String,
    pub(crate) encapsulated_key: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

/// The units of a subject.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SubjectRecord {
    pub(crate) entitlement: String,
    /// The newest unit.
    pub(crate) unit: u64,
    /// How many there were, those that were given back left out.
    pub(crate) units: u32,
}

/// To which unit something belongs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitRef {
    pub(crate) entitlement: String,
    pub(crate) unit: u64,
}

/// A certificate of a batch CA that counts no more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevocationRecord {
    /// Site time.
    pub(crate) at: u64,
    /// As the list says it: 1 key compromise, 5 cessation of operation.
    pub(crate) reason: u8,
}

impl ArtefactRecord {
    /// The unit's first certificate, which rows and proofs name.
    pub(crate) fn first_certificate(&self) -> Option<&[u8]> {
        self.certificates.first().map(Vec::as_slice)
    }
}

impl UnitRecord {
    /// The unit's state; a number that is none is a state that allows nothing.
    pub(crate) fn state(&self) -> UnitState {
        UnitState::ALL.get(usize::from(self.state)).copied().unwrap_or(UnitState::Lost)
    }

    /// Moves the unit, where that is legal.
    #[must_use]
    pub(crate) fn move_to(&mut self, next: UnitState, now: u64) -> bool {
        if !self.state().may_become(next) {
            return false;
        }
        self.state = state_number(next);
        self.changed_at = now;
        true
    }
}

/// The number of a state on disk.
pub(crate) fn state_number(state: UnitState) -> u8 {
    let position = UnitState::ALL.iter().position(|other| *other == state);
    u8::try_from(position.expect("ALL has every state")).expect("there are seven states")
}
