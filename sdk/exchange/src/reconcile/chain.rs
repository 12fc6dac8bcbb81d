//! The first reading of a bundle: is the ledger whole, and who says so?
//!
//! Nothing that a row says is believed before this reading has come to the bundle's end: the
//! second reading writes into the device register, and must see authentic rows alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bundle::{self, BundleHead, CHECKPOINTS_MAX, FRAME_BYTES_MAX},
    canonical::{self, SPIFFE_BYTES_MAX, is_name},
    checkpoint::{self, Checkpoint, Position},
    grant::is_entitlement,
    merkle::Tree,
    order::{self, SignedOrder},
    reconcile::{
        Equivocation, FindingKind, Register, Unavailable,
        history::Ledger,
        report::{Findings, Place},
        state::{Heads, NODES_MAX},
    },
    row::{Event, ROW_DELAY_MS_MAX, Row, Started},
    verify::Verify,
};

/// Follows the ledgers of a bundle, node by node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ChainCheck {
    /// As they will be if the bundle is whole.
    pub(super) heads: BTreeMap<String, Heads>,
    /// False once the bundle can't be taken.
    pub(super) whole: bool,
    /// What proves that the site signed two ledgers.
    pub(super) equivocation: Option<Equivocation>,
    last: Position,
    tree: Tree,
    /// True once a row of the present node does not follow: what comes after says nothing.
    broken: bool,
}

/// A checkpoint of the bundle, and the same as the site signed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) order: &'a SignedOrder,
}

/// A row in the light of what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// It comes after what is held.
    New,
    Held,
    /// Another row of its number is held.
    Other,
    /// A row of its number was held, and nobody knows which.
    Lost,
}

/// Reads the first frame of a bundle made at `made_at`, and verifies its checkpoints, each as of
/// when it was made; they come also as they are signed. `None` if one does not hold.
pub(super) fn open_head(
    frame: &[u8],
    site: &str,
    made_at: u64,
    verify: &dyn Verify,
    findings: &mut Findings,
) -> Option<(Vec<Checkpoint>, Vec<SignedOrder>)> {
    let place = Place { node: "", row: None, entitlement: None };
    let Ok(head) = canonical::decode::<BundleHead>(frame, FRAME_BYTES_MAX) else {
        findings.breach(FindingKind::Malformed, place, "the bundle's head can't be read");
        return None;
    };
    let sound = matches!(head.checkpoints.len(), 1..=CHECKPOINTS_MAX);
    if head.version != bundle::VERSION || !sound {
        let text = "unknown version, or no or too many checkpoints";
        findings.breach(FindingKind::Malformed, place, text);
        return None;
    }
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    for order in &head.checkpoints {
        let read = order.is_bounded().then(|| order.open::<Checkpoint>().ok()).flatten();
        let Some(read) = read.filter(|read| is_sound(read, made_at, &checkpoints)) else {
            let text = "a checkpoint contradicts itself, or is older than the bundle";
            findings.breach(FindingKind::Malformed, place, text);
            return None;
        };
        let by_custody = verify
            .verify_order(order::CHECKPOINT, order, read.made_at)
            .is_some_and(|signer| signer.cluster == site && signer.leaf.starts_with("custody/"));
        if !by_custody {
            let text = "a checkpoint is not signed by the site's custody";
            findings.breach(FindingKind::Signature, place, text);
            return None;
        }
        if read.cluster != site {
            findings.breach(FindingKind::OtherSite, place, "a checkpoint of another cluster");
            return None;
        }
        checkpoints.push(read);
    }
    Some((checkpoints, head.checkpoints))
}

