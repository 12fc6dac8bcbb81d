//! The words of the store: keys, versions, transactions and their outcomes.

use std::ops::Bound;

use mintmark_crypto::{SecretBytes, digest};

/// The longest key in bytes, without its table.
pub const KEY_BYTES_MAX: usize = 1024;
/// The longest value in bytes.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest body of a ledger row in bytes.
pub const ROW_BODY_BYTES_MAX: usize = 1024 * 1024;
/// The table of leases: the counter under a lease's number (u64, big-endian) is its epoch.
///
/// An ordinary bounded add raises an epoch; a transaction that names another epoch than the
/// counter's is fenced off with [`Outcome::LeaseLost`].
pub const LEASES: u8 = 255;

/// The place of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The table; tables have no meaning to the store, except [`LEASES`].
    pub table: u8,
    /// The key in the table, ordered by its bytes.
    pub key: Vec<u8>,
}

impl Key {
    /// The key `key` of the table `table`.
    pub fn new(table: u8, key: impl Into<Vec<u8>>) -> Self {
        Self { table, key: key.into() }
    }

    /// The counter that holds the epoch of `lease`.
    pub fn lease(lease: u64) -> Self {
        Self::new(LEASES, lease.to_be_bytes())
    }

    /// Table and key in one string of bytes, which sorts as `Key` does.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(1 + self.key.len());
        encoded.push(self.table);
        encoded.extend_from_slice(&self.key);
        encoded
    }

    /// The inverse of [`Key::encoded`]; `None` for no bytes at all.
    pub(crate) fn decode(encoded: &[u8]) -> Option<Self> {
        let (&table, key) = encoded.split_first()?;
        Some(Self::new(table, key))
    }
}

/// The number of the transaction that wrote a value; 0 says that there is none.
///
/// Numbers are never used twice, so a value that was removed and written again has another version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl Version {
    /// The version of what is not there.
    pub const ABSENT: Self = Self(0);
}

/// What a read found. The value is a secret to whoever holds it.
pub struct Found {
    /// The value, opened; `None` when there is none.
    pub value: Option<SecretBytes>,
    /// The version to name in a transaction's reads.
    pub version: Version,
}

impl Found {
    /// Nothing was there.
    pub fn absent() -> Self {
        Self { value: None, version: Version::ABSENT }
    }

    /// The value as a counter: absent counts as 0, anything but eight bytes is no counter.
    pub fn counter(&self) -> Option<u64> {
        match &self.value {
            None => Some(0),
            Some(value) => as_counter(value),
        }
    }
}

/// A value as a counter.
pub(crate) fn as_counter(value: &SecretBytes) -> Option<u64> {
    Some(u64::from_be_bytes(value.expose().try_into().ok()?))
}

/// The records of one table under a prefix, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The table.
    pub table: u8,
    /// What the keys begin with; empty for the whole table.
    pub prefix: Vec<u8>,
    /// Only keys after this one, which need not exist; with `reverse`, only keys before it.
    pub after: Option<Vec<u8>>,
    /// At most so many records.
    pub limit: usize,
    /// From the last key to the first.
    pub reverse: bool,
}

impl Range {
    /// All records of `table` whose keys begin with `prefix`.
    pub fn all(table: u8, prefix: impl Into<Vec<u8>>) -> Self {
        Self { table, prefix: prefix.into(), after: None, limit: usize::MAX, reverse: false }
    }

    /// The same range, with at most `limit` records.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The same range, continued after (or, in reverse, before) `key`.
    #[must_use]
    pub fn after(self, key: impl Into<Vec<u8>>) -> Self {
        Self { after: Some(key.into()), ..self }
    }

    /// The same range from its end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// The bounds of the range in encoded keys, without regard to `limit` and direction.
    pub(crate) fn bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let first = Key::new(self.table, self.prefix.clone()).encoded();
        let end = successor(&first);
        let after = self.after.as_ref();
        let after = after.map(|key| Key::new(self.table, key.clone()).encoded());
        match (after, self.reverse) {
            (Some(after), false) if after >= first => (Bound::Excluded(after), end),
            (Some(before), true) if is_below(&before, &end) => {
                (Bound::Included(first), Bound::Excluded(before))
            }
            _ => (Bound::Included(first), end),
        }
    }
}

/// Where the keys that begin with `prefix` end.
fn successor(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

fn is_below(key: &[u8], end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Unbounded => true,
    }
}

