//! The only door to key material: authorise, act, record.
//!
//! Everything that a plugin, a client or an admin can have done with a key goes through a [`Call`]:
//! the unit of work of one invocation. A call reads one snapshot, asks the policy before each act,
//! does the act with material that is unsealed for just as long, and adds the ledger row itself,
//! never the caller. [`Call::commit`] makes records, counters, units and rows durable together, and
//! only then may an answer leave.
//!
//! | module | what it keeps |
//! |---|---|
//! | [`call`] | the transaction; taint; reruns |
//! | [`units`] | allotments, units, what they release |
//! | [`keys`], `permit`, `vault` | keys, the permission to use them, material at rest |
//! | [`approvals`] | what needs several people |
//! | [`messages`], [`transfers`] | what crosses the gap |
//! | [`pools`] | keys that somebody gave |
//! | [`custody`], [`genesis`] | the running node, and how it begins |
//! | [`room`] | what is done while the disk is nearly full |
//! | `backups`, [`restoring`], `verify` | the store as a file and back, and whether it is right |
//! | `suspicion` | whether the store is the one that the platform remembers |
//!
//! Nothing above this crate sees the store, and nothing below it knows what a key may do.

pub mod approvals;
mod backups;
pub mod call;
pub mod certificates;
mod chains;
mod checkpoints;
mod claims;
pub mod clock;
mod counting;
pub mod custody;
mod disk;
pub mod dismissals;
mod escrows;
pub mod files;
pub mod genesis;
mod host;
pub mod identities;
mod inclusion;
pub mod keys;
mod ledger;
pub mod messages;
mod outcomes;
mod peers;
mod pending;
mod permit;
pub mod plugins;
pub mod pools;
pub mod records;
pub mod restoring;
pub mod room;
mod rotation;
pub mod status;
mod suspicion;
mod tables;
pub mod transfers;
pub mod types;
pub mod units;
pub mod users;
mod vault;
mod verify;
mod view;

pub use approvals::{ApproversNow, Decided, PendingApproval};
pub use backups::{Backup, LedgerReader, LedgerRows};
pub use call::{Aborted, CALL_MS_MAX, Call, Carry, CommitFailure};
pub use clock::{ClockStatus, SystemTimeSource, TimeSource};
pub use custody::{Custody, Parts, TlsIdentity};
pub use genesis::{OpenError, RootAnswer};
pub use host::Settings;
pub use keys::{OpenKey, OpenKeySet};
pub use messages::{MessageWriter, OpenedMessage};
pub use mintmark_crypto::SecretBytes;
pub use mintmark_crypto::digest::sha256;
pub use mintmark_pki::VerifiedCsr;
pub use plugins::InstalledPlugin;
pub use room::{DiskSpace, Endless, StorageState, StorageStatus};
pub use rotation::HostKey;
pub use suspicion::{Suspicion, standing};
pub use types::*;
pub use units::{OpenAllotment, OpenUnit};
pub use users::{Authenticated, IssuedUser};
pub use verify::{VerifiedStore, VerifyError, verify};
