//! The commands, one file for each noun: parse, ask, show.

pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod ca;
pub(crate) mod clock;
pub(crate) mod completions;
pub(crate) mod device;
pub(crate) mod directive;
pub(crate) mod entitlement;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod ledger;
pub(crate) mod outbox;
pub(crate) mod platform;
pub(crate) mod plugin;
pub(crate) mod pool;
pub(crate) mod receipt;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod user;
pub(crate) mod verify;
