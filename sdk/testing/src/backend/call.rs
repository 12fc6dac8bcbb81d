//! What every call has: caller, clock, log, ledger, and the plugin's records.

use mintmark_custody::LedgerPosition;
use mintmark_sdk::backend::{Caller, Clock, Ledger, Log, Records};
use mintmark_sdk::caller::Principal;
use mintmark_sdk::clock::ClockState;
use mintmark_sdk::ledger::{Checkpoints, Page, Position, VerifiedCheckpoint, Witness};
use mintmark_sdk::records::Entry;
use mintmark_sdk::{Error, Timestamp};

use super::HostBackend;

impl Caller for HostBackend {
    fn current(&self) -> Principal {
        self.look(|call| {
            let caller = call.principal();
            let (organization, cluster) = (caller.organization.as_str(), caller.cluster.as_str());
            Principal::new(organization, cluster, caller.role.name(), caller.name.as_str())
        })
    }

    fn request_id(&self) -> String {
        self.look(mintmark_custody::Call::request_id)
    }

    /// Clocks stand still in a test, so the whole time is left.
    fn time_left_ms(&self) -> u64 {
        self.0.deadline_ms
    }
}

impl Clock for HostBackend {
    fn now(&self) -> Timestamp {
        self.look(mintmark_custody::Call::now_ms)
    }

    fn state(&self) -> ClockState {
        match self.look(mintmark_custody::Call::clock_suspect) {
            true => ClockState::Suspect,
            false => ClockState::Steady,
        }
    }
}

/// Lines go to standard error, where the test harness captures them.
impl Log for HostBackend {}

impl Ledger for HostBackend {
    fn note(&self, text: &str) -> Result<(), Error> {
        self.ask(async |call| call.note(text).await)
    }

    fn checkpoints(&self, after: Option<u64>, limit_bytes: u64) -> Result<Checkpoints, Error> {
        let signed = self.ask(async |call| call.checkpoints(after, limit_bytes).await)?;
        Ok(Checkpoints { orders: signed.orders, more: signed.more })
    }

    fn read(&self, node: &str, after: u64, limit_bytes: u32) -> Result<Page, Error> {
        let page = self.ask(async |call| call.read_rows(node, after, limit_bytes).await)?;
        Ok(Page { rows: page.rows, end: position(page.end) })
    }

    fn verify_checkpoint(&self, checkpoint: &[u8]) -> Result<VerifiedCheckpoint, Error> {
        let verified = self.ask(async |call| call.verify_checkpoint(checkpoint).await)?;
        let mintmark_custody::VerifiedCheckpoint { cluster, body, witness, restored } = verified;
        let witness = match witness {
            mintmark_custody::Witness::Held => Witness::Held,
            mintmark_custody::Witness::Lost => Witness::Lost,
            mintmark_custody::Witness::Forgotten => Witness::Forgotten,
        };
        Ok(VerifiedCheckpoint { cluster, body, witness, restored })
    }

    fn held_heads(&self, cluster: &str) -> Result<Vec<Position>, Error> {
        let heads = self.ask(async |call| call.held_heads(cluster).await)?;
        Ok(heads.into_iter().map(position).collect())
    }
}

impl Records for HostBackend {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.ask(async |call| call.records_get(keys).await)
    }

    fn put(&self, entries: &[Entry]) -> Result<(), Error> {
        let pair = |entry: &Entry| (entry.key.clone(), entry.value.clone());
        let entries = entries.iter().map(pair).collect();
        self.ask(async |call| call.records_put(entries).await)
    }

    fn delete(&self, keys: &[Vec<u8>]) -> Result<(), Error> {
        self.ask(async |call| call.records_delete(keys).await)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, Error> {
        let found = self.ask(async |call| call.records_scan(prefix, after, limit).await)?;
        Ok(found.into_iter().map(|(key, value)| Entry { key, value }).collect())
    }
}

fn position(position: LedgerPosition) -> Position {
    Position { node: position.node, sequence: position.sequence, hash: position.hash }
}
