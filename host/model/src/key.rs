//! What a key may do, and the states of its life (NIST SP 800-57 part 1, section 7).

use crate::Algorithm;

/// One thing that can be done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Operation {
    /// Make a signature.
    Sign = 1 << 0,
    /// Check a signature.
    Verify = 1 << 1,
    /// Encrypt.
    Encrypt = 1 << 2,
    /// Decrypt.
    Decrypt = 1 << 3,
    /// Make an authentication code.
    Mac = 1 << 4,
    /// Check an authentication code.
    VerifyMac = 1 << 5,
    /// Wrap another key.
    Wrap = 1 << 6,
    /// Unwrap another key.
    Unwrap = 1 << 7,
    /// Derive another key.
    Derive = 1 << 8,
    /// Agree on a secret.
    Agree = 1 << 9,
    /// Sign a certificate by profile.
    Certify = 1 << 10,
    /// Leave the host, sealed to another.
    Export = 1 << 11,
}

impl Operation {
    /// Every operation, in the order of the contract.
    pub const ALL: &[Self] = &[
        Self::Sign,
        Self::Verify,
        Self::Encrypt,
        Self::Decrypt,
        Self::Mac,
        Self::VerifyMac,
        Self::Wrap,
        Self::Unwrap,
        Self::Derive,
        Self::Agree,
        Self::Certify,
        Self::Export,
    ];

    /// The name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Mac => "mac",
            Self::VerifyMac => "verify-mac",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
            Self::Derive => "derive",
            Self::Agree => "agree",
            Self::Certify => "certify",
            Self::Export => "export",
        }
    }

    /// The operation with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Whether it releases or protects something, so that a key past its window may not do it. What
    /// only opens or checks stays possible (SP 800-57: deactivated keys may process what they
    /// protected).
    #[must_use]
    pub const fn protects(self) -> bool {
        match self {
            Self::Verify | Self::Decrypt | Self::VerifyMac | Self::Unwrap => false,
            Self::Sign
            | Self::Encrypt
            | Self::Mac
            | Self::Wrap
            | Self::Derive
            | Self::Agree
            | Self::Certify
            | Self::Export => true,
        }
    }
}

/// A set of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Operations(u16);

impl Operations {
    /// No operation.
    pub const NONE: Self = Self(0);

    /// The set of these operations.
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |bits, operation| bits | *operation as u16))
    }

    /// The set with these bits, where each is an operation.
    #[must_use]
    pub fn from_bits(bits: u16) -> Option<Self> {
        (bits >> Operation::ALL.len() == 0).then_some(Self(bits))
    }

    /// The set as bits, in the order of [`Operation::ALL`].
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether `operation` is in the set.
    #[must_use]
    pub const fn has(self, operation: Operation) -> bool {
        self.0 & operation as u16 != 0
    }

    /// Whether each of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What both sets have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Pairs that one key may never have together: each makes an oracle of the other.
    #[must_use]
    pub fn excludes_itself(self) -> bool {
        [
            (Operation::Wrap, Operation::Decrypt),
            (Operation::Unwrap, Operation::Encrypt),
            (Operation::Sign, Operation::Decrypt),
            (Operation::Certify, Operation::Sign),
        ]
        .iter()
        .any(|(one, other)| self.has(*one) && self.has(*other))
    }

    /// What `algorithm` can do at all.
    #[must_use]
    pub fn possible(algorithm: Algorithm) -> Self {
        use Operation::{Certify, Decrypt, Derive, Encrypt, Export, Mac, Sign, Verify, VerifyMac};
        match algorithm {
            Algorithm::Ed25519 | Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
                Self::of(&[Sign, Verify, Certify, Export])
            }
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => {
                Self::of(&[Encrypt, Decrypt, Export])
            }
            Algorithm::HmacSha256 | Algorithm::HmacSha384 => Self::of(&[Mac, VerifyMac, Export]),
            Algorithm::HkdfSha256 => Self::of(&[Derive, Export]),
        }
    }
}

/// States of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Made, not yet to be used.
    PreActive,
    /// In use.
    Active,
    /// Not to be used for the time being.
    Suspended,
    /// May only open and check what it protected.
    Deactivated,
    /// Known to somebody else.
    Compromised,
    /// Gone for ever.
    Destroyed,
}

impl KeyState {
    /// Whether a key may go from this state to `next` in one step.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use KeyState::{Active, Compromised, Deactivated, Destroyed, PreActive, Suspended};
        matches!(
            (self, next),
            (PreActive, Active | Compromised | Destroyed)
                | (Active, Suspended | Deactivated | Compromised | Destroyed)
                | (Suspended, Active | Deactivated | Compromised | Destroyed)
                | (Deactivated, Compromised | Destroyed)
                | (Compromised, Destroyed)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destroyed_keys_stay_destroyed() {
        use KeyState::{Active, Compromised, Deactivated, Destroyed, PreActive, Suspended};
        for next in [PreActive, Active, Suspended, Deactivated, Compromised, Destroyed] {
            assert!(!Destroyed.may_become(next));
        }
    }

    #[test]
    fn a_key_is_never_its_own_oracle() {
        use Operation::{Certify, Decrypt, Encrypt, Sign, Unwrap, Wrap};
        for pair in [[Wrap, Decrypt], [Unwrap, Encrypt], [Sign, Decrypt], [Certify, Sign]] {
            assert!(Operations::of(&pair).excludes_itself());
        }
        assert!(!Operations::of(&[Encrypt, Decrypt]).excludes_itself());
    }

    #[test]
    fn unknown_bits_are_refused() {
        assert_eq!(Operations::from_bits(1 << 12), None);
        assert!(Operations::from_bits((1 << 12) - 1).is_some());
    }
}
