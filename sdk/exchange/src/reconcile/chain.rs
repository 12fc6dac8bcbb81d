//! The first reading of a bundle: is the ledger whole, and who says so?
//!
//! Nothing that a row says is believed before this reading has come to the bundle's end: the
//! second reading writes into the device register, and must see authentic rows alone.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    bundle::{self, BundleHead, CHECKPOINTS_MAX, FRAME_BYTES_MAX},
    canonical::{self, Digest, is_name},
    checkpoint::{self, Checkpoint, Position},
    grant::is_entitlement,
    merkle::Tree,
    message::HeadRef,
    order,
    reconcile::{
        FindingKind,
        report::{Findings, Place},
        state::Heads,
        trail::Trail,
    },
    row::{Event, Row, Started},
    verify::Verify,
};

/// Follows the ledgers of a bundle, node by node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ChainCheck {
    /// As they will be if the bundle is whole.
    pub(super) heads: BTreeMap<String, Heads>,
    /// False once the bundle can't be taken.
    pub(super) whole: bool,
    last: Position,
    tree: Tree,
    /// Known rows of the present ledger, with those that were read.
    trail: Trail,
    /// The rows read last, oldest first.
    recent: VecDeque<Position>,
    /// True once a row of the present node does not follow: what comes after says nothing.
    broken: bool,
}

/// How many rows after a bundle's end the row that names the end is looked for: rows of other
/// calls may come between.
const RECENT_MAX: usize = 32;

/// Reads a bundle's first frame and verifies its checkpoints; `None` if one does not hold.
pub(super) fn open_head(
    frame: &[u8],
    site: &str,
    at_ms: u64,
    verify: &dyn Verify,
    findings: &mut Findings,
) -> Option<Vec<Checkpoint>> {
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
        let signer = order
            .is_bounded()
            .then(|| verify.verify_order(order::CHECKPOINT, order, at_ms))
            .flatten();
        let by_custody = signer
            .is_some_and(|signer| signer.cluster == site && signer.leaf.starts_with("custody/"));
        if !by_custody {
            let text = "a checkpoint is not signed by the site's custody";
            findings.breach(FindingKind::Signature, place, text);
            return None;
        }
        let read = order.open::<Checkpoint>().ok().filter(|read| is_sound(read, &checkpoints));
        let Some(read) = read else {
            findings.breach(FindingKind::Malformed, place, "a checkpoint contradicts itself");
            return None;
        };
        if read.cluster != site {
            findings.breach(FindingKind::OtherSite, place, "a checkpoint of another cluster");
            return None;
        }
        checkpoints.push(read);
    }
    Some(checkpoints)
}

/// True for a checkpoint that does not contradict itself or an earlier one of the bundle.
fn is_sound(read: &Checkpoint, earlier: &[Checkpoint]) -> bool {
    let same =
        |other: &Checkpoint| (&other.node, other.incarnation) == (&read.node, read.incarnation);
    read.version == checkpoint::VERSION
        && is_name(&read.node)
        && read.to.sequence.checked_sub(read.from.sequence) == Some(read.rows)
        && (read.from.sequence > 0 || read.from.hash == [0; 32])
        && (read.rows > 0 || read.from == read.to)
        && read.counters.iter().all(|said| is_entitlement(&said.entitlement))
        && read.counters.windows(2).all(|pair| pair[0].entitlement < pair[1].entitlement)
        && !earlier.iter().any(same)
}

impl ChainCheck {
    pub(super) fn new(heads: BTreeMap<String, Heads>) -> Self {
        Self {
            heads,
            whole: true,
            last: Position::default(),
            tree: Tree::new(),
            trail: Trail::default(),
            recent: VecDeque::new(),
            broken: false,
        }
    }