/// Whether no key can be in the bounds; the trees of engines panic or fail on some of these.
pub(crate) fn is_empty_range(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    match bounds {
        (Bound::Included(first), Bound::Excluded(end)) => first >= end,
        (Bound::Excluded(first), Bound::Excluded(end)) => first >= end,
        _ => false,
    }
}

/// The digest of what a scan saw: keys and versions. A transaction names it with its range, and
/// the commit repeats the scan, so that a record that came, went or changed is a conflict.
pub fn scan_digest<'a>(seen: impl IntoIterator<Item = (&'a Key, Version)>) -> [u8; 32] {
    let mut hash = digest::Sha256::new();
    for (key, version) in seen {
        hash.update(&[key.table]);
        hash.update(&(key.key.len() as u64).to_be_bytes());
        hash.update(&key.key);
        hash.update(&version.0.to_be_bytes());
    }
    hash.finish()
}

/// A change of a counter that commutes with all others: it reads nothing and conflicts with no
/// other add; it fails only where the counter would leave its bounds.
///
/// Within a transaction, adds come after the writes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// The counter; eight big-endian bytes for whoever gets it, 0 when absent.
    pub key: Key,
    /// What to add.
    pub delta: i64,
    /// The least value that the counter may have afterwards.
    pub min: u64,
    /// The greatest value that the counter may have afterwards.
    pub max: u64,
}

/// A ledger row to append. Sequence, previous hash, counters and set hash are the committer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// The row's content, opaque to the store.
    pub body: Vec<u8>,
    /// Indices into the transaction's adds, at most 255: the values of these counters after the
    /// whole transaction are written into the row.
    pub counters: Vec<usize>,
}

/// All that one call wants, together or not at all.
#[derive(Default)]
pub struct Transaction {
    /// What was read: each key must still have its version.
    pub reads: Vec<(Key, Version)>,
    /// What was scanned, with its [`scan_digest`]: no phantoms.
    pub scans: Vec<(Range, [u8; 32])>,
    /// What is written; `None` removes. The last write of a key counts.
    pub writes: Vec<(Key, Option<SecretBytes>)>,
    /// Changes of counters.
    pub adds: Vec<Add>,
    /// Sums that hold over those counters afterwards, or nothing is written.
    pub sums: Vec<Sum>,
    /// Ledger rows, in order.
    pub rows: Vec<NewRow>,
    /// Lease and epoch that must still be current (see [`LEASES`]).
    pub lease: Option<(u64, u64)>,
    /// Digests that the hook after the commit is to remember outside the store.
    pub remember: Vec<[u8; 32]>,
}

impl Transaction {
    /// About how many bytes the transaction brings, for the size of a batch.
    pub(crate) fn weight_bytes(&self) -> usize {
        let values = self
            .writes
            .iter()
            .map(|(key, value)| key.key.len() + value.as_ref().map_or(0, SecretBytes::len));
        let rows = self.rows.iter().map(|row| row.body.len());
        values.chain(rows).sum::<usize>() + 64 * self.adds.len()
    }

    /// Whether every part is within the limits of the format.
    pub(crate) fn fits(&self) -> bool {
        let key_fits = |key: &Key| key.key.len() <= KEY_BYTES_MAX;
        let value_fits = |value: &Option<SecretBytes>| {
            value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX)
        };
        self.writes.iter().all(|(key, value)| key_fits(key) && value_fits(value))
            && self.adds.iter().all(|add| key_fits(&add.key))
            && self.rows.iter().all(|row| {
                row.body.len() <= ROW_BODY_BYTES_MAX && row.counters.len() <= usize::from(u8::MAX)
            })
    }
}

/// A sum that must hold after a transaction's adds: one counter is what the counters after it are
/// together. What the counters mean is not the store's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The index of the add to the whole.
    pub whole: usize,
    /// How many of the adds that follow it go to the parts.
    pub parts: usize,
}

/// What became of one transaction. Anything but `Committed` left no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the store.
    Committed {
        /// The transaction's number: the version of all that it wrote.
        commit: u64,
        /// The sequences of its rows, in order.
        rows: Vec<u64>,
    },
    /// Something that it read or scanned has changed since.
    Conflict,
    /// A counter would have left its bounds, or is none.
    OutOfBounds {
        /// The index of the add.
        add: usize,
    },
    /// A sum over counters would not hold, or names adds that there are not.
    Unbalanced {
        /// The index of the add to the whole.
        whole: usize,
    },
    /// The lease has another epoch.
    LeaseLost,
    /// A key, a value, a row or its list of counters is larger than the format allows.
    TooLarge,
}
