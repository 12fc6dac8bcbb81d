//! The restore ceremony: a store that was made of a backup becomes the store.
//!
//! What happened after the backup is not in it. If the platform's anchor is the backup's very
//! position, nothing did. Otherwise any unit that the backup has as unused or in doubt may be in a
//! device by now, so all of them are written off, and their entitlements give no unit any more:
//! headquarters, which has the last bundle, credits what is left by a new entitlement.
//!
//! The restored store has a new epoch, so that neither the store before nor another copy of the
//! backup ever fits the anchor again, and a new ledger, whose first row names the end of the one
//! before. Several people must have approved exactly this backup for exactly this epoch.

use std::sync::Arc;

use mintmark_crypto::digest::sha256;
use mintmark_crypto::random;
use mintmark_exchange::approval::{self, Act, ApprovalRequest, Approvers, Place};
use mintmark_exchange::canonical;
use mintmark_exchange::charter::Charter;
use mintmark_exchange::message::HeadRef;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::row::{Event, RowBody, Started, UnitEvent};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::escrow::Moment;
use mintmark_model::{Counters, Reason, Refusal, UnitState};
use mintmark_platform::anchor::Anchor;
use mintmark_platform::{Mark, Platform};
use mintmark_store::{
    Add, BackupReader, Key, NewRow, Outcome, Range, Snapshot, Store, Transaction, Verified,
};

use crate::approvals::current_list;
use crate::chains::{self, of_archived};
use crate::clock::kept::{kept, mark_place};
use crate::clock::{SiteClock, TimeSource};
use crate::custody::{boot_place, host_place, mark_of, next_boot};
use crate::disk::{self, allotment::*, host::HostRecord, time::MarkRecord};
use crate::genesis::OpenError;
use crate::pools::write_off_exports;
use crate::transfers::taken_digests;
use crate::units::grant_of;
use crate::view::View;
use crate::{escrows, tables};

/// How long a request for approvals of a restore counts.
const REQUEST_MS: u64 = 7 * 86_400_000;
/// Headquarters is not heard during a ceremony, so how long it may be silent does not matter.
const TRANSIT_MS_MAX: u64 = 0;
/// So many transactions share a sync.
const BATCH_TRANSACTIONS: usize = 200;
/// So many units are looked at at once.
const PAGE_UNITS: usize = 1_000;

/// A restored store, before anybody has approved it.
pub struct Ceremony {
    store: Arc<dyn Store>,
    store_id: [u8; 16],
    record: HostRecord,
    charter: Charter,
    list: Approvers,
    /// Where the backup ends: its commit, and the digest of its heads.
    commit: u64,
    heads: [u8; 32],
    /// The last row of the node's ledger in the backup.
    replaces: HeadRef,
    epoch: u64,
    /// The anchor is the backup's very position.
    nothing_followed: bool,
    /// The platform does not know what the store imported after the backup.
    forgot: bool,
    losses: Vec<Loss>,
    clock: SiteClock,
    boot: u64,
}

/// What a restore writes off of one entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The entitlement.
    pub entitlement: String,
    /// Units that were never drawn, as far as the backup knows.
    pub unused: u64,
    /// Units whose end the backup does not know.
    pub in_doubt: u64,
    /// Where its allotment is.
    place: Key,
    /// It had ended: nothing could be drawn of it after the backup, but its devices could end.
    ended: bool,
}

/// A restored store that is ready to be anchored.
pub struct Restored {
    store: Arc<dyn Store>,
    store_id: [u8; 16],
    epoch: u64,
}

/// Names each chain of a backup as the restored store keeps it: what the node wrote becomes a
/// ledger that was replaced. Reads the backup up to the host's own record.
///
/// # Errors
///
/// What is damaged; `NotInitialised` for the backup of a store without a host.
pub fn archive_names<R: std::io::Read>(
    backup: &mut BackupReader<R>,
) -> Result<impl Fn(&str) -> String + use<R>, OpenError> {
    let found = backup.find(&host_place()).map_err(OpenError::Store)?;
    let record = found.ok_or(OpenError::NotInitialised)?;
    let record: HostRecord = disk::read(&record).map_err(OpenError::Refused)?;
    Ok(move |chain: &str| match of_archived(chain) {
        Some(_) => chain.to_owned(),
        None => chains::archived(chain, record.incarnation),
    })
}

