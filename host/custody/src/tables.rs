//! Where each kind of record is kept: table numbers and the forms of keys. Part of the disk format.

use mintmark_store::Key;

/// The host itself: one record.
pub(crate) const HOST: u8 = 1;
/// Keys and key sets, by plugin and name.
pub(crate) const KEYS: u8 = 2;
/// Plugins' own records, by plugin and key.
pub(crate) const RECORDS: u8 = 3;
/// Allotments, by plugin and entitlement.
pub(crate) const ALLOTMENTS: u8 = 4;
/// Counters of allotments, by entitlement and position.
pub(crate) const COUNTERS: u8 = 5;
/// Units, by entitlement and number.
pub(crate) const UNITS: u8 = 6;
/// Subjects, by product: unique in the store.
pub(crate) const SUBJECTS: u8 = 7;
/// Device serial numbers, by product: unique in the store.
pub(crate) const SERIALS: u8 = 8;
/// Hashes of device public keys: unique in the store.
pub(crate) const DEVICE_KEYS: u8 = 9;
/// Plugin versions, by name and version.
pub(crate) const PLUGINS: u8 = 10;
/// Components, by measurement and part.
pub(crate) const COMPONENTS: u8 = 11;
/// Active plugins and their identities, by name.
pub(crate) const IDENTITIES: u8 = 12;
/// Staged files, by id.
pub(crate) const FILES: u8 = 13;
/// Their content, by id and part.
pub(crate) const FILE_PARTS: u8 = 14;
/// Digests of messages that were accepted.
pub(crate) const MESSAGES: u8 = 15;
/// Other clusters, by SPIFFE URI.
pub(crate) const PEERS: u8 = 16;
/// Streams of messages, by the other cluster's SPIFFE URI.
pub(crate) const STREAMS: u8 = 17;
/// Messages that wait for an acknowledgement, by site and sequence.
pub(crate) const OUTBOX: u8 = 18;
/// People and stations, by role and name.
pub(crate) const USERS: u8 = 19;
/// What bundles covered, by node, last row and the row before the first.
pub(crate) const EXPORTS: u8 = 20;
/// Heads that headquarters holds: at a site its own, at headquarters each site's.
pub(crate) const HELD: u8 = 21;
/// Serial numbers of device certificates that count no more, by entitlement.
pub(crate) const REVOCATIONS: u8 = 29;
/// What sites were credited lately, by site and product.
pub(crate) const CREDITS: u8 = 23;
/// Numbers that only rise.
pub(crate) const NUMBERS: u8 = 22;
/// Acts that wait for approvals, by act and requester.
pub(crate) const APPROVALS: u8 = 24;
/// The list of approvers, where it is not the charter's any more: one record.
pub(crate) const APPROVERS: u8 = 25;
/// The clock: its mark, and the latest time that headquarters said.
pub(crate) const CLOCK: u8 = 26;
/// What rate windows held, by entitlement.
pub(crate) const WINDOWS: u8 = 33;
/// Directives that a site acted on, or headquarters signed, by their digest.
pub(crate) const DIRECTIVES: u8 = 27;
/// Closing statements, by entitlement; at headquarters by site and entitlement.
pub(crate) const CLOSINGS: u8 = 28;
/// Entitlements that headquarters granted, by site and entitlement.
pub(crate) const GRANTED: u8 = 34;

/// Pools of given keys at headquarters, by name.
pub(crate) const POOLS: u8 = 30;
/// Given keys, sealed: at headquarters chunks by pool and first key, and where each key is by its
/// hash, and the digests of the chunks that were ever taken; at a site single keys by entitlement
/// and unit.
pub(crate) const POOL_KEYS: u8 = 31;
/// Long work that goes in steps: loads of pools, key files that were written, imports of key files.
pub(crate) const JOBS: u8 = 32;
/// Days of notes, by plugin, and the counters of their notes.
pub(crate) const NOTES: u8 = 35;
/// See [`NOTES`].
pub(crate) const NOTE_COUNTERS: u8 = 36;
/// The host's retired keys, by whose they were and the digest of the public key.
pub(crate) const RETIRED: u8 = 37;

/// A key of two parts; the first holds no zero byte.
pub(crate) fn pair(table: u8, first: &str, second: impl AsRef<[u8]>) -> Key {
    Key::new(table, prefix(first, second.as_ref()))
}

/// What a bundle covered of a node's chain; the same rows again are the same place.
pub(crate) fn export(chain: &str, from: u64, to: u64) -> Key {
    pair(EXPORTS, chain, [to.to_be_bytes(), from.to_be_bytes()].concat())
}

/// What the keys of `first` begin with, followed by `rest`.
pub(crate) fn prefix(first: &str, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(first.len() + 1 + rest.len());
    bytes.extend_from_slice(first.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(rest);
    bytes
}

/// The key of a unit.
pub(crate) fn unit(entitlement: &str, number: u64) -> Key {
    pair(UNITS, entitlement, number.to_be_bytes())
}

/// The key of an allotment's counter.
pub(crate) fn counter(entitlement: &str, position: usize) -> Key {
    let position = u8::try_from(position).expect("an allotment has ten counters");
    pair(COUNTERS, entitlement, [position])
}

/// The key of part `part` of a file or component.
pub(crate) fn part(table: u8, id: &str, part: u32) -> Key {
    pair(table, id, part.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    #[test]
    fn no_two_kinds_of_record_share_a_table() {
        let mut tables = BTreeMap::new();
        for line in include_str!("tables.rs").lines() {
            let Some(table) = line.strip_prefix("pub(crate) const ") else { continue };
            let (name, number) = table.split_once(": u8 = ").unwrap();
            assert_eq!(tables.insert(number, name), None, "{name} has the number of another");
        }
        assert!(tables.len() > 30, "the constants are found: {}", tables.len());
    }
}
