//! The serial number of a device certificate, which says which unit it is.
//!
//! A batch can never have more than `total` distinct valid units, and any verifier can refuse a
//! serial outside of it: a stolen batch key can only make duplicates.

/// `0x01 ‖ entitlement number (u32) ‖ unit (u64) ‖ ordinal (u16)`, big-endian.
///
/// The leading 1 keeps the number positive and of fixed length (RFC 5280, 4.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateSerial {
    /// The entitlement's number.
    pub number: u32,
    /// The unit's number within the entitlement, from 0.
    pub unit: u64,
    /// Which of the unit's certificates, from 0.
    pub ordinal: u16,
}

impl CertificateSerial {
    /// Bytes of a serial number.
    pub const LENGTH: usize = 15;

    /// The serial number, big-endian.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [1; Self::LENGTH];
        bytes[1..5].copy_from_slice(&self.number.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.unit.to_be_bytes());
        bytes[13..].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes
    }

    /// Reads a serial number; `None` for one that this scheme did not make.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let [1, a, b, c, d, unit @ .., e, f] = bytes else {
            return None;
        };
        Some(Self {
            number: u32::from_be_bytes([*a, *b, *c, *d]),
            unit: u64::from_be_bytes(*unit),
            ordinal: u16::from_be_bytes([*e, *f]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_round_trips_and_has_fifteen_bytes() {
        let serial = CertificateSerial { number: 0x0102_0304, unit: 5, ordinal: 6 };
        let bytes = serial.to_bytes();
        assert_eq!(bytes, [1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 6]);
        assert_eq!(CertificateSerial::parse(&bytes), Some(serial));
        assert_eq!(CertificateSerial::parse(&bytes[1..]), None);
        assert_eq!(CertificateSerial::parse(&[0; 15]), None);
    }
}
