//! Whether a whole store is right: not only what was committed, but what may be committed.
//!
//! The store itself says whether each record and row is the one that was written. Here it is asked
//! whether they agree: counters with units, units with the indices that make them unique and with
//! the rows that tell their lives, keys with their policies, files with their digests. The first
//! record that is wrong is named. Whatever the size of the store, a bounded part is in memory.

mod allotments;
mod lives;
mod others;

use std::fmt;

use mintmark_crypto::{Secret, SecretBytes};
use mintmark_exchange::row::Row;
use mintmark_model::Refusal;
use mintmark_platform::Platform;
use mintmark_store::{Key, Range, Store};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::chains::of_archived;
use crate::custody::host_place;
use crate::disk::{self, host::HostRecord};
use crate::tables;
use crate::types::LedgerPosition;
use crate::vault::Vault;
use crate::view::View;

/// A store that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedStore {
    /// The number of the last transaction.
    pub commit: u64,
    /// How many records there are.
    pub records: u64,
    /// How many rows.
    pub rows: u64,
    /// How many allotments.
    pub allotments: u64,
    /// How many units of them were drawn.
    pub units: u64,
    /// Ends of the chains.
    pub heads: Vec<LedgerPosition>,
}

/// Why a store is not right.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A record or row is not the one that was committed.
    #[error("{0}")]
    Store(#[from] mintmark_store::Error),
    /// The store cannot be read.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Records do not agree.
    #[error("{record}: {what}")]
    Wrong {
        /// Which record or row.
        record: String,
        /// What is wrong with it.
        what: String,
    },
}

/// How many records are read at once.
const PAGE_RECORDS: usize = 1_000;
/// How many bytes of rows are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// Checks a whole store. `sealing` is the secret of its platform; the platform itself is asked
/// what it remembers, where it is at hand.
///
/// # Errors
///
/// The first thing that is wrong.
pub async fn verify(
    store: &dyn Store,
    sealing: &Secret<32>,
    platform: Option<&dyn Platform>,
) -> Result<VerifiedStore, VerifyError> {
    let walked = store.verify().await?;
    let check = Check { view: View::new(store).await?, vault: Vault::new(sealing), platform };
    check.others().await?;
    let allotments = check.allotments().await?;
    check.indices(&allotments).await?;
    let units = check.lives(&allotments).await?;
    let heads = walked.position.heads.into_iter().map(|head| LedgerPosition {
        node: head.node,
        sequence: head.sequence,
        hash: head.hash,
    });
    Ok(VerifiedStore {
        commit: walked.position.commit,
        records: walked.records,
        rows: walked.rows,
        allotments: allotments.len() as u64,
        units,
        heads: heads.collect(),
    })
}

/// One check of one store.
struct Check<'a> {
    view: View,
    vault: Vault,
    platform: Option<&'a dyn Platform>,
}

/// Reads the records of a range page by page.
struct Pages {
    range: Option<Range>,
}

impl Pages {
    fn of(table: u8, prefix: Vec<u8>) -> Self {
        Self { range: Some(Range::all(table, prefix).limit(PAGE_RECORDS)) }
    }

    /// The next page; `None` after the last one.
    async fn next(&mut self, view: &View) -> Result<Option<Vec<(Key, SecretBytes)>>, Refusal> {
        let Some(range) = self.range.take() else { return Ok(None) };
        let page = view.peek_range(&range).await?;
        if let Some((last, _)) = page.last().filter(|_| page.len() == PAGE_RECORDS) {
            self.range = Some(range.after(last.key.clone()));
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

impl Check<'_> {
    /// The record at `key`, if there is one.
    async fn find<T>(&self, key: &Key, name: impl fmt::Display) -> Result<Option<T>, VerifyError>
    where
        T: Serialize + DeserializeOwned,
    {
        let (value, _) = self.view.peek_versioned(key).await?;
        value.map(|value| read(&value, name)).transpose()
    }

    /// Every row of every ledger of this store, older ledgers of a node first.
    async fn each_row(
        &self,
        mut each: impl FnMut(&Row) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let mut heads = self.view.position().heads.clone();
        heads.sort_by_key(|head| match of_archived(&head.node) {
            Some((node, incarnation)) => (node.to_owned(), incarnation),
            None => (head.node.clone(), u64::MAX),
        });
        for head in heads {
            let mut after = 0;
            while after < head.sequence {
                let page = self.view.rows(&head.node, after, PAGE_BYTES).await?;
                let Some(last) = page.last() else { break };
                after = last.sequence;
                for stored in &page {
                    let row = Row::decode(&stored.encoded).map_err(|_| {
                        let record = format!("row {} of {}", stored.sequence, head.node);
                        wrong(record, "it cannot be read")
                    })?;
                    each(&row)?;
                }
            }
        }
        Ok(())
    }

    /// The host's own record.
    async fn host(&self) -> Result<HostRecord, VerifyError> {
        let found = self.find(&host_place(), "the host").await?;
        found.ok_or_else(|| wrong("the host", "there is no record of it"))
    }
}

/// A record of this version.
fn read<T>(value: &SecretBytes, name: impl fmt::Display) -> Result<T, VerifyError>
where
    T: Serialize + DeserializeOwned,
{
    disk::read(value).map_err(|_| wrong(name, "it cannot be read"))
}

pub(crate) fn wrong(record: impl fmt::Display, what: impl fmt::Display) -> VerifyError {
    VerifyError::Wrong { record: record.to_string(), what: what.to_string() }
}

/// The two parts of a key that [`tables::pair`] made; empty ones where it is none.
fn parts(key: &Key) -> (String, &[u8]) {
    let at = key.key.iter().position(|byte| *byte == 0).unwrap_or(key.key.len());
    let first = String::from_utf8_lossy(&key.key[..at]).into_owned();
    (first, key.key.get(at + 1..).unwrap_or_default())
}

/// The second part of a key as text, for people.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_default().to_string()
}

/// Where everything of an allotment begins.
fn units_of(entitlement: &str) -> Pages {
    Pages::of(tables::UNITS, tables::prefix(entitlement, b""))
}
