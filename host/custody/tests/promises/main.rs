//! The promises of the key manager, each with the cases that try to break it.

#![expect(clippy::unwrap_used, reason = "a test fails where its bench does")]

mod after_restore;
mod approvals;
mod backups;
mod bench;
mod bundles;
mod closings;
mod copies;
mod directives;
mod disks;
mod equation;
mod faults;
mod forgotten;
mod given_back;
mod imports;
mod keys;
mod life;
mod messages;
mod one_call;
mod orders;
mod pool_cuts;
mod pools;
mod proofs;
mod reruns;
mod restarts;
mod restores;
mod retries;
mod rotations;
mod slow;
mod standing;
mod storage;
mod streams;
mod time;
mod units;
mod verified;
mod written_off;