impl Ceremony {
    /// Looks at a store that was just made of a backup, which `verified` says was whole.
    ///
    /// # Errors
    ///
    /// For a store that no node could serve, or an anchor of another store.
    pub async fn prepare(
        store: Arc<dyn Store>,
        store_id: [u8; 16],
        platform: &dyn Platform,
        time: Box<dyn TimeSource>,
        verified: &Verified,
    ) -> Result<Self, OpenError> {
        let snapshot = store.snapshot().await.map_err(OpenError::Store)?;
        let view = View::new(&*store).await.map_err(OpenError::Refused)?;
        let record: Option<HostRecord> =
            view.peek(&host_place()).await.map_err(OpenError::Refused)?;
        let record = record.ok_or(OpenError::NotInitialised)?;
        let anchor = anchor_of(platform, store_id, record.epoch)?;
        let forgot = platform.remembers(&forgot_digest(&store_id));
        if anchor.is_some_and(|anchor| anchor.store_id != store_id) {
            return Err(OpenError::Misfit("the platform anchors another store than the backup's"));
        }
        let charter = charter_of(&record)?;
        let list = current_list(&charter, &view).await.map_err(OpenError::Refused)?;
        let replaces = end_of(&record, &*snapshot)?;
        let end = chains::archived(&record.node, record.incarnation);
        let position = verified.position.mark();
        let nothing_followed = anchor.is_some_and(|anchor| {
            anchor.epoch == record.epoch && anchor.mark() == mark_of(&position)
        });
        let losses = match nothing_followed {
            true => Vec::new(),
            false => losses(&view).await.map_err(OpenError::Refused)?,
        };
        let anchored = anchor.map_or(0, |anchor| anchor.epoch);
        Ok(Self {
            commit: position.commit,
            heads: position.heads_digest,
            epoch: anchored.max(record.epoch) + 1,
            clock: SiteClock::start(time, kept(&*snapshot, &view, &end).await?, TRANSIT_MS_MAX),
            boot: next_boot(&view).await.map_err(OpenError::Refused)?,
            store,
            store_id,
            record,
            charter,
            list,
            replaces,
            nothing_followed,
            forgot,
            losses,
        })
    }

