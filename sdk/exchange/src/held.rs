//! What a site holds of headquarters' orders: for a headquarters that was restored from a backup
//! and has forgotten what it granted and ordered after it.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `MMHO` |
//! | 2 | version, 1, big-endian |
//! | … | [`HeldOrders`], postcard |
//!
//! Nothing vouches for the file, and nothing has to: headquarters' own host signed each order.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, DecodeError},
    order::SignedOrder,
};

/// Grants and directives, each as headquarters' host signed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOrders {
    /// Every grant comes before the directives about it, and those in the order of their numbers.
    pub orders: Vec<SignedOrder>,
}

/// The first bytes of the file.
pub const MAGIC: [u8; 4] = *b"MMHO";
/// The only version of the format.
pub const VERSION: u16 = 1;
/// Most bytes of a file.
pub const FILE_BYTES_MAX: usize = 256 << 20;

impl HeldOrders {
    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&VERSION.to_be_bytes());
        file.extend_from_slice(&canonical::encode(self));
        file
    }

    /// Reads a file.
    ///
    /// # Errors
    /// For what no site writes.
    pub fn decode(file: &[u8]) -> Result<Self, DecodeError> {
        let rest = file.strip_prefix(&MAGIC).ok_or(DecodeError::Malformed)?;
        let (version, rest) = rest.split_first_chunk().ok_or(DecodeError::Malformed)?;
        if u16::from_be_bytes(*version) != VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        let held: Self = canonical::decode(rest, FILE_BYTES_MAX)?;
        let bounded = held.orders.iter().all(SignedOrder::is_bounded);
        if bounded { Ok(held) } else { Err(DecodeError::TooLong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> HeldOrders {
        let order =
            |byte| SignedOrder { body: vec![byte], chain: vec![vec![2]], signature: vec![3] };
        HeldOrders { orders: vec![order(1), order(2)] }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        assert_eq!(HeldOrders::decode(&held().encode()), Ok(held()));
    }

    #[test]
    fn p1_a_file_that_is_cut_or_goes_on_is_refused() {
        let mut file = held().encode();
        for end in 0..file.len() {
            assert!(HeldOrders::decode(&file[..end]).is_err(), "{end}");
        }
        file.push(0);
        assert_eq!(HeldOrders::decode(&file), Err(DecodeError::Trailing));
    }

    #[test]
    fn a_newer_file_is_refused_as_newer() {
        let mut file = held().encode();
        file[5] = 2;
        assert_eq!(HeldOrders::decode(&file), Err(DecodeError::UnknownVersion));
    }
}