/// True for a checkpoint that does not contradict itself, the bundle or an earlier one of it. Both
/// are made in one call: an older one could be dated back to when its certificate was valid.
fn is_sound(read: &Checkpoint, made_at: u64, earlier: &[Checkpoint]) -> bool {
    let same =
        |other: &Checkpoint| (&other.node, other.incarnation) == (&read.node, read.incarnation);
    read.version == checkpoint::VERSION
        && is_name(&read.node)
        && read.to.sequence.checked_sub(read.from.sequence) == Some(read.rows)
        && (read.from.sequence > 0 || read.from.hash == [0; 32])
        && (read.rows > 0 || read.from == read.to)
        && read.to.sequence < u64::MAX
        && read.as_of <= read.made_at
        && made_at.saturating_sub(read.made_at) <= ROW_DELAY_MS_MAX
        && read.headquarters.len() <= SPIFFE_BYTES_MAX
        && read.hq_head.as_ref().is_none_or(|head| head.node.len() <= SPIFFE_BYTES_MAX)
        && read.counters.iter().all(|said| is_entitlement(&said.entitlement))
        && read.counters.windows(2).all(|pair| pair[0].entitlement < pair[1].entitlement)
        && !earlier.iter().any(same)
}

impl ChainCheck {
    pub(super) fn new(heads: BTreeMap<String, Heads>) -> Self {
        Self {
            heads,
            whole: true,
            equivocation: None,
            last: Position::default(),
            tree: Tree::new(),
            broken: false,
        }
    }

    /// Begins a checkpoint: does it continue what is held of the node?
    pub(super) fn begin(
        &mut self,
        shown: Shown<'_>,
        register: &mut dyn Register,
        findings: &mut Findings,
    ) -> Result<(), Unavailable> {
        let checkpoint = shown.checkpoint;
        self.last = checkpoint.from;
        self.tree = Tree::new();
        self.broken = false;
        let from = checkpoint.from;
        let node = checkpoint.node.as_str();
        if self.is_one_too_many(checkpoint) {
            let place = Place { node, row: None, entitlement: None };
            let text = "more nodes, or ledgers of one, than a site can have";
            findings.breach(FindingKind::Checkpoint, place, text);
            self.whole = false;
        }
        let newest = self.heads.get(node).map_or(0, |held| held.incarnation);
        let position = self.last_held(checkpoint).sequence;
        if checkpoint.incarnation < newest && checkpoint.to.sequence > position {
            // A ledger that a later one has replaced may be shown again, but not go on.
            let place = Place { node, row: Some(position + 1), entitlement: None };
            findings.breach(FindingKind::Fork, place, "a ledger goes on that was replaced");
            self.keep_proof(shown, checkpoint.incarnation, position + 1);
            self.whole = false;
            return Ok(());
        }
        if from.sequence > position {
            let place = Place { node, row: Some(position + 1), entitlement: None };
            let text =
                format!("rows {} to {} are in an earlier bundle", position + 1, from.sequence);
            findings.hold(FindingKind::MissingBundle, place, text);
            self.whole = false;
            return Ok(());
        }
        self.compare(from, shown, register, findings)
    }

    /// Reads the next row of the present checkpoint.
    pub(super) fn row(
        &mut self,
        encoded: &[u8],
        shown: Shown<'_>,
        register: &mut dyn Register,
        findings: &mut Findings,
    ) -> Result<(), Unavailable> {
        if self.broken {
            return Ok(());
        }
        let checkpoint = shown.checkpoint;
        let place = |row| Place { node: &checkpoint.node, row: Some(row), entitlement: None };
        let position = match self.follow(encoded, checkpoint) {
            Ok(position) => position,
            Err((kind, row, text)) => {
                findings.breach(kind, place(row), text);
                self.give_up();
                return Ok(());
            }
        };
        self.compare(position, shown, register, findings)?;
        if self.broken {
            return Ok(());
        }
        match Row::decode(encoded) {
            Ok(row) => self.check_start(&row, shown, register, findings)?,
            Err(_) => {
                let text = "the row can't be read";
                findings.breach(FindingKind::Malformed, place(position.sequence), text);
                self.give_up();
            }
        }
        self.tree.push(&position.hash);
        self.last = position;
        Ok(())
    }