    /// Begins a checkpoint: does it continue what is held of the node?
    pub(super) fn begin(&mut self, checkpoint: &Checkpoint, findings: &mut Findings) {
        self.last = checkpoint.from;
        self.tree = Tree::new();
        self.recent.clear();
        self.broken = false;
        let from = checkpoint.from;
        let node = checkpoint.node.as_str();
        let held = self.heads.get(node).cloned().unwrap_or_default();
        self.trail = held.trail_of(checkpoint.incarnation);
        let position = held.last_of(checkpoint.incarnation).sequence;
        if checkpoint.incarnation < held.incarnation && checkpoint.to.sequence > position {
            // A ledger that a later one has replaced may be shown again, but not go on.
            let place = Place { node, row: Some(position + 1), entitlement: None };
            findings.breach(FindingKind::Fork, place, "a ledger goes on that was replaced");
            self.whole = false;
        } else if from.sequence > position {
            let place = Place { node, row: Some(position + 1), entitlement: None };
            let text =
                format!("rows {} to {} are in an earlier bundle", position + 1, from.sequence);
            findings.hold(FindingKind::MissingBundle, place, text);
            self.whole = false;
        } else if self.is_forked(checkpoint, from) {
            let place = Place { node, row: Some(from.sequence), entitlement: None };
            findings.breach(FindingKind::Fork, place, "another row of this number is held");
            self.give_up();
        }
    }

    /// Reads the next row of the present checkpoint.
    pub(super) fn row(&mut self, encoded: &[u8], checkpoint: &Checkpoint, findings: &mut Findings) {
        if self.broken {
            return;
        }
        let expected = self.last.sequence + 1;
        let place = |row| Place { node: &checkpoint.node, row: Some(row), entitlement: None };
        let found = Row::link(encoded);
        let problem = match found {
            None => Some((FindingKind::Malformed, expected, "not a row".to_owned())),
            Some((sequence, ..)) if sequence > expected => {
                let text = format!("rows {expected} to {} are missing", sequence - 1);
                Some((FindingKind::Gap, expected, text))
            }
            Some((sequence, ..)) if sequence < expected => {
                Some((FindingKind::BrokenChain, sequence, "the row is out of place".to_owned()))
            }
            Some((sequence, previous, _)) if previous != self.last.hash => {
                let text = format!("the row is not the one that row {sequence} follows");
                Some((FindingKind::BrokenChain, sequence.saturating_sub(1).max(1), text))
            }
            Some((sequence, ..)) if sequence > checkpoint.to.sequence => {
                let text = "the row is not covered by the checkpoint".to_owned();
                Some((FindingKind::BrokenChain, sequence, text))
            }
            Some((sequence, _, hash))
                if self.is_forked(checkpoint, Position { sequence, hash }) =>
            {
                let text = "another row of this number is held".to_owned();
                Some((FindingKind::Fork, sequence, text))
            }
            Some(_) => None,
        };
        if let Some((kind, row, text)) = problem {
            findings.breach(kind, place(row), text);
            self.give_up();
            return;
        }
        let (sequence, _, hash) = found.expect("a row that can't be linked is a problem above");
        match Row::decode(encoded) {
            Ok(row) => {
                self.check_start(&row, checkpoint, findings);
                self.remember_ends(&row, checkpoint);
            }
            Err(_) => {
                let text = "the row can't be read";
                findings.breach(FindingKind::Malformed, place(sequence), text);
                self.give_up();
            }
        }
        self.tree.push(&hash);
        self.last = Position { sequence, hash };
        self.trail.pass(self.last);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(self.last);
    }