    /// The store's epoch once it is restored.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What will be written off.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        self.losses.iter().filter(|loss| !loss.ended).cloned().collect()
    }

    /// How many people must approve.
    #[must_use]
    pub fn needed(&self) -> u32 {
        self.list.quorum
    }

    /// A request for approvals of this restore, encoded.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let now = self.clock.now().site_ms;
        let request = ApprovalRequest {
            version: approval::VERSION,
            cluster: self.record.cluster.clone(),
            epoch: self.epoch,
            list_version: self.list.version,
            act: self.act(),
            requester: self.principal(),
            requester_key: None,
            id: random::array(),
            made_at: now,
            expires_at: now.saturating_add(REQUEST_MS),
        };
        request.encode()
    }

    /// Carries the restore out in the store, if enough people have approved the request; nothing is
    /// anchored yet.
    ///
    /// # Errors
    ///
    /// `APPROVAL_REQUIRED`, with what is missing; where the store fails.
    pub async fn carry_out(
        self,
        request: &[u8],
        statements: &[Vec<u8>],
    ) -> Result<Restored, OpenError> {
        let (digest, approvers) = self.approved(request, statements).map_err(OpenError::Refused)?;
        let moment = self.clock.now();
        self.begin_ledger(moment, digest, approvers).await?;
        for loss in &self.losses {
            self.write_off(moment, loss).await?;
        }
        let Self { store, store_id, epoch, .. } = self;
        Ok(Restored { store, store_id, epoch })
    }

    fn act(&self) -> Act {
        Act::Restore {
            store_id: self.store_id,
            commit: self.commit,
            heads: self.heads,
            epoch: self.epoch,
        }
    }

    /// What the host does on its own account.
    fn principal(&self) -> String {
        format!("{}/node/{}", self.record.cluster, self.record.node)
    }

    /// The request's digest and who approved it.
    fn approved(
        &self,
        request: &[u8],
        statements: &[Vec<u8>],
    ) -> Result<([u8; 32], Vec<String>), Refusal> {
        let missing = |why: &dyn std::fmt::Display| {
            let detail = format!("The restore is not approved: {why}.");
            Refusal::new(Reason::ApprovalRequired, detail)
        };
        let request = ApprovalRequest::decode(request).map_err(|error| missing(&error))?;
        if request.act != self.act() {
            return Err(missing(&"the request is for another backup, or another state of it"));
        }
        let statements: Result<Vec<_>, _> =
            statements.iter().map(|bytes| SignedOrder::decode(bytes)).collect();
        let statements = statements.map_err(|error| missing(&error))?;
        // The epoch is in the act; the request is bound to it as to the list and the cluster.
        let place = Place {
            cluster: &self.record.cluster,
            epoch: self.epoch,
            floor: self.charter.floor_m,
            now_ms: self.clock.now().site_ms,
        };
        let holds = |key: &[u8], message: &[u8], signature: &[u8]| {
            mintmark_crypto::sign::verify(key, message, signature).is_ok()
        };
        let approvers = approval::approved(&self.list, &request, &statements, place, holds)
            .map_err(|error| missing(&error))?;
        Ok((request.digest(), approvers))
    }

    /// The first rows of the new ledger, with the new epoch in the host's record.
    async fn begin_ledger(
        &self,
        moment: Moment,
        request_digest: [u8; 32],
        approvers: Vec<String>,
    ) -> Result<(), OpenError> {
        let mut record = self.record.clone();
        // Each attempt is a ledger of its own, also one that comes from an older backup.
        let attempt = u64::from(u32::from_be_bytes(random::array()));
        let later = (self.epoch - record.epoch) << 32;
        record.incarnation = record.incarnation.saturating_add(later | attempt);
        record.epoch = self.epoch;
        let started = Started {
            cluster: record.cluster.clone(),
            node: record.node.clone(),
            incarnation: record.incarnation,
            hardware_model: "software-emulated".to_owned(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            replaces: Some(self.replaces.clone()),
        };
        let restored = Event::Restored { epoch: self.epoch, backup: self.replaces.clone() };
        let approved =
            Event::Approved { act: self.act().name().to_owned(), request_digest, approvers };
        let mut transaction = Transaction::default();
        let request = random::array();
        for event in [Event::Started(started), restored, approved] {
            transaction.rows.push(self.row(moment, request, event, Vec::new()));
        }
        transaction.writes.push((host_place(), Some(disk::write(record))));
        transaction.writes.push((boot_place(), Some(disk::write(self.boot))));
        // The rows of the new ledger are counted from its beginning.
        let mark = MarkRecord { mark_ms: moment.site_ms, after_row: 0 };
        transaction.writes.push((mark_place(), Some(disk::write(mark))));
        if self.forgot {
            transaction.writes.push((forgot_place(), Some(disk::write(u64::MAX))));
        }
        if !self.nothing_followed {
            let mut view = View::new(&*self.store).await.map_err(OpenError::Refused)?;
            let epochs = self.epoch - self.record.epoch;
            write_off_exports(&mut view, epochs).await.map_err(OpenError::Refused)?;
            view.drain_into(&mut transaction);
        }
        self.commit(vec![transaction]).await
    }

    /// Nothing of the entitlement that the backup has as unused or in doubt is used any more.
    async fn write_off(&self, moment: Moment, loss: &Loss) -> Result<(), OpenError> {
        let view = View::new(&*self.store).await.map_err(OpenError::Refused)?;
        let allotment: Option<AllotmentRecord> =
            view.peek(&loss.place).await.map_err(OpenError::Refused)?;
        let mut allotment = allotment.ok_or(OpenError::Damaged("an allotment"))?;
        let number = grant_of(&allotment).map_err(OpenError::Refused)?.number;
        allotment.written_off = true;
        let mut transaction = Transaction::default();
        transaction.writes.push((loss.place.clone(), Some(disk::write(allotment))));
        if loss.ended {
            return self.commit(vec![transaction]).await;
        }
        let entitlement = loss.entitlement.clone();
        if loss.unused > 0 {
            let units = i64::try_from(loss.unused).map_err(|_| OpenError::Damaged("a counter"))?;
            let counters = self.shift(&mut transaction, &entitlement, UNUSED, units);
            let event = Event::UnusedLost { entitlement, units: loss.unused };
            transaction.rows.push(self.row(moment, random::array(), event, counters));
        }
        let mut batch = vec![transaction];
        let mut range = Range::all(tables::UNITS, tables::prefix(&loss.entitlement, b""));
        range.limit = PAGE_UNITS;
        loop {
            let page = view.peek_range(&range).await.map_err(OpenError::Refused)?;
            for (key, value) in &page {
                let unit: UnitRecord = disk::read(value).map_err(OpenError::Refused)?;
                if is_in_doubt(unit.state()) {
                    batch.push(self.lose(moment, loss, number, key, unit));
                }
                if batch.len() == BATCH_TRANSACTIONS {
                    self.commit(std::mem::take(&mut batch)).await?;
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE_UNITS => {
                    range = range.after(last.key.clone());
                }
                _ => return self.commit(batch).await,
            }
        }
    }

    /// The transaction that writes one unit off: its own, so that the counters in its row are those
    /// after it.
    fn lose(
        &self,
        moment: Moment,
        loss: &Loss,
        grant_number: u32,
        key: &Key,
        mut unit: UnitRecord,
    ) -> Transaction {
        let from = Counters::position(unit.state());
        let moved = unit.move_to(UnitState::Lost, moment.site_ms);
        debug_assert!(moved, "a unit in doubt can be lost");
        let number = escrows::unit_number(&key.key);
        let event = lost_event(&loss.entitlement, grant_number, number, &unit);
        let mut transaction = Transaction::default();
        let counters = self.shift(&mut transaction, &loss.entitlement, from, 1);
        transaction.rows.push(self.row(moment, random::array(), event, counters));
        transaction.writes.push((key.clone(), Some(disk::write(unit))));
        transaction
    }

    /// Moves units to the lost ones; gives the indices of the ten counters for a row.
    fn shift(
        &self,
        transaction: &mut Transaction,
        entitlement: &str,
        from: usize,
        units: i64,
    ) -> Vec<usize> {
        let lost = Counters::position(UnitState::Lost);
        let first = transaction.adds.len();
        for position in 0..10 {
            let delta = match position {
                _ if position == from => -units,
                _ if position == lost => units,
                _ => 0,
            };
            let key = tables::counter(entitlement, position);
            transaction.adds.push(Add { key, delta, min: 0, max: u64::MAX });
        }
        (first..first + 10).collect()
    }

    fn row(&self, moment: Moment, request: [u8; 16], event: Event, counters: Vec<usize>) -> NewRow {
        let body = RowBody {
            version: 1,
            time_ms: moment.site_ms,
            monotonic_ms: moment.monotonic_ms,
            boot: self.boot,
            clock_suspect: moment.suspect,
            plugin: None,
            principal: self.principal(),
            request,
            event,
        };
        NewRow { body: canonical::encode(&body), counters }
    }

    /// Nothing runs on the store yet, so there is no committer.
    async fn commit(&self, batch: Vec<Transaction>) -> Result<(), OpenError> {
        let outcomes = self.store.commit(batch).await.map_err(OpenError::Store)?;
        let whole = outcomes.iter().all(|one| matches!(one, Outcome::Committed { .. }));
        if whole { Ok(()) } else { Err(OpenError::Damaged("a counter of an allotment")) }
    }
}

impl Restored {
    /// The store's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes the platform remember the restored store, and nothing before it. The store is in its
    /// place by then: a crash before this leaves a host that is read-only, and the restore can be
    /// repeated with the same approvals.
    ///
    /// # Errors
    ///
    /// Where the platform refuses.
    pub async fn anchor(&self, platform: &dyn Platform) -> Result<(), OpenError> {
        let view = View::new(&*self.store).await.map_err(OpenError::Refused)?;
        // What an earlier platform remembered may be lost with it; what the backup knows is not.
        let known = taken_digests(&view).await.map_err(OpenError::Refused)?;
        platform.remember(&known).map_err(OpenError::Platform)?;
        let mark = mark_of(&view.position().mark());
        let anchor = Anchor::new(self.store_id, self.epoch, mark);
        platform.advance(&anchor).map_err(OpenError::Platform)
    }
}

/// The anchor of a platform. One that has none gets its own first, in an epoch that no other
/// platform has: so approvals of a restore are good for this one alone.
fn anchor_of(
    platform: &dyn Platform,
    store_id: [u8; 16],
    epoch: u64,
) -> Result<Option<Anchor>, OpenError> {
    let known = platform.anchor().map_err(OpenError::Platform)?;
    if known.is_some() {
        return Ok(known);
    }
    let [_, jump @ ..] = random::array::<4>().map(u64::from);
    let jump = jump.into_iter().fold(0, |jump, byte| jump << 8 | byte) + 1;
    let nowhere = Mark { commit: 0, heads_digest: [0; 32], set_hash: [0; 32] };
    let own = Anchor::new(store_id, epoch + jump, nowhere);
    platform.remember(&[forgot_digest(&store_id)]).map_err(OpenError::Platform)?;
    platform.advance(&own).map_err(OpenError::Platform)?;
    Ok(Some(own))
}

/// What a platform remembers that took a store over without knowing its past.
fn forgot_digest(store_id: &[u8; 16]) -> [u8; 32] {
    sha256(&mintmark_crypto::framed("mintmark platform that forgot v1", &[store_id]))
}

/// Headquarters' time up to which its grants may have been imported before the restore.
pub(crate) fn forgot_place() -> Key {
    Key::new(tables::NUMBERS, b"forgot")
}

/// The position in row order of units that were never drawn.
const UNUSED: usize = 1;

fn is_in_doubt(state: UnitState) -> bool {
    matches!(state, UnitState::Reserved | UnitState::Issued)
}

fn lost_event(entitlement: &str, grant_number: u32, number: u64, unit: &UnitRecord) -> Event {
    use mintmark_crypto::digest::sha256;
    use mintmark_exchange::certificate::CertificateSerial;

    let artefact = unit.artefact.as_ref();
    let certificate = artefact.and_then(|artefact| artefact.certificates.first());
    let serial = CertificateSerial { number: grant_number, unit: number, ordinal: 0 };
    Event::Unit(Box::new(UnitEvent {
        entitlement: entitlement.to_owned(),
        unit: number,
        subject: unit.subject.clone(),
        serial: Some(unit.serial.clone()),
        change: UnitChange::Lost,
        detail: "restored from a backup".to_owned(),
        certificate_hash: certificate.map(|der| sha256(der)),
        key_hash: artefact.map(|artefact| artefact.key_hash),
        certificate_serial: certificate.map(|_| serial.to_bytes().to_vec()),
        proof: None,
    }))
}

/// Every entitlement, with the unused and in-doubt units of those that have not ended.
async fn losses(view: &View) -> Result<Vec<Loss>, Refusal> {
    let found = view.peek_range(&Range::all(tables::ALLOTMENTS, Vec::new())).await?;
    let mut losses = Vec::new();
    for (place, value) in found {
        let allotment: AllotmentRecord = disk::read(&value)?;
        let ended = escrows::end(&allotment).is_some();
        let entitlement = grant_of(&allotment)?.entitlement;
        let counters = match ended {
            true => Counters::default(),
            false => escrows::counters(view, &entitlement).await?,
        };
        let (unused, in_doubt) = (counters.unused, counters.in_doubt());
        losses.push(Loss { entitlement, unused, in_doubt, place, ended });
    }
    Ok(losses)
}

/// The last row of the node's own ledger, under its name in the restored store.
fn end_of(record: &HostRecord, snapshot: &dyn Snapshot) -> Result<HeadRef, OpenError> {
    let chain = chains::archived(&record.node, record.incarnation);
    let head = snapshot.position().head(&chain);
    let head = head.ok_or(OpenError::Damaged("the end of the ledger"))?;
    Ok(HeadRef {
        node: record.node.clone(),
        incarnation: record.incarnation,
        sequence: head.sequence,
        hash: head.hash,
    })
}

fn charter_of(record: &HostRecord) -> Result<Charter, OpenError> {
    let installed = record.installed.as_ref().ok_or(OpenError::NotInstalled)?;
    let charter = SignedOrder::decode(&installed.charter).and_then(|order| order.open::<Charter>());
    charter.map_err(|_| OpenError::Damaged("the charter"))
}
