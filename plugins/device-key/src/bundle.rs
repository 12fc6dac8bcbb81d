//! Which rows a bundle holds, and how they are framed.

use mintmark_exchange::SignedOrder;
use mintmark_exchange::bundle::{BundleHead, FrameTooLong, VERSION, push_frame};
use mintmark_exchange::canonical::{DecodeError, encode};
use mintmark_exchange::checkpoint::Checkpoint;

/// A bundle before its rows are read.
pub(crate) struct Plan {
    /// The first frame.
    pub(crate) head: Vec<u8>,
    /// Per node, the rows to read.
    pub(crate) stretches: Vec<Stretch>,
}

/// The rows of one node that a bundle covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) node: String,
    /// The node and the number of its ledger, as the host reads them.
    pub(crate) ledger: String,
    /// The row before the first one.
    pub(crate) after: u64,
    /// The last row and its hash.
    pub(crate) last: u64,
    pub(crate) last_hash: [u8; 32],
}

impl Plan {
    /// Makes a plan from the checkpoints that the host signed.
    pub(crate) fn new(checkpoints: &[Vec<u8>]) -> Result<Self, DecodeError> {
        let mut orders = Vec::with_capacity(checkpoints.len());
        let mut stretches = Vec::with_capacity(checkpoints.len());
        for bytes in checkpoints {
            let order = SignedOrder::decode(bytes)?;
            stretches.push(Stretch::of(order.open()?));
            orders.push(order);
        }
        let head = encode(&BundleHead { version: VERSION, checkpoints: orders });
        Ok(Self { head, stretches })
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.last - stretch.after).sum()
    }
}

impl Stretch {
    fn of(checkpoint: Checkpoint) -> Self {
        Self {
            ledger: format!("{}~{}", checkpoint.node, checkpoint.incarnation),
            node: checkpoint.node,
            after: checkpoint.from.sequence,
            last: checkpoint.to.sequence.max(checkpoint.from.sequence),
            last_hash: checkpoint.to.hash,
        }
    }

    /// Frames the rows that follow the row `after`, as far as they belong to the stretch, and says
    /// which one was the last.
    pub(crate) fn frame(
        &self,
        after: u64,
        rows: &[Vec<u8>],
        body: &mut Vec<u8>,
    ) -> Result<u64, FrameTooLong> {
        let mut at = after;
        for row in rows {
            if at == self.last {
                break;
            }
            at += 1;
            if self.includes(at) {
                push_frame(body, row)?;
            }
        }
        Ok(at)
    }

    #[cfg(not(feature = "tampering"))]
    fn includes(&self, _row: u64) -> bool {
        true
    }

    /// The component that tampers leaves out one row in the middle.
    #[cfg(feature = "tampering")]
    fn includes(&self, row: u64) -> bool {
        row != self.after + (self.last - self.after).div_ceil(2)
    }
}

/// The frame that ends a node's rows.
pub(crate) fn push_end(body: &mut Vec<u8>) -> Result<(), FrameTooLong> {
    push_frame(body, &[])
}

#[cfg(all(test, not(feature = "tampering")))]
mod tests {
    use super::*;
    use mintmark_exchange::bundle::FrameReader;
    use mintmark_exchange::checkpoint::Position;

    fn checkpoint(from: u64, to: u64) -> Checkpoint {
        Checkpoint {
            version: 1,
            cluster: "spiffe://acme/site/shenzhen".to_owned(),
            node: "n1".to_owned(),
            incarnation: 1,
            from: Position { sequence: from, hash: [1; 32] },
            to: Position { sequence: to, hash: [2; 32] },
            rows: to - from,
            merkle_root: [3; 32],
            counters: Vec::new(),
            clock_suspect: false,
            boots: 1,
            headquarters: String::new(),
            applied_epoch: 0,
            applied_sequence: 0,
            hq_head: None,
            made_at: 0,
            as_of: 0,
        }
    }

    fn signed(checkpoint: &Checkpoint) -> Vec<u8> {
        let chain = vec![vec![1], vec![2]];
        SignedOrder { body: encode(checkpoint), chain, signature: vec![0; 64] }.encode()
    }

    #[test]
    fn a_plan_covers_what_the_checkpoints_say() {
        let plan = Plan::new(&[signed(&checkpoint(4, 9))]).unwrap();
        assert_eq!(plan.rows(), 5);
        assert_eq!((plan.stretches[0].after, plan.stretches[0].last), (4, 9));
        let head: BundleHead = mintmark_exchange::canonical::decode(&plan.head, 4096).unwrap();
        assert_eq!(head.checkpoints.len(), 1);
    }

    #[test]
    fn rows_after_the_checkpoint_are_left_for_the_next_bundle() {
        let stretch = Stretch::of(checkpoint(0, 3));
        let rows: Vec<_> = (1..=5_u8).map(|row| vec![row]).collect();
        let mut body = Vec::new();
        assert_eq!(stretch.frame(0, &rows[..2], &mut body), Ok(2));
        assert_eq!(stretch.frame(2, &rows[2..], &mut body), Ok(3));
        push_end(&mut body).unwrap();
        let mut reader = FrameReader::new();
        let mut input = &body[..];
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame(&mut input).unwrap() {
            frames.push(frame);
        }
        assert_eq!(frames, [vec![1], vec![2], vec![3], vec![]]);
    }

    #[test]
    fn a_checkpoint_that_is_none_is_refused() {
        assert!(Plan::new(&[vec![0; 7]]).is_err());
        let mut bytes = signed(&checkpoint(0, 1));
        bytes.push(0);
        assert!(Plan::new(&[bytes]).is_err());
    }
}

#[cfg(all(test, feature = "tampering"))]
mod tests {
    use super::*;

    #[test]
    fn the_tampering_component_leaves_out_exactly_one_row() {
        for (after, last) in [(0, 1), (0, 5), (7, 20)] {
            let (node, ledger) = (String::new(), String::new());
            let stretch = Stretch { node, ledger, after, last, last_hash: [0; 32] };
            let left_out = (after + 1..=last).filter(|row| !stretch.includes(*row)).count();
            assert_eq!(left_out, 1, "{after} to {last}");
        }
    }
}