    /// Ends the present checkpoint: are all rows there that it covers?
    pub(super) fn end(&mut self, checkpoint: &Checkpoint, findings: &mut Findings) {
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
        } else if !self.is_compared(checkpoint) {
            let text = "rows that headquarters cannot compare with what it holds";
            findings.hold(FindingKind::Fork, place(to.sequence), text);
            self.give_up();
        } else {
            let heads = self.heads.entry(checkpoint.node.clone()).or_default();
            heads.advance(checkpoint.incarnation, to, std::mem::take(&mut self.trail));
        }
    }

    fn give_up(&mut self) {
        self.broken = true;
        self.whole = false;
    }

    /// True if another row of this number is held.
    fn is_forked(&self, checkpoint: &Checkpoint, row: Position) -> bool {
        self.hash_at(checkpoint, row.sequence).is_some_and(|known| known != row.hash)
    }

    /// False for a stretch that ends before the last row held, at a row that is not known.
    ///
    /// A copy of the site that reports less than the original did is such a stretch: its rows
    /// would pass for old ones, which nothing reads. A stretch that goes on comes to the last row
    /// held, and each of its rows is vouched for by the next.
    fn is_compared(&self, checkpoint: &Checkpoint) -> bool {
        let held = self.heads.get(&checkpoint.node);
        let last = held.map(|held| held.last_of(checkpoint.incarnation)).unwrap_or_default();
        let to = checkpoint.to;
        to.sequence >= last.sequence
            || self.hash_at(checkpoint, to.sequence).is_some_and(|known| known == to.hash)
    }

    fn hash_at(&self, checkpoint: &Checkpoint, sequence: u64) -> Option<Digest> {
        self.heads.get(&checkpoint.node)?.hash_at(checkpoint.incarnation, sequence)
    }

    /// Soon after a bundle's end a row says that it was made: it may yet come, after a longer one.
    ///
    /// Only an end that was just read counts: a row must not vouch for rows of another ledger.
    fn remember_ends(&mut self, row: &Row, checkpoint: &Checkpoint) {
        let Event::BundleExported { heads } = &row.body.event else {
            return;
        };
        for head in heads {
            let end = Position { sequence: head.sequence, hash: head.hash };
            let same = head.node == checkpoint.node && head.incarnation == checkpoint.incarnation;
            if same && self.recent.contains(&end) {
                self.trail.remember_end(end);
            }
        }
    }

    /// A ledger begins with a start, and every start says whose ledger it is.
    fn check_start(&mut self, row: &Row, checkpoint: &Checkpoint, findings: &mut Findings) {
        let place = Place { node: &checkpoint.node, row: Some(row.sequence), entitlement: None };
        let Event::Started(started) = &row.body.event else {
            if row.sequence == 1 {
                let text = "the ledger does not begin with a start";
                findings.breach(FindingKind::BrokenChain, place, text);
                self.give_up();
            }
            return;
        };
        let same = started.cluster == checkpoint.cluster
            && started.node == checkpoint.node
            && started.incarnation == checkpoint.incarnation;
        if !same {
            findings.breach(FindingKind::OtherSite, place, "the row is of another ledger");
            self.give_up();
        } else if row.sequence == 1 {
            self.check_replacement(started, place, findings);
        }
    }

    /// A new ledger of a known node has to name the one before.
    fn check_replacement(&mut self, started: &Started, place: Place<'_>, findings: &mut Findings) {
        let Some(held) = self.heads.get(&started.node) else {
            if started.replaces.is_some() {
                let text = "the ledger replaces one that never reported";
                findings.hold(FindingKind::Restore, place, text);
            }
            return;
        };
        if held.incarnation >= started.incarnation {
            return;
        }
        let replaces = started.replaces.as_ref();
        match replaces.filter(|head| head.incarnation == held.incarnation) {
            None => {
                let text = "a new ledger that does not name the one before";
                findings.hold(FindingKind::Restore, place, text);
            }
            Some(head) if head.sequence > held.position.sequence => {
                let text = format!("restored after row {}, which never reported", head.sequence);
                findings.hold(FindingKind::Restore, place, text);
            }
            Some(head) if is_other(held, head) => {
                let text = "the ledger replaces another one than is held";
                findings.breach(FindingKind::Fork, place, text);
                self.give_up();
            }
            Some(head) => {
                let text = format!("restored by ceremony, after row {}", head.sequence);
                findings.note(FindingKind::Restore, place, text);
            }
        }
    }
}

/// True if headquarters holds another row than `head` names.
fn is_other(held: &Heads, head: &HeadRef) -> bool {
    held.hash_at(head.incarnation, head.sequence).is_some_and(|hash| hash != head.hash)
}