    /// The row's place, if it is the one that follows; else what is wrong, and at which row.
    fn follow(
        &self,
        encoded: &[u8],
        checkpoint: &Checkpoint,
    ) -> Result<Position, (FindingKind, u64, String)> {
        let expected = self.last.sequence + 1;
        let Some((sequence, previous, hash)) = Row::link(encoded) else {
            return Err((FindingKind::Malformed, expected, "not a row".to_owned()));
        };
        let broken = |row, text| Err((FindingKind::BrokenChain, row, text));
        if sequence > expected {
            let text = format!("rows {expected} to {} are missing", sequence - 1);
            return Err((FindingKind::Gap, expected, text));
        }
        if sequence < expected {
            return broken(sequence, "the row is out of place".to_owned());
        }
        if previous != self.last.hash {
            let text = format!("the row is not the one that row {sequence} follows");
            return broken(sequence.saturating_sub(1).max(1), text);
        }
        if sequence > checkpoint.to.sequence {
            return broken(sequence, "the row is not covered by the checkpoint".to_owned());
        }
        Ok(Position { sequence, hash })
    }

    /// Ends the present checkpoint: are all rows there that it covers?
    pub(super) fn end(&mut self, shown: Shown<'_>, findings: &mut Findings) {
        let checkpoint = shown.checkpoint;
        let place = |row| Place { node: &checkpoint.node, row: Some(row), entitlement: None };
        let to = checkpoint.to;
        let last = self.last;
        if self.broken {
            return;
        }
        if last.sequence < to.sequence {
            let text = format!("rows {} to {} are missing", last.sequence + 1, to.sequence);
            findings.breach(FindingKind::Gap, place(last.sequence + 1), text);
            self.give_up();
        } else if last.hash != to.hash {
            let text = "the row is not the one that the checkpoint ends with";
            findings.breach(FindingKind::BrokenChain, place(to.sequence), text);
            self.give_up();
        } else if checkpoint.merkle_root != self.tree.root() {
            let text = "the checkpoint's Merkle root is not that of its rows";
            findings.breach(FindingKind::Checkpoint, place(to.sequence), text);
            self.give_up();
        } else if to.sequence > 0 {
            let heads = self.heads.entry(checkpoint.node.clone()).or_default();
            heads.advance(checkpoint.incarnation, to, shown.order);
        }
        // Else it says nothing: a ledger without a row replaces none.
    }

    fn give_up(&mut self) {
        self.broken = true;
        self.whole = false;
    }

    fn is_one_too_many(&self, checkpoint: &Checkpoint) -> bool {
        match self.heads.get(&checkpoint.node) {
            Some(held) => held.is_one_too_many(checkpoint.incarnation),
            None => self.heads.len() >= NODES_MAX,
        }
    }

    fn last_held(&self, checkpoint: &Checkpoint) -> Position {
        let held = self.heads.get(&checkpoint.node);
        held.map(|held| held.last_of(checkpoint.incarnation)).unwrap_or_default()
    }

    /// Compares a row with the one of its number that is held, if there is one.
    ///
    /// A copy of the site that reports less than the original did would pass for an old bundle
    /// again, whose rows nothing applies: so every row is compared, also of what is old.
    fn compare(
        &mut self,
        row: Position,
        shown: Shown<'_>,
        register: &mut dyn Register,
        findings: &mut Findings,
    ) -> Result<(), Unavailable> {
        let ledger = Ledger::of(shown.checkpoint);
        let place = Place { node: ledger.node, row: Some(row.sequence), entitlement: None };
        match self.compared(row, ledger, register)? {
            Compared::New | Compared::Held => {}
            Compared::Other => {
                findings.breach(FindingKind::Fork, place, "another row of this number is held");
                self.keep_proof(shown, ledger.incarnation, row.sequence);
                self.give_up();
            }
            Compared::Lost => {
                let text = "a row that headquarters cannot compare with what it held";
                findings.hold(FindingKind::Fork, place, text);
                self.give_up();
            }
        }
        Ok(())
    }

    fn compared(
        &self,
        row: Position,
        ledger: Ledger<'_>,
        register: &mut dyn Register,
    ) -> Result<Compared, Unavailable> {
        let held = self.heads.get(ledger.node);
        let last = held.map(|held| held.last_of(ledger.incarnation)).unwrap_or_default();
        if row.sequence > last.sequence {
            return Ok(Compared::New);
        }
        let known = match row.sequence == last.sequence {
            true => Some(last.hash),
            false => ledger.hash_at(row.sequence, register)?,
        };
        Ok(match known {
            Some(hash) if hash == row.hash => Compared::Held,
            Some(_) => Compared::Other,
            None => Compared::Lost,
        })
    }

