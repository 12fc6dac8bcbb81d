//! The host's append-only log.

use super::{Host, digest};
use crate::{
    backend,
    bindings::mintmark::host::ledger as wit,
    error::Error,
    ledger::{Checkpoints, Page, Position, VerifiedCheckpoint, Witness},
};

impl backend::Ledger for Host {
    fn note(&self, text: &str) -> Result<(), Error> {
        Ok(wit::note(text)?)
    }

    fn checkpoints(&self, after: Option<u64>, limit_bytes: u64) -> Result<Checkpoints, Error> {
        let wit::Checkpointed { orders, more } = wit::checkpoints(after, limit_bytes)?;
        Ok(Checkpoints { orders, more })
    }

    fn read(&self, node: &str, after: u64, limit_bytes: u32) -> Result<Page, Error> {
        let wit::Page { rows, end } = wit::read(node, after, limit_bytes)?;
        Ok(Page { rows, end: end.into() })
    }

    fn verify_checkpoint(&self, checkpoint: &[u8]) -> Result<VerifiedCheckpoint, Error> {
        let wit::VerifiedCheckpoint { cluster, body, witness, restored } =
            wit::verify_checkpoint(checkpoint)?;
        let witness = match witness {
            wit::Witness::Held => Witness::Held,
            wit::Witness::Lost => Witness::Lost,
            wit::Witness::Forgotten => Witness::Forgotten,
        };
        Ok(VerifiedCheckpoint { cluster, body, witness, restored })
    }

    fn held_heads(&self, cluster: &str) -> Result<Vec<Position>, Error> {
        Ok(wit::held_heads(cluster)?.into_iter().map(Into::into).collect())
    }
}

impl From<wit::Position> for Position {
    fn from(position: wit::Position) -> Self {
        let wit::Position { node, sequence, hash } = position;
        Self { node, sequence, hash: digest(hash) }
    }
}
