//! The body of a bundle: checkpoints, then the rows that they cover, as a stream of frames.
//!
//! Frame 0 is the [`BundleHead`]. Then, for each checkpoint in its order, the encoded rows that it
//! covers, one per frame, and an empty frame that ends them. So a bundle that was cut off between
//! two frames does not look like a shorter one.

use serde::{Deserialize, Serialize};

use crate::order::SignedOrder;

/// The first frame of a bundle's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleHead {
    /// 1.
    pub version: u16,
    /// One checkpoint per node.
    pub checkpoints: Vec<SignedOrder>,
}

/// The only version of a bundle.
pub const VERSION: u16 = 1;
/// Most bytes of a frame.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most checkpoints, thus nodes, of a bundle.
pub const CHECKPOINTS_MAX: usize = 64;

/// A frame, or a bundle, larger than the format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame is larger than 1 MiB")]
pub struct FrameTooLong;

/// Appends a frame: its length as a big-endian `u32`, then its bytes.
pub fn push_frame(body: &mut Vec<u8>, frame: &[u8]) -> Result<(), FrameTooLong> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(FrameTooLong);
    }
    let length = u32::try_from(frame.len()).map_err(|_| FrameTooLong)?;
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(frame);
    Ok(())
}

/// Cuts a stream of bytes, fed in ranges of any size, into frames. Holds at most one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameReader {
    /// The frame that has begun, with its length.
    begun: Vec<u8>,
}

impl FrameReader {
    /// A reader at the beginning of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` and gives the next whole frame, if there is one; call
    /// it until it gives none, then with the next range.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FrameTooLong> {
        if !self.fill(input, 4) {
            return Ok(None);
        }
        let prefix: [u8; 4] = self.begun[..4].try_into().expect("`fill` says that there are 4");
        let length = usize::try_from(u32::from_be_bytes(prefix)).map_err(|_| FrameTooLong)?;
        if length > FRAME_BYTES_MAX {
            return Err(FrameTooLong);
        }
        if !self.fill(input, 4 + length) {
            return Ok(None);
        }
        let frame = self.begun.split_off(4);
        self.begun.clear();
        Ok(Some(frame))
    }

    /// True between two frames: where a body may end.
    pub fn is_between_frames(&self) -> bool {
        self.begun.is_empty()
    }

    /// Moves bytes over until `wanted` are there; false if the input ends before.
    fn fill(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.begun.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.begun.extend_from_slice(taken);
        *input = rest;
        self.begun.len() >= wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(body: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut reader = FrameReader::new();
        let mut found = Vec::new();
        for mut range in body.chunks(step) {
            while let Some(frame) = reader.next_frame(&mut range).unwrap() {
                found.push(frame);
            }
        }
        assert!(reader.is_between_frames());
        found
    }

    #[test]
    fn frames_come_out_the_same_whatever_the_ranges() {
        let wanted = vec![b"first".to_vec(), Vec::new(), vec![7; 300], Vec::new()];
        let mut body = Vec::new();
        for frame in &wanted {
            push_frame(&mut body, frame).unwrap();
        }
        for step in [1, 2, 3, 4, 5, 64, body.len()] {
            assert_eq!(frames(&body, step), wanted, "in steps of {step}");
        }
    }

    #[test]
    fn p3_a_frame_that_claims_too_much_is_refused_before_it_is_read() {
        for claimed in [FRAME_BYTES_MAX as u32 + 1, 1 << 31, u32::MAX] {
            let bytes = claimed.to_be_bytes();
            let mut input = &bytes[..];
            assert_eq!(FrameReader::new().next_frame(&mut input), Err(FrameTooLong));
        }
    }
}