    /// Keeps what the site signed about both ledgers; one proof is enough, and a report has its
    /// bounds.
    fn keep_proof(&mut self, shown: Shown<'_>, incarnation: u64, row: u64) {
        let node = &shown.checkpoint.node;
        let held = self.heads.get(node).and_then(|held| held.witness_of(incarnation));
        if let Some(held) = held.filter(|_| self.equivocation.is_none()) {
            self.equivocation = Some(Equivocation {
                node: node.clone(),
                row,
                held: held.clone(),
                shown: shown.order.clone(),
            });
        }
    }

    /// A ledger begins with a start, and every start says whose ledger it is.
    fn check_start(
        &mut self,
        row: &Row,
        shown: Shown<'_>,
        register: &mut dyn Register,
        findings: &mut Findings,
    ) -> Result<(), Unavailable> {
        let checkpoint = shown.checkpoint;
        let place = Place { node: &checkpoint.node, row: Some(row.sequence), entitlement: None };
        let Event::Started(started) = &row.body.event else {
            if row.sequence == 1 {
                let text = "the ledger does not begin with a start";
                findings.breach(FindingKind::BrokenChain, place, text);
                self.give_up();
            }
            return Ok(());
        };
        let same = started.cluster == checkpoint.cluster
            && started.node == checkpoint.node
            && started.incarnation == checkpoint.incarnation;
        if !same {
            findings.breach(FindingKind::OtherSite, place, "the row is of another ledger");
            self.give_up();
        } else if row.sequence == 1 {
            return self.check_replacement(started, shown, register, findings);
        }
        Ok(())
    }

    /// A new ledger of a known node has to name the one before, which is an earlier one.
    fn check_replacement(
        &mut self,
        started: &Started,
        shown: Shown<'_>,
        register: &mut dyn Register,
        findings: &mut Findings,
    ) -> Result<(), Unavailable> {
        let place = Place { node: &shown.checkpoint.node, row: Some(1), entitlement: None };
        let later = |head: &crate::message::HeadRef| head.incarnation >= started.incarnation;
        if started.replaces.as_ref().is_some_and(later) {
            let text = "the ledger replaces itself, or a later one";
            findings.breach(FindingKind::Restore, place, text);
            self.give_up();
            return Ok(());
        }
        let Some(held) = self.heads.get(&started.node) else {
            if started.replaces.is_some() {
                let text = "the ledger replaces one that never reported";
                findings.hold(FindingKind::Restore, place, text);
            }
            return Ok(());
        };
        let shown_before = held.last_of(started.incarnation).sequence > 0;
        if shown_before || held.incarnation > started.incarnation {
            return Ok(());
        }
        let replaces = started.replaces.as_ref();
        // Several restores may have come from one backup.
        let known = |head: &&crate::message::HeadRef| held.last_of(head.incarnation).sequence > 0;
        let Some(head) = replaces.filter(known) else {
            let text = "a new ledger that does not name the one before";
            findings.hold(FindingKind::Restore, place, text);
            return Ok(());
        };
        if head.sequence > held.last_of(head.incarnation).sequence {
            let text = format!("restored after row {}, which never reported", head.sequence);
            findings.hold(FindingKind::Restore, place, text);
            return Ok(());
        }
        let named = Position { sequence: head.sequence, hash: head.hash };
        let ledger = Ledger { incarnation: head.incarnation, ..Ledger::of(shown.checkpoint) };
        if self.compared(named, ledger, register)? == Compared::Held {
            let text = format!("restored by ceremony, after row {}", head.sequence);
            findings.note(FindingKind::Restore, place, text);
        } else {
            let text = "the ledger replaces another one than is held";
            findings.breach(FindingKind::Fork, place, text);
            self.keep_proof(shown, head.incarnation, head.sequence);
            self.give_up();
        }
        Ok(())
    }
}
